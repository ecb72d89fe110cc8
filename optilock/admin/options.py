"""The change form with its conflict page, the delete view, and the inlines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core import checks
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.text import Truncator, capfirst, get_text_list
from django.utils.translation import gettext, ngettext

from optilock import panel, tokens
from optilock.admin.authors import find_author
from optilock.admin.carrier import take_carrier
from optilock.admin.enter import hold_without_action, is_on_hold
from optilock.admin.lists import CHANGE_FORM, MEDIA, VersionedListMixin
from optilock.admin.poll import VersionedPollMixin
from optilock.admin.reverts import VersionedRevertMixin
from optilock.fields import version_field
from optilock.forms import (
    CHOICE,
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

#: How much of a value stands in a message.
_MANY_CHARACTERS = 60

#: How many rows a message tells by name.
MANY_TITLES = 10


class VersionedAdminMixin(VersionedPollMixin, VersionedListMixin, VersionedRevertMixin):
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
        return find_author(request, obj, since)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        # Here, because without the app its other checks don't run either.
        messages: list[checks.CheckMessage] = super().check(**kwargs)
        if not apps.is_installed("optilock"):
            name = type(self).__name__
            messages.append(
                checks.Error(
                    f"{name} needs the templates of optilock, which isn't installed.",
                    hint='Add "optilock" to INSTALLED_APPS.',
                    obj=type(self),
                    id="optilock.E034",
                )
            )
        return messages

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
            on_hold=is_on_hold(request),
            is_gone=is_gone,
            can_restore=is_gone and self.has_add_permission(request),
        )

    # A view that runs once more does so as a whole: what django-reversion has noted
    # of the first run is forgotten with it.

    def add_view(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return once_more(request, partial(super().add_view, request, *args, **kwargs))

    def change_view(
        self, request: Any, object_id: Any, *args: Any, **kwargs: Any
    ) -> Any:
        take_carrier(request)
        if TOKEN in request.POST and f"{CHANGE_FORM}action" in request.POST:
            hold_without_action(request, prefix=CHANGE_FORM)
        view = partial(super().change_view, request, object_id, *args, **kwargs)
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

    def get_inline_instances(self, request: Any, obj: Any = None) -> Any:
        inlines = super().get_inline_instances(request, obj)
        for inline in inlines:
            inline._is_reverting = self.is_reverting(request)
        return inlines

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
        if any(c.asks for c in conflicts) or _has_our_error(form, formsets):
            saved = getattr(form, "_locked", None)
            subject: Any = context.get("original") if saved is None else saved
            for one in (form, *(f for formset in formsets for f in formset.forms)):
                if hasattr(one, "ask_for_files") and one.is_bound:
                    one.ask_for_files()
            panel_html = panel.render(
                conflicts,
                subject=subject,
                author=self._page_author(request, form, formsets, conflicts),
                added=_added(formsets),
                reload_url=request.get_full_path(),
                can_recreate=getattr(form, "can_restore", False),
            )
            _put_on_top(form, panel_html)
            for formset in formsets:  # what the panel says once is enough
                errors = formset.non_form_errors()
                errors.data = _not_ours(errors.data)
            for conflict in conflicts:
                _point_at_fields(conflict)
            context["errors"] = helpers.AdminErrorList(form, formsets)
            context["media"] += MEDIA
        else:  # something else is wrong, and merged values are shown already
            self._tell(request, form, formsets, saved=False)
        return super().render_change_form(request, context, *args, **kwargs)

    def _page_author(
        self, request: Any, form: Any, formsets: Any, conflicts: list[FormConflict]
    ) -> Author:
        """Return who changed what is on the page, as it was when first asked."""
        since = _loaded(form, formsets)
        # A child's change is logged with its parent.
        subjects = [form.instance] if _was_changed(form) else []
        rows: list[Any] = [*(c.instance for c in conflicts), *_added(formsets)]
        subjects += rows[:1]
        if version_field(self.model) is None:
            subjects.reverse()  # whether the parent was changed isn't known
        asked = vars(form).setdefault("_optilock_authors", {})
        for subject in subjects:
            if id(subject) not in asked:
                author = self.get_conflict_author(request, subject, since)
                asked[id(subject)] = author, since
        # When the object was asked about, the rows' own page wasn't known yet.
        if all(asked[id(subject)][0] == Author() for subject in subjects):
            for subject in subjects:
                if asked[id(subject)][1] != since:
                    author = self.get_conflict_author(request, subject, since)
                    asked[id(subject)] = author, since
        authors: list[Author] = [asked[id(subject)][0] for subject in subjects]
        return next((author for author in authors if author != Author()), Author())

    # --- saving ----------------------------------------------------------

    def save_model(self, request: Any, obj: Any, form: Any, change: bool) -> None:
        if getattr(form, "is_gone", False):
            prepare_as_new(obj)
            obj._optilock_restored = True
        elif getattr(form, "is_versioned", False) and _was_changed(form):
            # Once it is saved, a history may know of nothing but that.
            self._page_author(request, form, (), [])
        super().save_model(request, obj, form, change)

    def save_related(
        self, request: Any, form: Any, formsets: Any, change: bool
    ) -> None:
        conflicts = list(find_conflicts(form, formsets))
        if conflicts or _added(formsets):
            self._page_author(request, form, formsets, conflicts)
        super().save_related(request, form, formsets, change)
        self._tell(request, form, formsets, saved=True)

    def _tell(self, request: Any, form: Any, formsets: Any, *, saved: bool) -> None:
        """Say what was merged and, once it is saved, what was overwritten."""
        conflicts = list(find_conflicts(form, formsets))
        vanished = [panel.saved_object(c) for c in conflicts if c.vanished]
        said = [
            (
                messages.INFO,
                _names(conflicts, "merged"),
                gettext(
                    "Merged: you had changed %(fields)s in another window; "
                    "that was kept."
                ),
                gettext("Merged: %(user)s had changed %(fields)s; that was kept."),
                gettext("Merged: somebody else had changed %(fields)s; that was kept."),
            ),
            (
                messages.INFO,
                _titles(vanished),
                gettext(
                    "Merged: you had deleted %(rows)s in another window; that was kept."
                ),
                gettext("Merged: %(user)s had deleted %(rows)s; that was kept."),
                gettext("Merged: somebody else had deleted %(rows)s; that was kept."),
            ),
            (
                messages.INFO,
                _titles(_added(formsets)),
                gettext(
                    "Merged: you had added %(rows)s in another window; that was kept."
                ),
                gettext("Merged: %(user)s had added %(rows)s; that was kept."),
                gettext("Merged: somebody else had added %(rows)s; that was kept."),
            ),
            (
                messages.WARNING,
                _names(conflicts, "overwritten") if saved else "",
                gettext(
                    "You have overwritten what you had saved in another window: "
                    "%(fields)s."
                ),
                gettext("You have overwritten what %(user)s had saved: %(fields)s."),
                gettext(
                    "You have overwritten what somebody else had saved: %(fields)s."
                ),
            ),
        ]
        said = [one for one in said if one[1]]
        if not said:
            return
        who = self._page_author(request, form, formsets, conflicts)
        for level, what, own, known, unknown in said:
            text = _one_of(who, own=own, known=known, unknown=unknown)
            values = {"user": panel.isolate(who.name), "fields": what, "rows": what}
            text %= values
            if not saved:
                level = messages.WARNING
                text += " " + gettext("Nothing has been saved yet.")
            self.message_user(request, text, level)

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
        row = tokens.look(obj, self._fingerprints(request, obj))
        query[TOKEN] = tokens.Token({str(obj.pk): row}).sign(self.model)
        return f"{request.path}?{query.urlencode()}"

    def _fingerprints(self, request: Any, obj: models.Model) -> dict[str, str]:
        """Return those of the fields of the object that its form shows."""
        if not self.has_view_or_change_permission(request, obj):
            return {}
        shown = set(flatten_fieldsets(self.get_fieldsets(request, obj)))
        return {
            field.name: tokens.fingerprint(field, field.value_from_object(obj))
            for field in obj._meta.concrete_fields
            if field.name in shown and field is not version_field(self.model)
        }

    def _tell_changed(self, request: Any, row: tokens.Row, obj: models.Model) -> str:
        """Return the values that aren't those of the page, as a sentence."""
        changed: list[Any] = [
            obj._meta.get_field(name)
            for name, fingerprint in self._fingerprints(request, obj).items()
            if row.base.get(name, fingerprint) != fingerprint
        ]
        if not changed:
            return ""
        values = [
            gettext("%(field)s “%(value)s”")
            % {
                "field": panel.isolate(capfirst(field.verbose_name)),
                "value": panel.isolate(
                    Truncator(panel.as_text(field, field.value_from_object(obj))).chars(
                        _MANY_CHARACTERS
                    )
                ),
            }
            for field in changed
        ]
        return gettext("It has now: %(values)s.") % {
            "values": get_text_list(values, gettext("and"))
        }

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
                sentences = [
                    panel.tell_who(obj, author),
                    self._tell_changed(request, token.row(obj.pk), locked),
                    gettext("Nothing was deleted. Look at it again."),
                ]
                text = " ".join(filter(None, sentences))
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self._confirmation_url(request, locked))

    def _deleted_already(self, request: Any, object_id: Any) -> Any:
        try:
            token = tokens.read(request.GET.get(TOKEN), self.model)
            [pk] = token.rows
        except (tokens.BadToken, ValueError):  # or a list's, of many rows
            return None
        if not _to_field(request) and pk != unquote(object_id):
            return None
        gone = self.model(pk=pk)
        author = self.get_conflict_author(request, gone, token.loaded)
        name = panel.isolate(self.opts.verbose_name)
        text = gettext("The %(name)s was deleted already.") % {"name": name}
        if author.name and not author.is_self:
            text = gettext("The %(name)s was deleted already, by %(user)s.") % {
                "name": name,
                "user": panel.isolate(author.name),
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
    _is_reverting = False

    def get_formset(self, request: Any, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        if (
            version_field(self.model) is None
            or obj is None
            or obj._state.adding
            or self._is_reverting
        ):
            return formset
        can_write = self.has_change_permission(
            request, obj
        ) or self.has_delete_permission(request, obj)
        if not can_write:
            return formset
        return versioned_formset(
            formset,
            ask_always=self.optilock_ask_always,
            conflict_groups=self.optilock_groups,
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


def _was_changed(form: Any) -> bool:
    """Return whether somebody else may have changed the object since it was opened."""
    locked = getattr(form, "_locked", None)
    return (
        locked is None
        or form.opened.version != tokens.look(locked).version
        # A page that asked has shown what is saved now.
        or any(CHOICE in name for name in form.data)
    )


def _loaded(form: Any, formsets: Iterable[Any]) -> int | None:
    """Return when the page was loaded, before the first conflict it showed."""
    each = (form, getattr(form, "formset", None), *formsets)
    found = [token for one in each if (token := getattr(one, "token", None))]
    return min((token.loaded for token in found), default=None)


def _names(conflicts: Iterable[FormConflict], which: str) -> str:
    """Return what people call the fields, with the row in front if it is a child."""
    names = [
        gettext("%(row)s: %(field)s")
        % {
            "row": panel.isolate(panel.saved_object(c)),
            "field": panel.isolate(panel.label(c, name)),
        }
        if c.form.formset
        else panel.isolate(panel.label(c, name))
        for c in conflicts
        if not c.deleted
        for name in getattr(c, which)
    ]
    return get_text_list(names, gettext("and"))


def _one_of(author: Author, *, own: str, known: str, unknown: str) -> str:
    """Return the sentence that fits: other languages don't only change the subject."""
    if author.is_self:
        return own
    return known if author.name else unknown


def _added(formsets: Iterable[Any]) -> list[models.Model]:
    """Return the rows that somebody else has added since the page was opened."""
    return [row for formset in formsets for row in getattr(formset, "added", ())]


def _titles(rows: list[Any]) -> str:
    """Return what people call rows; of many, only how many more there are."""
    titles = [panel.row_title(row) for row in rows[:MANY_TITLES]]
    if more := len(rows) - len(titles):
        titles.append(ngettext("%(n)s more", "%(n)s more", more) % {"n": more})
    return get_text_list(titles, gettext("and"))


def _has_our_error(form: Any, formsets: Iterable[Any]) -> bool:
    lists = [
        form.errors.get(NON_FIELD_ERRORS),
        *(f.non_form_errors() for f in formsets),
    ]
    return any(
        getattr(error, "code", None) in CODES
        for errors in lists
        if errors
        for error in errors.data
    )


def _put_on_top(form: Any, html: Any) -> None:
    """Replace our own errors by the panel, which is rendered inside the form."""
    errors = form.errors.get(NON_FIELD_ERRORS)
    others = _not_ours(errors.data) if errors else []
    form.errors[NON_FIELD_ERRORS] = form.error_class(
        [html, *others], error_class="nonfield", renderer=form.renderer
    )


def _not_ours(errors: Iterable[Any]) -> list[Any]:
    return [error for error in errors if getattr(error, "code", None) not in CODES]


def _point_at_fields(conflict: FormConflict) -> None:
    """Mark the fields that wait for a decision, with a way up to it."""
    form = conflict.form
    for name in conflict.undecided:
        link = format_html(
            '<a href="#optilock-conflict">{}</a>',
            gettext("Was changed meanwhile, too: decide which to keep."),
        )
        errors = form.errors.get(name, ())
        form.errors[name] = form.error_class([*errors, link], renderer=form.renderer)
