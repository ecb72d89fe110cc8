"""The change list: fields that are edited in it, and actions."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import NON_FIELD_ERRORS, ImproperlyConfigured
from django.db import router, transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext

from optilock import panel, tokens
from optilock.admin.authors import find_name
from optilock.admin.carrier import Carrier, take_carrier
from optilock.admin.enter import action_name, hold_without_action, is_on_hold
from optilock.conflicts import FieldState
from optilock.fields import version_field
from optilock.forms import (
    CODES,
    TOKEN,
    FormConflict,
    TokenField,
    VersionedFormSetMixin,
    versioned_formset,
)
from optilock.requests import once_more

MEDIA = forms.Media(css={"all": ["optilock/conflict.css"]}, js=["optilock/conflict.js"])

#: What the inputs of the action form in a change form begin with.
CHANGE_FORM = "CHANGE_FORM-"

#: Lets "Cancel" go back to the list, with the rows that were selected in it.
BACK = forms.Media(js=["admin/js/cancel.js"])
#: Keeps the link of a confirmation from going back to what was posted.
LEAVE = forms.Media(js=["optilock/leave.js"])

#: How many changed rows are told by name before an action runs.
MANY_ROWS = 50


#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


class VersionedListMixin(_Any):  # type: ignore[misc]  # see _Any
    """The part of ``VersionedAdminMixin`` that is about the change list.

    Attributes:
        optilock_actions: names of actions that ask before they touch rows that
            were changed since the list was shown. "delete_selected" always
            does.
    """

    optilock_actions: tuple[str, ...] = ()

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        view = partial(super().changelist_view, request, extra_context)
        if version_field(self.model) is None:
            return view()
        take_carrier(request)
        if f"form-{TOKEN}" in request.POST and "index" in request.POST:
            hold_without_action(request)
        if request.method == "POST" and "_save" in request.POST:
            view = partial(self._in_transaction, view)
        response = once_more(request, view)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            self._prepare_list(request, context)
        return response

    def _in_transaction(self, view: Any) -> Any:
        with transaction.atomic(using=router.db_for_write(self.model)):
            return view()

    def _prepare_list(self, request: Any, context: dict[str, Any]) -> None:
        formset, form = context["cl"].formset, context.get("action_form")
        if formset is not None and not isinstance(formset, VersionedFormSetMixin):
            raise ImproperlyConfigured(
                f"{type(self).__name__}.get_changelist_formset() has to call super() "
                f"and return what that returns, or old values would be put back."
            )
        if formset is not None and formset.is_bound:
            # Django pairs rows and forms by position, but takes the rows anew.
            context["cl"].result_list = [f.instance for f in formset.initial_forms]
            for row in formset.initial_forms:
                self._tell(request, row, (), saved=False)
            if any(conflict.asks for conflict in formset.conflicts):
                self._ask_in_cells(request, formset)
                context["media"] += MEDIA
        if form is not None and self._checked_actions(request):
            form.fields[TOKEN] = TokenField(
                partial(self._sign_rows, context["cl"].result_list)
            )
            context["media"] += form.media

    def _sign_rows(self, rows: Any) -> str:
        return tokens.Token({str(r.pk): tokens.look(r) for r in rows}).sign(self.model)

    # --- list_editable ---------------------------------------------------

    def get_changelist_formset(self, request: Any, **kwargs: Any) -> Any:
        formset = super().get_changelist_formset(request, **kwargs)
        if version_field(self.model) is None:
            return formset
        return versioned_formset(
            formset,
            ask_always=self.optilock_ask_always,
            conflict_groups=self.optilock_groups,
            can_restore=False,
            is_one_thing=False,
            on_hold=is_on_hold(request),
        )

    def _ask_in_cells(self, request: Any, formset: Any) -> None:
        """Put the questions where each theme shows them: at the cells."""
        since = formset.token.loaded if formset.token else None
        for conflict in formset.conflicts:
            if not conflict.asks:
                continue
            form = conflict.form
            author = self.get_conflict_author(request, conflict.instance, since)
            told = ""
            if conflict.deleted and (name := find_name(conflict.instance, since)):
                # What the row was called is all that is left of most columns.
                told = panel.tell_who(name, author, deleted=True)
            for group in _cells(conflict):
                html = render_to_string(
                    "optilock/cell.html",
                    {
                        "deleted": conflict.deleted,
                        "told": told,
                        "user": "" if author.is_self else panel.isolate(author.name),
                        "theirs": [
                            panel.show(conflict, name, "theirs")
                            for name in group
                            if not conflict.deleted
                        ],
                        "label": panel.labels(conflict, group),
                        "input": ""
                        if conflict[group[0]].state is FieldState.THEIRS
                        else conflict.input_name([""] if conflict.deleted else group),
                        "choice": conflict.decisions.get(group[0], conflict.answer),
                    },
                )
                form.errors[group[0]] = form.error_class(
                    [html, *form.errors.get(group[0], ())], renderer=form.renderer
                )
            errors = form.errors.get(NON_FIELD_ERRORS)
            if errors:
                errors.data = [e for e in errors.data if e.code not in CODES]
                if not errors.data:
                    del form.errors[NON_FIELD_ERRORS]

    # --- actions ---------------------------------------------------------

    def _checked_actions(self, request: Any) -> list[str]:
        names = {"delete_selected", *self.optilock_actions}
        return [name for name in self.get_actions(request) if name in names]

    def response_action(
        self, request: Any, queryset: Any, *args: Any, **kwargs: Any
    ) -> Any:
        run = partial(super().response_action, request)
        prefix = _prefix(kwargs)
        name = action_name(request, prefix)
        if (
            version_field(self.model) is None
            or name not in {"delete_selected", *self.optilock_actions}
            or not (request.POST.getlist(ACTION_CHECKBOX_NAME) or _is_for_all(request))
        ):
            return run(queryset, *args, **kwargs)
        checked = partial(
            self._run_checked, request, queryset, name, run, *args, **kwargs
        )
        return self._in_transaction(checked)

    def _run_checked(
        self,
        request: Any,
        queryset: Any,
        name: str,
        run: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        try:
            token = tokens.read(request.POST.get(TOKEN), self.model)
        except tokens.BadToken:
            token = tokens.Token({})
        pks = list(token.rows) if _is_for_all(request) else []
        pks += [p for p in request.POST.getlist(ACTION_CHECKBOX_NAME) if p not in pks]
        found = queryset.filter(pk__in=pks)
        using = router.db_for_write(self.model)
        rows = self.model._base_manager.using(using).filter(pk__in=found.values("pk"))
        rows = list(rows.order_by("pk").select_for_update())
        changed = [
            row for row in rows if token.row(row.pk).version != tokens.look(row).version
        ]
        if changed:
            return self._ask_before(request, name, token, rows, changed, **kwargs)
        if request.POST.get("optilock_run") == "unchanged":
            skip = request.POST.getlist("optilock_changed")
            queryset = queryset.exclude(pk__in=skip)
        gone = len({str(pk) for pk in pks} - {str(row.pk) for row in rows})
        if gone and not _is_for_all(request):
            text = ngettext(
                "%(n)s of the selected rows is not there any more.",
                "%(n)s of the selected rows are not there any more.",
                gone,
            )
            self.message_user(request, text % {"n": gone}, messages.INFO)
        response = run(queryset, *args, **kwargs)
        context = getattr(response, "context_data", None) or {}
        if name == "delete_selected" and "queryset" in context:
            # Whoever confirms has seen these versions.
            chosen = list(context["queryset"])
            context["queryset"] = [*chosen, Carrier(self._sign_rows(chosen))]
            if "optilock_run" in request.POST:
                context["media"] += LEAVE
        return response

    def _ask_before(
        self,
        request: HttpRequest,
        name: str,
        token: tokens.Token,
        rows: Any,
        changed: Any,
        **kwargs: Any,
    ) -> TemplateResponse:
        """Return a page that tells which rows were changed, and asks."""
        since = token.loaded if token.rows else None
        is_from_list = not {"optilock_run", "post"} & set(request.POST)
        # Django's own way to call overrides that don't know `action_location` yet.
        get_choices: Any = getattr(
            self, "_get_action_choices_with_action_location", self.get_action_choices
        )
        action = dict(get_choices(request, **kwargs)).get(name, name)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Changed since the list was shown"),
            "opts": self.opts,
            "action_label": panel.isolate(action),
            "action": name,
            "prefix": _prefix(kwargs),
            "for_all": _is_for_all(request),
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "token_name": TOKEN,
            "token": self._sign_rows(rows),
            "changed": [str(row.pk) for row in changed],
            "told": [
                panel.tell_who(row, self.get_conflict_author(request, row, since))
                for row in changed[:MANY_ROWS]
            ],
            "untold": max(0, len(changed) - MANY_ROWS),
            "count": len(rows),
            "unchanged": len(rows) - len(changed),
            "back": request.get_full_path(),
            "media": self.media + MEDIA + (BACK if is_from_list else forms.Media()),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "optilock/action.html", context)


def _cells(conflict: FormConflict) -> list[list[str]]:
    if conflict.deleted:
        return [conflict.names(FieldState.MINE)[:1]]
    cells = conflict.groups(FieldState.COLLIDING)
    if conflict.form.ask_always:
        cells += conflict.groups(FieldState.THEIRS)  # to be looked at
    return cells


def _is_for_all(request: HttpRequest) -> bool:
    return request.POST.get("select_across") == "1"


def _prefix(kwargs: dict[str, Any]) -> str:
    """Return what the inputs of an action form begin with, in a change form."""
    location = getattr(kwargs.get("action_location"), "value", "")
    return CHANGE_FORM if location == "CHANGE_FORM" else ""
