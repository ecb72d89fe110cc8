"""Class-based views for versioned models."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, router, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.views.generic import DeleteView, UpdateView

from optilock import edit_conflicts, panel
from optilock.confirmation import Confirmation, guarded_fields, sign_confirmation
from optilock.djangos import signature_of
from optilock.edit_conflicts import EditConflict
from optilock.forms import FormConflict, draft_media, forget_draft, tokens
from optilock.forms.errors import hide_ours, too_old
from optilock.forms.form import VersionedFormMixin, versioned_form
from optilock.forms.recreate import deleted_instance
from optilock.forms.state import Page
from optilock.forms.token_field import TOKEN, TokenField
from optilock.installation import NeedsTemplates
from optilock.lookout import is_question
from optilock.once_more import in_one_transaction, once_more
from optilock.overwriting import Overwritten, address, note_overwritten
from optilock.panel import NOBODY, Author
from optilock.rows import ModelField, lock_rows
from optilock.watching import Watch

__all__ = ["VersionedDeleteMixin", "VersionedUpdateMixin"]

if TYPE_CHECKING:
    _UpdateView = UpdateView[Any, Any]
    _DeleteView = DeleteView[Any, Any]
    _View = _UpdateView
    _Update = _UpdateView
    _Delete = _DeleteView
else:
    _UpdateView, _DeleteView = UpdateView, DeleteView
    _View = _Update = _Delete = object


class _VersionedViewMixin(NeedsTemplates, _View):
    """What the views of a versioned object's form have in common.

    They run once more if somebody else was faster, and find the row a page was
    opened for, also if its URL doesn't any more.
    """

    def get_conflict_author(self, form: Any) -> Author:
        """Return who changed the form's object. By default nobody knows."""
        return NOBODY

    @classmethod
    def as_view(cls, **initkwargs: object) -> Callable[..., HttpResponseBase]:
        return in_one_transaction(super().as_view(**initkwargs))

    @signature_of(_UpdateView.post)
    def post(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        post: Callable[..., HttpResponse] = super().post
        view = partial(post, request, *args, **kwargs)
        return once_more(request, view, models=[self.get_queryset().model])

    @signature_of(_UpdateView.get_object)
    def get_object(
        self, queryset: models.QuerySet[models.Model] | None = None
    ) -> models.Model:
        """Return the object of the URL; if that was renamed, of the page.

        It is looked for only where the view looks for its objects.
        """
        try:
            found = super().get_object(queryset)
        except Http404:
            renamed = self._renamed(queryset)
            if renamed is None:
                raise
            return renamed
        # Somebody may have given the old name to another row.
        is_other = self._was_opened_here and found.pk != self._opened.pk
        renamed = self._renamed(queryset) if is_other else None
        return found if renamed is None else renamed

    def _renamed(
        self, queryset: models.QuerySet[models.Model] | None
    ) -> models.Model | None:
        if not self._was_opened_here:
            return None
        rows = self.get_queryset() if queryset is None else queryset
        return rows.filter(pk=self._opened.pk).first()

    @cached_property
    def _opened(self) -> Any:
        """The row as it was opened, ``None`` if no token tells that."""
        return deleted_instance(self.get_queryset().model, self.request.POST.get(TOKEN))

    @cached_property
    def _was_opened_here(self) -> bool:
        """Whether what was sent is the page of this URL."""
        if self._opened is None:
            return False
        if (pk := self.kwargs.get(self.pk_url_kwarg)) is not None:
            return tokens.key(pk) == tokens.key(self._opened.pk)
        token = tokens.trusted(self.request.POST[TOKEN], type(self._opened))
        return token is not None and token.place == self._place

    @property
    def _place(self) -> str:
        """What the URL says, for the token to keep."""
        # Not what the URLconf adds, which readers of the token needn't know.
        added = getattr(self.request.resolver_match, "extra_kwargs", ())
        said = {name: said for name, said in self.kwargs.items() if name not in added}
        return json.dumps(said, default=str, sort_keys=True)


class VersionedUpdateMixin(_VersionedViewMixin, _Update):
    """For a versioned model: put it in front of ``UpdateView``.

    The view's form becomes a versioned one. A conflict is shown by a page of
    its own, with the form and what was typed.

    Attributes:
        conflict_template_name: the template of that page. ``None`` uses the
            view's own, in which ``{{ conflict }}`` shows the questions; it has to
            stand inside the ``<form>``.
        conflict_status: the status code of the answer that shows a conflict. Turbo
            shows the answer to a form only if that is 4xx or 5xx, such as 409 or 422.
        can_recreate: whether the form of an object that was deleted meanwhile
            can be saved as a new one.
        keep_drafts: whether the browser keeps what is typed until it is saved, and
            asks before the page is left. The page needs ``{{ form.media }}``.
        poll: every how many seconds an open page asks whether somebody else has
            saved; ``None`` never asks. ``{{ form.media }}`` has the script.
        presence: whether ``{{ watch }}`` says who else has it open, every 15 seconds
            unless ``poll`` says otherwise. ``"optilock.presence"`` has to be in
            ``INSTALLED_APPS``.
    """

    conflict_template_name: str | None = "optilock/conflict_page.html"
    conflict_status: int = 200
    can_recreate: bool = False
    keep_drafts: bool = False
    poll: int | None = None
    presence: bool = False

    def get_presence_name(self, user: AbstractBaseUser) -> str:
        """Return what somebody is called who has the same page open.

        For an empty text, nobody is told of them.
        """
        return str(user.get_username())

    @signature_of(_UpdateView.post)
    def post(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        if self._is_watching and is_question(request):
            self.object = self.get_object()
            answer = self._watch(self.get_form()).answer
            return cast("HttpResponse", answer)  # to a question there is one
        return super().post(request, *args, **kwargs)

    @signature_of(_UpdateView.get_context_data)
    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        context: dict[str, object] = super().get_context_data(**kwargs)
        if self._is_watching:
            context["watch"] = self._watch(context["form"])  # type: ignore[arg-type]  # made by get_form()
        return context

    @property
    def _is_watching(self) -> bool:
        return self.presence or self.poll is not None

    def _watch(self, form: VersionedFormMixin) -> Watch:
        return Watch(
            self.request,
            form,
            presence=self.presence,
            author=lambda since: self.get_conflict_author(form),
            name=self.get_presence_name,
            **({} if self.poll is None else {"seconds": self.poll}),
        )

    @signature_of(_UpdateView.get_object)
    def get_object(
        self, queryset: models.QuerySet[models.Model] | None = None
    ) -> models.Model:
        try:
            found: models.Model = super().get_object(queryset)
        except Http404:
            if not self._was_opened_here:
                raise
            found = self._opened
        return found

    @signature_of(_UpdateView.get_form_class)
    def get_form_class(self) -> type[forms.BaseForm]:
        is_deleted = self.object._state.adding
        return versioned_form(
            super().get_form_class(),
            page=Page(place=self._place),
            can_recreate=is_deleted and self.can_recreate,
        )

    @signature_of(_UpdateView.get_form)
    def get_form(
        self, form_class: type[forms.BaseForm] | None = None
    ) -> forms.BaseForm:
        form: VersionedFormMixin = super().get_form(form_class)
        if self.keep_drafts:
            form._optilock.media += draft_media(self.request, form)
        if overwritten := Overwritten.of(self.request):
            names = overwritten.put_into(form)
            text, level = panel.tell_put_back([(form, names)])
            messages.add_message(self.request, level, text, fail_silently=True)
        return form

    @signature_of(_UpdateView.form_valid)
    def form_valid(self, form: VersionedFormMixin) -> HttpResponse:
        conflicts = [form.conflict] if form.conflict else []
        news = panel.find_news(conflicts)
        # Asked before it is saved: a history may then know of nothing but that.
        author = self._author(conflicts[0]) if news else NOBODY
        response = super().form_valid(form)
        undo = note_overwritten(self.request, conflicts, author) if news else ""
        for one in news:
            text = one.about(author)
            if undo and one.can_be_undone:
                url = address(self.request, self._own_path(form), undo)
                text = panel.offer_undo(text, url)
            messages.add_message(self.request, one.level, text, fail_silently=True)
        return forget_draft(self.request, response)

    @signature_of(_UpdateView.form_invalid)
    def form_invalid(self, form: VersionedFormMixin) -> HttpResponse:
        if form.conflict is None or not form.conflict.asks:
            return super().form_invalid(form)
        saved = panel.saved_object(form.conflict)
        conflict = panel.render(
            [form.conflict],
            subject=saved,
            author=self._author(form.conflict),
            reload_url=address(self.request, self._own_path(form)),
            can_recreate=form.can_recreate,
        )
        hide_ours(form)
        context = self.get_context_data(form=form, conflict=conflict, object=saved)
        if self.conflict_template_name is None:
            return self.render_to_response(context, status=self.conflict_status)
        return self.response_class(
            request=self.request,
            template=self.conflict_template_name,
            context=context,
            using=self.template_engine,
            status=self.conflict_status,
        )

    def _author(self, conflict: FormConflict) -> Author:
        conflict.author = self.get_conflict_author(conflict.form)
        return conflict.author

    def _own_path(self, form: VersionedFormMixin) -> str:
        """Return the page's path if its row was renamed, else an empty string."""
        match, slug = self.request.resolver_match, self.kwargs.get(self.slug_url_kwarg)
        now = getattr(form._optilock.locked, self.get_slug_field(), slug)
        if match is None or slug is None or str(now) == str(slug):
            return ""
        kwargs = {**match.kwargs, self.slug_url_kwarg: now}
        try:
            return reverse(match.view_name, args=match.args or None, kwargs=kwargs)
        except NoReverseMatch:
            return ""


class VersionedDeleteMixin(_VersionedViewMixin, _Delete):
    """For a versioned model: put it in front of ``DeleteView``.

    If the object was changed after the confirmation was opened, it asks again. The
    view's template has to render ``{{ form }}``, which carries the token.
    """

    @signature_of(_DeleteView.get_form)
    def get_form(
        self, form_class: type[forms.BaseForm] | None = None
    ) -> forms.BaseForm:
        form: forms.BaseForm = super().get_form(form_class)
        form.fields[TOKEN] = TokenField(self._sign)
        return form

    def _sign(self) -> str:
        return sign_confirmation(self.object, _compared(self.object), place=self._place)

    @signature_of(_DeleteView.form_valid)
    def form_valid(self, form: forms.BaseForm) -> HttpResponse:
        model, using = type(self.object), router.db_for_write(type(self.object))
        with transaction.atomic(using=using):
            for locked in lock_rows(model, using, pk=self.object.pk):
                self.object = locked
            confirmed = Confirmation(
                form.data.get(TOKEN), self.object, _compared(self.object)
            )
            if confirmed.is_current:
                return super().form_valid(form)
        if confirmed.opened is tokens.UNSEEN:
            text = gettext("Nothing was deleted. Look at it again.")
            form.add_error(None, too_old(form, text))
            return self.form_invalid(form)
        if not self.get_queryset().filter(pk=self.object.pk).exists():
            raise Http404  # what it is now isn't for this person to know
        author = self.get_conflict_author(form)
        names = [field.name for field in confirmed.changed]
        edit_conflicts.note(EditConflict(self.object, "delete", names, author=author))
        text = panel.tell_who(self.object, author)
        text += " " + gettext("Nothing was deleted. Look at it again.")
        form.add_error(None, text)
        return self.form_invalid(form)


def _compared(row: models.Model) -> list[ModelField]:
    """Return the fields whose changes concern whoever deletes the row."""
    return [
        field
        for field in guarded_fields(row)
        if field.attname in vars(row) and field not in row._meta.pk_fields
    ]
