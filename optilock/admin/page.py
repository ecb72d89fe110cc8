"""The page of a form: what was sent with it, and the questions put on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from django import forms
from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import models
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from optilock import panel
from optilock.changes import FieldState
from optilock.forms import tokens
from optilock.forms.conflict import DECISION, FormConflict
from optilock.forms.errors import not_ours
from optilock.forms.token_field import TOKEN
from optilock.rows import version_field

__all__ = ["Page", "add_token", "put_error", "state"]

_Form: TypeAlias = "forms.ModelForm[models.Model]"

#: The class of errors that only point at a question: there is nothing to correct.
_POINTER = "optilock-pointer"


class Page:
    """A form with its formsets, as they were sent.

    Attributes:
        form: the form, of a row with a version or without one.
        formsets: those on the same page.
        conflicts: what others did to the rows of the page; that of the form first.
        added: the rows that somebody else has added since the page was opened.
    """

    def __init__(
        self,
        form: _Form,
        formsets: Iterable[forms.BaseModelFormSet[models.Model, _Form]] = (),
    ) -> None:
        self.form = form
        self.formsets = list(formsets)
        self.conflicts = panel.find_conflicts([form, *self.formsets])
        self.added: list[models.Model] = [
            row for one in self.formsets for row in getattr(one, "added", ())
        ]

    @property
    def is_hidden(self) -> bool:
        """Whether the form's row is there, but not for whoever sent the page."""
        return bool(state(self.form, "is_hidden"))

    @property
    def loaded(self) -> int | None:
        """When the page was loaded, before the first conflict it showed."""
        each = (self.form, state(self.form, "formset"), *self.formsets)
        found = [token for one in each if (token := state(one, "token"))]
        return min((token.loaded for token in found), default=None)

    @property
    def may_have_changed(self) -> bool:
        """Whether somebody else may have changed the object since it was opened."""
        locked = state(self.form, "locked")
        return (
            locked is None
            or state(self.form, "opened").version != tokens.look(locked).version
            # A page that asked has shown what is saved now.
            or any(DECISION in name for name in self.form.data)
        )

    @property
    def subjects(self) -> list[models.Model]:
        """The rows of which it is asked who changed them, the likeliest first."""
        # A child's change is logged with its parent.
        is_asked = self.may_have_changed or self.asks
        subjects = [self.form.instance] if is_asked else []
        rows = [c.instance for c in self.conflicts if not c.is_hidden]
        subjects += [*rows, *self.added][:1]
        if version_field(type(self.form.instance)) is None:
            subjects.reverse()  # nobody knows whether the parent was changed
        return subjects

    # --- the questions ---------------------------------------------------

    @property
    def asks(self) -> bool:
        """Whether somebody has to decide, or was told that the page can't be used."""
        return panel.asks([self.form, *self.formsets])

    @property
    def is_too_old(self) -> bool:
        """Whether something on the page came without a token to be trusted."""
        return panel.is_too_old([self.form, *self.formsets])

    def ask_for_files(self) -> None:
        """Ask for the files that were sent, because a page can't keep them."""
        panel.ask_for_files([self.form, *self.formsets])

    def show(self, html: SafeString) -> None:
        """Show the panel in place of our own errors: to say it once is enough."""
        form, errors = self.form, self.form.errors.get(NON_FIELD_ERRORS)
        others = not_ours(errors.data) if errors else []
        shown = form.error_class(error_class="nonfield", renderer=form.renderer)
        shown.data = [html, *others]
        form.errors[NON_FIELD_ERRORS] = shown
        for formset in self.formsets:
            errors = formset.non_form_errors()
            errors.data = not_ours(errors.data)
        for conflict in self.conflicts:
            _point_at_fields(conflict)
            errors = conflict.form.errors.get(NON_FIELD_ERRORS)
            if errors and not not_ours(errors.data):  # beside a row
                errors.error_class += f" {_POINTER}"


def state(form: object, name: str) -> Any:
    """Return what a form, or formset, knows of itself if it is a versioned one."""
    return getattr(getattr(form, "_optilock", None), name, None)


def add_token(adminform: AdminForm) -> None:
    """Render the token inside a fieldset, which every theme does."""
    (name, options), *others = adminform.fieldsets
    options = {**options, "fields": [*options["fields"], TOKEN]}
    adminform.fieldsets = [(name, options), *others]


def _point_at_fields(conflict: FormConflict) -> None:
    """Mark the fields that wait for a decision, with a way up to it."""
    text = gettext("This was changed meanwhile, too: decide which to keep.")
    for group in conflict.groups(FieldState.COLLIDING):
        link = format_html('<a href="#{}">{}</a>', panel.ask_id(conflict, group), text)
        for name in {*group}.intersection(conflict.undecided):
            put_error(conflict.form, name, link)


def put_error(form: _Form, name: str, html: SafeString) -> None:
    """Show something about a conflict in front of a field's own errors."""
    errors = form.errors.get(name, ())
    kind = "" if errors else _POINTER
    form.errors[name] = form.error_class(
        [html, *errors], error_class=kind, renderer=form.renderer
    )
