"""Files that were chosen on a page: a browser lets no other page keep them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from optilock.changes import FieldChange, FieldState
from optilock.forms.conflict import DECISION
from optilock.forms.errors import (
    CHOOSE_AGAIN,
    CHOOSE_AGAIN_OR_KEEP,
    CHOOSE_AGAIN_OR_LEAVE,
)

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin

__all__ = ["CHOSEN", "ChosenFiles"]

#: Where the name of a file that was chosen stands in what is posted.
CHOSEN = "optilock_chosen_"


class ChosenFiles:
    """The files that were chosen for a form, on this page or on one before.

    A page that asks for one has its name beside the input. So it is known, on a page
    that is sent without the file, that there was one, also in a row that is new.
    """

    def __init__(self, form: VersionedFormMixin) -> None:
        self.form = form

    @property
    def _names(self) -> list[str]:
        fields = self.form.fields.items()
        return [name for name, one in fields if isinstance(one, forms.FileField)]

    @property
    def sent(self) -> dict[str, str]:
        """The names of the files that were sent now, by field."""
        found = {name: self.form[name].data for name in self._names}
        return {name: _name_of(data) for name, data in found.items() if data}

    @cached_property
    def lost(self) -> dict[str, str]:
        """The names of files that an earlier page asked for, and that weren't sent."""
        found = {}
        for name in self._names if self.form.is_bound else ():
            chosen = self.form.data.get(self.form.add_prefix(CHOSEN + name))
            if chosen and self.form[name].data is None and not self._is_given_up(name):
                found[name] = str(chosen)
        return found

    @cached_property
    def forgotten(self) -> list[str]:
        """The names of fields whose file was lost on a page without its name."""
        return [
            name
            for name in self._names
            if name in self.form._optilock.opened.shown
            and self.form[name].data is None
            and self.form.add_prefix(CHOSEN + name) not in self.form.data
        ]

    def _is_given_up(self, name: str) -> bool:
        decision = self.form.data.get(self.form.add_prefix(DECISION + name))
        return bool(decision == "theirs")

    def as_chosen(self, change: FieldChange) -> FieldChange:
        """Return a change with the name of the file that was chosen, if it is lost."""
        if change.name not in self.lost:
            return change
        they_did = change.state is FieldState.THEIRS
        state = FieldState.COLLIDING if they_did else change.state
        return replace(change, state=state, mine=self.lost[change.name])

    def ask(self) -> None:
        """Ask for all of them once more, at their inputs."""
        collisions = self.form.conflict.collisions if self.form.conflict else ()
        for name, file in {**self.lost, **self.sent}.items():
            field, codes = self.form.fields[name], _codes(self.form, name)
            if codes - {"choose_again", "required"}:
                continue  # it can't be saved at all
            stored = bool(self.form[name].initial)
            if stored:
                text, keep = CHOOSE_AGAIN_OR_KEEP, gettext("Keep the stored file")
            elif not field.required:
                text, keep = CHOOSE_AGAIN_OR_LEAVE, gettext("Save without this file")
            else:
                text, keep = CHOOSE_AGAIN, ""
            if name in collisions:  # the panel has that choice
                keep = ""
            field.bound_field_class = partial(_ChosenFile, chosen=file, keep=keep)  # type: ignore[assignment]  # it makes one
            self.form._bound_fields_cache.pop(name, None)  # type: ignore[attr-defined]  # not in the stubs
            if "choose_again" not in codes:
                self.form.errors.pop(name, None)  # it need not say that it is required
                error = ValidationError(
                    text, code="choose_again", params={"file": file}
                )
                self.form.add_error(name, error)


class _ChosenFile(forms.BoundField):
    """The input of a file that was chosen before, with the name it had."""

    def __init__(
        self,
        form: forms.BaseForm,
        field: forms.Field,
        name: str,
        *,
        chosen: str,
        keep: str,
    ) -> None:
        super().__init__(form, field, name)
        self.chosen, self.keep = chosen, keep

    def as_widget(
        self,
        widget: forms.Widget | None = None,
        attrs: dict[str, str | bool] | None = None,
        only_initial: bool = False,
    ) -> SafeString:
        html = super().as_widget(widget, attrs, only_initial)
        html += format_html(
            '<input type="hidden" name="{}" value="{}">',
            self.form.add_prefix(CHOSEN + self.name),
            self.chosen,
        )
        if self.keep:
            html += format_html(
                ' <label class="optilock-keep"><input type="checkbox" name="{}" '
                'value="theirs"> {}</label>',
                self.form.add_prefix(DECISION + self.name),
                self.keep,
            )
        return html


def _name_of(data: object) -> str:
    files = data if isinstance(data, list | tuple) else [data]
    return ", ".join(str(getattr(file, "name", file)) for file in files)


def _codes(form: forms.BaseForm, name: str) -> set[str | None]:
    errors = form.errors.get(name)
    return {error.code for error in errors.as_data()} if errors else set()
