"""The change form with its conflict page, the delete view, and the inlines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import (
    NON_FIELD_ERRORS,
)
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.text import get_text_list
from django.utils.translation import gettext

from optilock import panel, tokens
from optilock.admin.authors import find_author
from optilock.admin.carrier import take_carrier
from optilock.admin.lists import MEDIA, VersionedListMixin
from optilock.admin.poll import VersionedPollMixin
from optilock.fields import version_field
from optilock.forms import (
    CODES,
    TOKEN,
    FormConflict,
    deleted_instance,
    prepare_as_new,
    versioned_form,
    versioned_formset,
)
from optilock.panel import Author
from optilock.requests import once_more

#: Views of other packages that show an old state on the form, to go back to it.
_REVERT_VIEWS = ("_revision", "_recover", "_simple_history")


class VersionedAdminMixin(VersionedPollMixin, VersionedListMixin):
    """For a ``ModelAdmin`` of a versioned model: ``(VersionedAdminMixin, ModelAdmin)``.

    It works for a model without a version as well, if its inlines have one.

    Attributes:
        optilock_ask_always: show the conflict page for every change somebody
            else made to a field of the form, whether or not it overlaps.
        optilock_groups: fields that only make sense together, as in
            ``[("amount", "currency")]``. By default the model's
            ``merge_together``.
    """

    optilock_ask_always = False
    optilock_groups: Any = None

    # --- hooks -----------------------------------------------------------

    def get_conflict_author(
        self, request: HttpRequest, obj: models.Model, since: int | None
    ) -> Author:
        """Return who changed the object; override it if the model itself knows.

        Args:
            request: the request of the person who is to be told.
            obj: the object.
            since: when that person's page was loaded, in milliseconds since the
                epoch; ``None`` if that isn't known.
        """
        return find_author(request, type(obj), obj.pk, since)

    def is_reverting(self, request: HttpRequest) -> bool:
        """Return whether the form shows an old state on purpose.

        True for the revert pages of django-reversion and
        django-simple-history; there is nothing to compare with there.
        """
        match = request.resolver_match
        return bool(match and (match.url_name or "").endswith(_REVERT_VIEWS))

    # --- the change form -------------------------------------------------

    def get_form(
        self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if (
            not change
            or obj is None
            or version_field(self.model) is None
            or self.is_reverting(request)
            or not self.has_change_permission(request, obj)
        ):
            return form
        is_gone = obj._state.adding
        return versioned_form(
            form,
            ask_always=self.optilock_ask_always,
            conflict_groups=self.optilock_groups,
            is_gone=is_gone,
            can_restore=is_gone and self.has_add_permission(request),
        )

    def changeform_view(
        self,
        request: Any,
        object_id: Any = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        take_carrier(request)
        view = partial(
            super().changeform_view, request, object_id, form_url, extra_context
        )
        return once_more(request, view)

    def get_object(self, request: Any, object_id: Any, from_field: Any = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        if obj is None and request.method == "POST" and TOKEN in request.POST:
            return self._deleted_object(request, object_id, from_field)
        return obj

    def _deleted_object(self, request: Any, object_id: Any, from_field: Any) -> Any:
        """Return an unsaved object like the one the posted form was opened for."""
        obj = deleted_instance(self.model, request.POST[TOKEN])
        if obj is None or from_field:
            return obj
        return obj if str(obj.pk) == str(object_id) else None

    def get_formset_kwargs(
        self, request: Any, obj: Any, inline: Any, prefix: str
    ) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_formset_kwargs(
            request, obj, inline, prefix
        )
        if obj.pk is not None and obj._state.adding and TOKEN in request.POST:
            # The object is gone, and its children with it: all of them are new.
            kwargs["save_as_new"] = True
        return kwargs

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        form = context["adminform"].form
        if TOKEN in form.fields:
            _add_token(context["adminform"])
            if not form.is_gone:
                self.add_poll(context, form.fields[TOKEN], form.instance)
        formsets = [inline.formset for inline in context["inline_admin_formsets"]]
        conflicts = list(find_conflicts(form, formsets))
        if any(c.asks for c in conflicts) or _has_code(form, formsets, "too_old"):
            saved = getattr(form, "_locked", None)
            subject: Any = context.get("original") if saved is None else saved
            for one in (form, *(f for formset in formsets for f in formset.forms)):
                if hasattr(one, "ask_for_files") and one.is_bound:
                    one.ask_for_files()
            panel_html = panel.render(
                conflicts,
                subject=subject,
                author=self._page_author(request, form, formsets, conflicts),
                reload_url=request.get_full_path(),
                can_recreate=getattr(form, "can_restore", False),
            )
            _put_on_top(form, panel_html)
            for conflict in conflicts:
                _point_at_fields(conflict)
            context["errors"] = helpers.AdminErrorList(form, formsets)
            context["media"] += MEDIA
        else:  # something else is wrong, and merged values are shown already
            self._tell_merged(request, form, formsets)
        return super().render_change_form(request, context, *args, **kwargs)

    def _page_author(
        self, request: Any, form: Any, formsets: Any, conflicts: list[FormConflict]
    ) -> Author:
        since = _loaded(form, formsets)
        author = Author()
        # A child's change is logged with its parent.
        if getattr(form, "instance", None) is not None:
            author = self.get_conflict_author(request, form.instance, since)
        if author == Author() and conflicts:
            child: Any = conflicts[0].instance
            author = self.get_conflict_author(request, child, since)
        return author

    # --- saving ----------------------------------------------------------

    def save_model(self, request: Any, obj: Any, form: Any, change: bool) -> None:
        if getattr(form, "is_gone", False):
            prepare_as_new(obj)
            obj._optilock_restored = True
        super().save_model(request, obj, form, change)

    def save_related(
        self, request: Any, form: Any, formsets: Any, change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        self._tell_merged(request, form, formsets)
        self._tell_overwritten(request, form, formsets)

    def _tell_merged(self, request: Any, form: Any, formsets: Any) -> None:
        conflicts = list(find_conflicts(form, formsets))
        if fields := _names(conflicts, "merged"):
            who = self._page_author(request, form, formsets, conflicts)
            text = gettext("Merged: %(user)s had changed %(fields)s; that was kept.")
            text %= {"user": _name_or_other(who), "fields": fields}
            self.message_user(request, text, messages.INFO)

    def _tell_overwritten(self, request: Any, form: Any, formsets: Any) -> None:
        conflicts = list(find_conflicts(form, formsets))
        if fields := _names(conflicts, "overwritten"):
            who = self._page_author(request, form, formsets, conflicts)
            text = gettext("You have overwritten what %(user)s had saved: %(fields)s.")
            text %= {"user": _name_or_other(who), "fields": fields}
            self.message_user(request, text, messages.WARNING)

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        if _was_restored(obj):
            return self.log_addition(request, obj, [{"added": {}}])
        return super().log_change(request, obj, message)

    def response_change(self, request: Any, obj: Any) -> Any:
        if _was_restored(obj):
            return self.response_add(request, obj)
        return super().response_change(request, obj)

    # --- deleting --------------------------------------------------------

    def delete_view(
        self, request: Any, object_id: Any, extra_context: Any = None
    ) -> Any:
        view = partial(super().delete_view, request, object_id, extra_context)
        if version_field(self.model) is None:
            return view()
        if request.method != "POST":
            return self._confirmation(request, object_id, view)
        return once_more(
            request, partial(self._checked_delete, request, object_id, view)
        )

    def _confirmation(self, request: Any, object_id: Any, view: Any) -> Any:
        """Show the confirmation at a URL that says which version it shows."""
        if request.method != "GET" or TOKEN in request.GET:
            return view()
        obj = super().get_object(request, unquote(object_id), _to_field(request))
        if obj is None or not self.has_delete_permission(request, obj):
            return view()
        return HttpResponseRedirect(self._confirmation_url(request, obj))

    def _confirmation_url(self, request: Any, obj: models.Model) -> str:
        query = request.GET.copy()
        query[TOKEN] = tokens.Token({str(obj.pk): tokens.look(obj)}).sign(self.model)
        return f"{request.path}?{query.urlencode()}"

    def _checked_delete(self, request: Any, object_id: Any, view: Any) -> Any:
        with transaction.atomic(using=router.db_for_write(self.model)):
            obj = super().get_object(request, unquote(object_id), _to_field(request))
            if obj is None:
                return self._deleted_already(request, object_id) or view()
            if not self.has_delete_permission(request, obj):
                return view()
            using = router.db_for_write(self.model, instance=obj)
            rows = self.model._base_manager.using(using).filter(pk=obj.pk)
            locked = next(iter(rows.select_for_update()), None)
            if locked is None:
                return self._deleted_already(request, object_id) or view()
            try:
                token = tokens.read(request.GET.get(TOKEN), self.model)
            except tokens.BadToken:
                text = gettext("That page was too old. Look at what is deleted, again.")
            else:
                if token.row(obj.pk).version == tokens.look(locked).version:
                    return view()
                author = self.get_conflict_author(request, obj, token.loaded)
                text = panel.tell_who(obj, author)
                text += " " + gettext("Nothing was deleted. Look at it again.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self._confirmation_url(request, locked))

    def _deleted_already(self, request: Any, object_id: Any) -> Any:
        try:
            token = tokens.read(request.GET.get(TOKEN), self.model)
        except tokens.BadToken:
            return None
        [pk] = token.rows
        gone = self.model(pk=pk)
        author = self.get_conflict_author(request, gone, token.loaded)
        name = self.opts.verbose_name
        text = gettext("The %(name)s was deleted already.") % {"name": name}
        if author.name and not author.is_self:
            text = gettext("The %(name)s was deleted already, by %(user)s.") % {
                "name": name,
                "user": author.name,
            }
        self.message_user(request, text, messages.INFO)
        return self.response_post_save_change(request, gone)


class VersionedModelAdmin(VersionedAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """A ``ModelAdmin`` for a versioned model; see ``VersionedAdminMixin``."""


#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


class VersionedInlineMixin(_Any):  # type: ignore[misc]  # see _Any
    """For an inline of a versioned model: ``(VersionedInlineMixin, TabularInline)``.

    The inline's admin has to be a ``VersionedAdminMixin``, whether or not the
    parent has a version: that is what shows the conflict page.

    Attributes:
        optilock_ask_always: as for the admin.
        optilock_groups: as for the admin.
    """

    optilock_ask_always = False
    optilock_groups: Any = None

    def get_formset(self, request: Any, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        if version_field(self.model) is None or obj is None or obj._state.adding:
            return formset
        can_write = self.has_change_permission(
            request, obj
        ) or self.has_delete_permission(request, obj)
        if not can_write:
            return formset
        return versioned_formset(
            formset,
            form=versioned_form(
                formset.form,
                ask_always=self.optilock_ask_always,
                conflict_groups=self.optilock_groups,
            ),
        )


class VersionedTabularInline(VersionedInlineMixin, admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    """A ``TabularInline`` for a versioned model."""


class VersionedStackedInline(VersionedInlineMixin, admin.StackedInline):  # type: ignore[type-arg]  # not generic at run time
    """A ``StackedInline`` for a versioned model."""


def _to_field(request: HttpRequest) -> Any:
    return request.POST.get("_to_field", request.GET.get("_to_field"))


def _was_restored(obj: models.Model) -> bool:
    return bool(vars(obj).get("_optilock_restored"))


def _add_token(adminform: Any) -> None:
    """Render the token inside a fieldset, which every theme does."""
    (name, options), *others = adminform.fieldsets
    if TOKEN not in flatten_fieldsets(adminform.fieldsets):
        options = {**options, "fields": [*options["fields"], TOKEN]}
        adminform.fieldsets = [(name, options), *others]


def find_conflicts(form: Any, formsets: Iterable[Any]) -> Iterator[FormConflict]:
    for one in (form, *(f for formset in formsets for f in formset.initial_forms)):
        if conflict := getattr(one, "conflict", None):
            yield conflict


def _loaded(form: Any, formsets: Iterable[Any]) -> int | None:
    """Return when the page was loaded."""
    for one in (form, getattr(form, "formset", None), *formsets):
        if token := getattr(one, "token", None):
            return int(token.loaded)
    return None


def _names(conflicts: Iterable[FormConflict], which: str) -> str:
    """Return what people call the fields, with the row in front if it is a child."""
    names = [
        f"{panel.saved_object(c)}: {panel.label(c, name)}"
        if c.form.formset
        else panel.label(c, name)
        for c in conflicts
        if not c.deleted
        for name in getattr(c, which)
    ]
    return get_text_list(names, gettext("and"))


def _name_or_other(author: Author) -> str:
    if author.is_self:
        return gettext("you, in another window,")
    return author.name or gettext("somebody else")


def _has_code(form: Any, formsets: Iterable[Any], code: str) -> bool:
    lists = [
        form.errors.get(NON_FIELD_ERRORS),
        *(f.non_form_errors() for f in formsets),
    ]
    return any(
        getattr(error, "code", None) == code
        for errors in lists
        if errors
        for error in errors.data
    )


def _put_on_top(form: Any, html: Any) -> None:
    """Replace our own errors by the panel, which is rendered inside the form."""
    errors = form.errors.get(NON_FIELD_ERRORS)
    others = (
        [e for e in errors.data if getattr(e, "code", None) not in CODES]
        if errors
        else []
    )
    form.errors[NON_FIELD_ERRORS] = form.error_class(
        [html, *others], error_class="nonfield", renderer=form.renderer
    )


def _point_at_fields(conflict: FormConflict) -> None:
    """Mark the fields that wait for a decision, with a way up to it."""
    form = conflict.form
    for name in conflict.undecided:
        link = format_html(
            '<a href="#optilock-conflict">{}</a>',
            gettext("Was changed by somebody else, too: decide which to keep."),
        )
        errors = form.errors.get(name, ())
        form.errors[name] = form.error_class([*errors, link], renderer=form.renderer)
