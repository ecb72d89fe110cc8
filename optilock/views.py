"""Class-based views for versioned models."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import router, transaction
from django.http import Http404
from django.utils.translation import gettext

from optilock import panel, tokens
from optilock.forms import TOKEN, TokenField, deleted_instance, versioned_form
from optilock.panel import Author
from optilock.requests import once_more

#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


class VersionedUpdateMixin(_Any):  # type: ignore[misc]  # see _Any
    """Stands left of ``UpdateView``, for a versioned model.

    The view's form becomes a versioned one. A conflict is shown by a page of
    its own, with the form and what was typed.

    Attributes:
        conflict_template_name: the template of that page. ``None`` uses the
            view's own, in which ``{{ conflict }}`` shows the choices; it has to
            stand inside the ``<form>``.
        can_restore: whether the form of an object that was deleted meanwhile
            can be saved as a new one.
    """

    conflict_template_name: str | None = "optilock/conflict_page.html"
    can_restore = False

    def get_conflict_author(self, form: Any) -> Author:
        """Return who changed the form's object. By default nobody knows."""
        return Author()

    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        view = partial(super().post, request, *args, **kwargs)
        return once_more(request, partial(self._in_transaction, view))

    def _in_transaction(self, view: Any) -> Any:
        model = self.get_queryset().model
        with transaction.atomic(using=router.db_for_write(model)):
            return view()

    def get_object(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_object(*args, **kwargs)
        except Http404:
            model = self.get_queryset().model
            gone = deleted_instance(model, self.request.POST.get(TOKEN))
            pk = self.kwargs.get(self.pk_url_kwarg)
            if gone is None or (pk is not None and str(pk) != str(gone.pk)):
                raise
            return gone

    def get_form_class(self) -> Any:
        is_gone = self.object._state.adding
        return versioned_form(
            super().get_form_class(),
            is_gone=is_gone,
            can_restore=is_gone and self.can_restore,
        )

    def form_invalid(self, form: Any) -> Any:
        if form.conflict is None or not form.conflict.asks:
            return super().form_invalid(form)
        conflict = panel.render(
            [form.conflict],
            subject=self.object,
            author=self.get_conflict_author(form),
            reload_url=self.request.get_full_path(),
            can_recreate=form.can_restore,
        )
        context = self.get_context_data(form=form, conflict=conflict)
        if self.conflict_template_name is None:
            return self.render_to_response(context)
        return self.response_class(
            request=self.request,
            template=self.conflict_template_name,
            context=context,
            using=self.template_engine,
        )


class VersionedDeleteMixin(_Any):  # type: ignore[misc]  # see _Any
    """Stands left of ``DeleteView``, for a versioned model.

    What was changed after the confirmation was opened is confirmed again. The
    view's template has to render ``{{ form }}``, which carries the token.
    """

    object: Any

    def get_conflict_author(self, form: Any) -> Author:
        """Return who changed the object. By default nobody knows."""
        return Author()

    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        view = partial(super().post, request, *args, **kwargs)
        return once_more(request, view)

    def get_form(self, form_class: Any = None) -> Any:
        form = super().get_form(form_class)
        model = type(self.object)
        form.fields[TOKEN] = TokenField(
            lambda: tokens.Token({str(self.object.pk): tokens.look(self.object)}).sign(
                model
            )
        )
        return form

    def form_valid(self, form: Any) -> Any:
        model, using = type(self.object), router.db_for_write(type(self.object))
        with transaction.atomic(using=using):
            rows = model._base_manager.using(using).filter(pk=self.object.pk)
            locked = next(iter(rows.select_for_update()), None)
            if locked is not None:
                self.object = locked
            try:
                token = tokens.read(form.data.get(TOKEN), model)
                opened = token.row(self.object.pk)
            except tokens.BadToken:
                opened = tokens.UNKNOWN
            if opened.version == tokens.look(self.object).version:
                return super().form_valid(form)
        text = panel.tell_who(self.object, self.get_conflict_author(form))
        text += " " + gettext("Nothing was deleted. Look at it again.")
        form.add_error(None, text)
        return self.form_invalid(form)
