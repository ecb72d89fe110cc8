"""The delete view: what was changed after its page was opened is confirmed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.db import models, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import Truncator, capfirst
from django.utils.translation import gettext

from optilock import edit_conflicts, panel
from optilock.admin.base import VersionedAdminBase
from optilock.admin.listed import MANY_CHARACTERS
from optilock.admin.posted import read_token, to_field
from optilock.confirmation import Confirmation, guarded_fields, sign_confirmation
from optilock.edit_conflicts import EditConflict
from optilock.forms.comparison import is_secret
from optilock.forms.token_field import TOKEN
from optilock.rows import ModelField, lock_rows, version_field

__all__ = ["DeletingMixin"]


class DeletingMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that is about the delete view."""

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        view = partial(super().delete_view, request, object_id, extra_context)
        if version_field(self.model) is None:
            return self._optilock_once_more(request, view)
        if request.method != "POST":
            return self._optilock_confirmation(request, object_id, view)
        checked = partial(self._optilock_delete, request, object_id, view)
        return self._optilock_once_more(request, checked)

    def _optilock_confirmation(
        self, request: HttpRequest, object_id: str, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Show the confirmation at a URL that says which version it shows."""
        if request.method != "GET" or TOKEN in request.GET:
            return view()
        if not self._optilock_may_look_up(request):
            return view()
        obj = self._optilock_find(request, object_id)
        if obj is None or not self.has_delete_permission(request, obj):
            return view()
        return HttpResponseRedirect(self._optilock_confirmation_url(request, obj))

    def _optilock_find(
        self, request: HttpRequest, object_id: str
    ) -> models.Model | None:
        """Return the object of the page, ``None`` if it can't be found."""
        # Not by our get_object(), which makes up for one that was deleted.
        return super().get_object(request, unquote(object_id), to_field(request))

    def _optilock_may_look_up(self, request: HttpRequest) -> bool:
        """Return whether Django lets the request find the object in this way."""
        name = to_field(request)
        return name is None or self.to_field_allowed(request, name)

    def _optilock_confirmation_url(
        self, request: HttpRequest, obj: models.Model
    ) -> str:
        query = request.GET.copy()
        query[TOKEN] = sign_confirmation(obj, self._optilock_shown_fields(request, obj))
        return f"{request.path}?{query.urlencode()}"

    def _optilock_shown_fields(
        self, request: HttpRequest, obj: models.Model
    ) -> list[ModelField]:
        """Return the fields of the object that its form shows."""
        if not self.has_view_or_change_permission(request, obj):
            return []
        shown = set(flatten_fieldsets(self.get_fieldsets(request, obj)))
        return [field for field in guarded_fields(obj) if field.name in shown]

    def _optilock_tell_values(
        self, request: HttpRequest, obj: models.Model, fields: Sequence[ModelField]
    ) -> str:
        """Return what the object has now in these fields, as a sentence."""
        if not fields:
            return ""
        form = self.get_form(request, obj, change=True)
        values = [
            gettext("%(field)s “%(value)s”")
            % {
                "field": panel.isolate(capfirst(field.verbose_name)),
                "value": panel.isolate(
                    self._optilock_as_text(obj, field, form.base_fields)
                ),
            }
            for field in fields
        ]
        return gettext("Its values are now: %(values)s.") % {
            "values": panel.listed(values)
        }

    def _optilock_as_text(
        self, obj: models.Model, field: ModelField, shown: Mapping[str, forms.Field]
    ) -> str:
        """Return the value of a field as the form shows it, shortened."""
        form_field = shown.get(field.name)
        if field.name in self.optilock_secret_fields or (
            form_field is not None and is_secret(form_field)
        ):
            return gettext("(changed)")
        value = field.value_from_object(obj)
        if form_field is None and field.is_relation:
            value = getattr(obj, field.name)  # read-only, and shown by its name
        text = panel.as_text(field, value, form_field)
        return Truncator(text).chars(MANY_CHARACTERS)

    def _optilock_delete(
        self, request: HttpRequest, object_id: str, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Delete the object if it is as its page has shown it, else ask again."""
        if not self._optilock_may_look_up(request):
            return view()
        obj = self._optilock_find(request, object_id)
        if not self.has_delete_permission(request, obj):
            return view()
        if obj is None:
            return self._optilock_deleted_already(request, object_id) or view()
        using = router.db_for_write(self.model, instance=obj)
        row = next(iter(lock_rows(self.model, using, pk=obj.pk)), None)
        if row is None:
            return self._optilock_deleted_already(request, object_id) or view()
        confirmed = Confirmation(
            request.GET.get(TOKEN), row, self._optilock_shown_fields(request, row)
        )
        if confirmed.is_current:
            return view()
        text = self._optilock_why_not(request, obj, row, confirmed)
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(self._optilock_confirmation_url(request, row))

    def _optilock_why_not(
        self,
        request: HttpRequest,
        obj: models.Model,
        row: models.Model,
        confirmed: Confirmation,
    ) -> str:
        """Return why the row wasn't deleted."""
        if confirmed.token is None:
            return gettext("That page was too old. Look again at what will be deleted.")
        author = self.get_conflict_author(request, obj, confirmed.token.loaded)
        names = [field.name for field in confirmed.changed]
        edit_conflicts.note(EditConflict(row, "delete", names, author=author))
        sentences = [
            panel.tell_who(obj, author),
            self._optilock_tell_values(request, row, confirmed.changed),
            gettext("Nothing was deleted. Look at it again."),
        ]
        return " ".join(filter(None, sentences))

    def _optilock_deleted_already(
        self, request: HttpRequest, object_id: str
    ) -> HttpResponse | None:
        """Say that somebody else was faster, if the page is one of this object."""
        token = read_token(request.GET, self.model)
        if token is None or len(token.rows) != 1:  # or of a list, of many rows
            return None
        [pk] = token.rows
        if not to_field(request) and pk != unquote(object_id):
            return None
        obj = self.model(pk=pk)
        name = {"name": panel.isolate(self.opts.verbose_name)}
        if self._optilock_exists(pk):
            text = gettext("The %(name)s is not there any more, or not visible to you.")
        else:
            author = self.get_conflict_author(request, obj, token.loaded)
            text = gettext("The %(name)s was deleted already.")
            if author.name and not author.is_self:
                text = gettext("The %(name)s was deleted already, by %(user)s.")
                name["user"] = panel.isolate(author.name)
        self.message_user(request, text % name, messages.INFO)
        return self.response_post_save_change(request, obj)
