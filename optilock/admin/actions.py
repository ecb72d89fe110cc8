"""Actions that ask before they touch rows that were changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext

from optilock import edit_conflicts, panel
from optilock.admin.authors import find_what
from optilock.admin.base import ModelAdmin, VersionedAdminBase
from optilock.admin.listed import find_changes, keep_row
from optilock.admin.posted import (
    CHANGED,
    Carrier,
    action_name,
    action_prefix,
    is_for_all,
    read_token,
)
from optilock.deleting import deleting_locked
from optilock.djangos import signature_of
from optilock.edit_conflicts import EditConflict
from optilock.forms import tokens
from optilock.forms.token_field import TOKEN, TokenField
from optilock.rows import ModelField, lock_rows, version_field

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField

__all__ = ["MANY_ROWS", "ActionsMixin"]

#: Lets "Cancel" go back to the list, with the rows that were selected in it.
_BACK = forms.Media(js=["admin/js/cancel.js"])

#: Keeps the link of a confirmation from going back to what was posted.
_LEAVE = forms.Media(js=["optilock/leave.js"])

#: How many changed rows are told by name before an action runs.
MANY_ROWS = 50


class ActionsMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that is about actions."""

    @signature_of(ModelAdmin.changelist_view)
    def changelist_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        view: Callable[..., HttpResponse] = super().changelist_view
        response = view(request, *args, **kwargs)
        context = getattr(response, "context_data", None) or {}
        form, shown = context.get("action_form"), context.get("cl")
        if (
            form is not None
            and shown is not None
            and version_field(self.model) is not None
            and self._optilock_offered_actions_that_ask(request)
        ):
            # Which rows are shown is known when the page is rendered.
            form.fields[TOKEN] = TokenField(
                lambda: self._optilock_sign(request, shown.result_list)
            )
            context["media"] += form.media
        return response

    def _optilock_offered_actions_that_ask(self, request: HttpRequest) -> list[str]:
        names = self._optilock_actions_that_ask
        return [name for name in self.get_actions(request) if name in names]

    def _optilock_sign(self, request: HttpRequest, rows: Iterable[models.Model]) -> str:
        fields = self._optilock_listed_fields(request)
        seen = {tokens.key(row.pk): keep_row(row, fields) for row in rows}
        return tokens.Token(seen).sign(self.model)

    def _optilock_listed_fields(self, request: HttpRequest) -> list[ModelField]:
        """Return the fields that the list shows, of its own model."""
        shown = set(self.get_list_display(request)) - set(self.optilock_secret_fields)
        fields = self.opts.concrete_fields
        return [one for one in fields if one.name in shown and not one.primary_key]

    @signature_of(ModelAdmin.response_action)
    def response_action(
        self,
        request: HttpRequest,
        queryset: models.QuerySet[models.Model],
        *args: object,
        **kwargs: object,
    ) -> HttpResponse | None:
        respond: Callable[..., HttpResponse | None] = super().response_action
        run = partial(respond, request)
        prefix = action_prefix(kwargs)
        name = action_name(request, prefix)
        field = version_field(self.model)
        if (
            field is None
            or name not in self._optilock_actions_that_ask
            or not (request.POST.getlist(ACTION_CHECKBOX_NAME) or is_for_all(request))
        ):
            return run(queryset, *args, **kwargs)
        with transaction.atomic(using=router.db_for_write(self.model)):
            return self._optilock_run_action(
                request, queryset, field, name, run, *args, **kwargs
            )

    def _optilock_run_action(
        self,
        request: HttpRequest,
        queryset: models.QuerySet[models.Model],
        field: IntegerVersionField,
        name: str,
        run: Callable[..., HttpResponse | None],
        *args: object,
        **kwargs: object,
    ) -> HttpResponse | None:
        token = read_token(request.POST, self.model) or tokens.Token({})
        pks = list(token.rows) if is_for_all(request) else []
        pks += [p for p in request.POST.getlist(ACTION_CHECKBOX_NAME) if p not in pks]
        found = queryset.filter(pk__in=pks)
        using = router.db_for_write(self.model)
        rows = lock_rows(self.model, using, pk__in=found.values("pk"))
        changed = [
            row for row in rows if token.row(row.pk).version != tokens.look(row).version
        ]
        if changed:
            return self._optilock_ask_before_action(
                request, name, token, rows, changed, **kwargs
            )
        if request.POST.get("optilock_run") == "unchanged":
            skip = request.POST.getlist(CHANGED)
            queryset = queryset.exclude(pk__in=skip)
        if not is_for_all(request):
            self._optilock_tell_missing(
                request, {*map(str, pks)} - {str(row.pk) for row in rows}
            )
        # django-mptt's, for one, deletes a node, and then one that went along with it.
        with deleting_locked(rows, field, using):
            response = run(queryset, *args, **kwargs)
        context = getattr(response, "context_data", None) or {}
        if name == "delete_selected" and "queryset" in context:
            # Whoever confirms has seen these versions.
            chosen = list(context["queryset"])
            context["queryset"] = [
                *chosen,
                Carrier(self._optilock_sign(request, chosen)),
            ]
            if "optilock_run" in request.POST:
                context["media"] += _LEAVE
        return response

    def _optilock_tell_missing(self, request: HttpRequest, pks: set[str]) -> None:
        """Say that some of the selected rows can't be reached."""
        if not pks:
            return
        rows = self.model._base_manager.using(router.db_for_write(self.model))
        if rows.filter(pk__in=pks).exists():
            text = ngettext(
                "%(n)s of the selected rows is not there any more, or not visible to "
                "you.",
                "%(n)s of the selected rows are not there any more, or not visible to "
                "you.",
                len(pks),
            )
        else:
            text = ngettext(
                "%(n)s of the selected rows is not there any more.",
                "%(n)s of the selected rows are not there any more.",
                len(pks),
            )
        self.message_user(request, text % {"n": len(pks)}, messages.INFO)

    def _optilock_ask_before_action(
        self,
        request: HttpRequest,
        name: str,
        token: tokens.Token,
        rows: Sequence[models.Model],
        changed: Sequence[models.Model],
        **kwargs: object,
    ) -> TemplateResponse:
        """Return a page that tells which rows were changed, and asks."""
        is_from_list = not {"optilock_run", "post"} & set(request.POST)
        told, since = changed[:MANY_ROWS], token.loaded if token.rows else None
        authors = [self.get_conflict_author(request, row, since) for row in told]
        for row, author in zip_longest(changed, authors):
            edit_conflicts.note(EditConflict(row, "action", author=author))
        # As Django itself calls overrides that don't know `action_location` yet.
        get_choices: Callable[..., list[tuple[str, str]]] = getattr(
            self, "_get_action_choices_with_action_location", self.get_action_choices
        )
        action = dict(get_choices(request, **kwargs)).get(name, name)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Changed since the list was shown"),
            "opts": self.opts,
            "action_label": panel.isolate(action),
            "action": name,
            "prefix": action_prefix(kwargs),
            "for_all": is_for_all(request),
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "token_name": TOKEN,
            "token": self._optilock_sign(request, rows),
            "changed": [str(row.pk) for row in changed],
            "rows": [
                {
                    "told": panel.tell_who(row, author),
                    **self._optilock_tell_change(request, row, token),
                }
                for row, author in zip(told, authors, strict=True)
            ],
            "untold": _more(len(changed) - MANY_ROWS),
            "count": len(rows),
            "unchanged": len(rows) - len(changed),
            "back": request.get_full_path(),
            "media": self.media
            + panel.MEDIA
            + (_BACK if is_from_list else forms.Media()),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "optilock/action.html", context)

    def _optilock_tell_change(
        self, request: HttpRequest, row: models.Model, token: tokens.Token
    ) -> dict[str, object]:
        """Return what was changed of a row, with links to its form."""
        may_look = self.has_view_or_change_permission(request, row)
        url = self._optilock_url(row, "change") if may_look else ""
        fields = self._optilock_listed_fields(request)
        changes = list(find_changes(row, token.row(row.pk), fields, url))
        if changes:
            return {"changes": changes}
        return {"what": find_what(row, token.loaded), "url": url}


def _more(count: int) -> str:
    if count <= 0:
        return ""
    return ngettext("and %(n)s more", "and %(n)s more", count) % {"n": count}
