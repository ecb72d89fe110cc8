"""The change list, and the fields that are edited in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ImproperlyConfigured
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext

from optilock import panel
from optilock.admin.authors import find_name
from optilock.admin.base import Context, ModelAdmin
from optilock.admin.page import Page, put_error
from optilock.admin.posted import (
    drop_what_is_no_key,
    hold_without_action,
    is_on_hold,
    take_carrier,
)
from optilock.admin.told import TellingMixin
from optilock.changes import FieldState
from optilock.djangos import signature_of
from optilock.forms import tokens
from optilock.forms.conflict import FormConflict
from optilock.forms.errors import not_ours
from optilock.forms.formset import VersionedFormSetMixin, versioned_formset
from optilock.forms.token_field import TOKEN
from optilock.panel import NOBODY, Author
from optilock.rows import version_field

__all__ = ["ListMixin"]


class ListMixin(TellingMixin):
    """The part of ``VersionedAdminMixin`` that is about the change list."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        view = partial(super().changelist_view, request, extra_context)
        if version_field(self.model) is None:
            return self._optilock_once_more(request, view, prefix="")
        take_carrier(request)
        drop_what_is_no_key(request, self.model)
        if f"form-{TOKEN}" in request.POST and "index" in request.POST:
            hold_without_action(request)
        prepared = partial(self._optilock_prepared, request, view)
        return self._optilock_once_more(request, prepared, prefix="")

    def _optilock_prepared(
        self, request: HttpRequest, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        response = view()
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            self._optilock_prepare_list(request, context)
        return response

    def _optilock_prepare_list(self, request: HttpRequest, context: Context) -> None:
        formset = context["cl"].formset
        if formset is None:
            return
        if not isinstance(formset, VersionedFormSetMixin):
            raise ImproperlyConfigured(
                f"{type(self).__name__}.get_changelist_formset() has to call super() "
                f"and return what that returns, or old values would be put back."
            )
        if not formset.is_bound:
            return
        # Django pairs rows and forms by position, but loads the rows again.
        context["cl"].result_list = [f.instance for f in formset.initial_forms]
        for row in formset.initial_forms:
            self._optilock_tell(request, Page(row), saved=False)
        if any(conflict.asks for conflict in formset.conflicts):
            self._optilock_ask_in_cells(request, formset)
            context["media"] += panel.MEDIA

    @signature_of(ModelAdmin.get_changelist_formset)
    def get_changelist_formset(
        self, request: HttpRequest, **kwargs: object
    ) -> type[forms.BaseModelFormSet[models.Model, forms.ModelForm[models.Model]]]:
        formset = super().get_changelist_formset(request, **kwargs)
        if version_field(self.model) is None:
            return formset
        return versioned_formset(
            formset,
            can_recreate=False,
            is_one_thing=False,
            on_hold=is_on_hold(request),
            **self._optilock_cell_options,
        )

    def _get_edited_object_pks(self, request: HttpRequest, prefix: str) -> list[str]:
        pks = super()._get_edited_object_pks(request, prefix)
        return [pk for pk in pks if tokens.is_key(self.model, pk)]

    def _optilock_ask_in_cells(
        self, request: HttpRequest, formset: VersionedFormSetMixin
    ) -> None:
        """Put the questions where each theme shows them: at the cells."""
        token = formset._optilock.token
        since = token.loaded if token else None
        rows: list[dict[str, object]] = []
        undecided: list[panel.Question] = []
        for conflict in formset.conflicts:
            if not conflict.asks:
                continue
            author = self.get_conflict_author(request, conflict.instance, since)
            conflict.author = NOBODY if conflict.is_hidden else author
            told = _tell(conflict, author, since)
            changes: list[panel.Change] = []
            for names, question in _questions(conflict, author, told):
                is_first = bool(question and question.error and not undecided)
                if question and not question.decision:
                    undecided.append(question)
                _put(conflict, names, question, author, focus=is_first)
                if not conflict.deleted:
                    changes += _changes(conflict, names)
            url = f"#{_cell_id(conflict, names[0])}" if conflict.deleted else ""
            rows.append({"told": told, "changes": changes, "url": url})
            errors = conflict.form.errors.get(NON_FIELD_ERRORS)
            if errors:
                errors.data = not_ours(errors.data)
                if not errors.data:
                    del conflict.form.errors[NON_FIELD_ERRORS]
        context = {"rows": rows, "need": panel.tell_need(undecided)}
        errors = formset.non_form_errors()
        summary = render_to_string("optilock/list.html", context)
        others = [e for e in errors.data if getattr(e, "code", None) != "conflict"]
        errors.data = [summary, *others]


def _tell(conflict: FormConflict, author: Author, since: int | None) -> str:
    """Return a sentence that says what has happened to a row of the list."""
    if conflict.is_hidden:
        return gettext(panel.OUT_OF_SIGHT)
    if not conflict.deleted:
        return panel.tell_who(panel.saved_object(conflict), author)
    # Of most columns, only what the row was called is left.
    name = find_name(conflict.instance, since)
    if name:
        return panel.tell_who(name, author, deleted=True)
    if author.name:
        who = {"user": panel.isolate(author.name)}
        return gettext("%(user)s deleted this row.") % who
    return gettext("This row was deleted.")


def _questions(
    conflict: FormConflict, author: Author, told: str
) -> Iterator[tuple[list[str], panel.Question | None]]:
    """Yield the cells to be marked: names of fields, and what is asked about them."""
    if conflict.deleted:
        [question] = panel.find_questions(conflict, author)
        names = conflict.names(FieldState.MINE)[:1]
        yield names, replace(question, fact=told, changes=())
        return
    for group in conflict.groups(FieldState.COLLIDING):
        question = panel.ask_about_fields(conflict, group, author)
        yield group, replace(question, field_id="")  # its input is beside it
    if conflict.form.ask_always:
        for group in conflict.groups(FieldState.THEIRS):  # to be looked at
            yield group, None


def _put(
    conflict: FormConflict,
    names: list[str],
    question: panel.Question | None,
    author: Author,
    *,
    focus: bool,
) -> None:
    """Put a question at the cell of its first field."""
    form, name = conflict.form, names[0]
    context = {
        "id": _cell_id(conflict, name),
        "question": question,
        "focus": question if focus else None,
        "whose": panel.tell_whose(author),
        "theirs": [panel.show(conflict, one, "theirs") for one in names],
    }
    put_error(form, name, render_to_string("optilock/cell.html", context))


def _changes(conflict: FormConflict, names: list[str]) -> Iterator[panel.Change]:
    """Yield what has changed, with links to the cell."""
    url = f"#{_cell_id(conflict, names[0])}"
    for name in names:
        base, value = (panel.show(conflict, name, side) for side in ("base", "theirs"))
        yield panel.Change(panel.label(conflict, name), base, value, url=url)


def _cell_id(conflict: FormConflict, name: str) -> str:
    return f"cell_{conflict.form.add_prefix(name)}"
