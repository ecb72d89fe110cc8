"""What the forms and formsets of a page have to ask, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import models

from optilock.forms.conflict import MEDIA, FormConflict
from optilock.forms.errors import CODES
from optilock.forms.form import VersionedFormMixin
from optilock.forms.formset import VersionedFormSetMixin

__all__ = [
    "MEDIA",
    "Piece",
    "ask_for_files",
    "asks",
    "find_added",
    "find_conflicts",
    "is_too_old",
]

_Form: TypeAlias = "forms.ModelForm[models.Model]"
#: A form, or a formset.
Piece: TypeAlias = "_Form | forms.BaseModelFormSet[models.Model, _Form]"


def find_conflicts(pieces: Iterable[Piece]) -> list[FormConflict]:
    """Return what others did to the rows of a page, in the order of its forms."""
    found = (getattr(form, "conflict", None) for form in _forms_of(pieces))
    return [conflict for conflict in found if conflict]


def find_added(pieces: Iterable[Piece]) -> list[models.Model]:
    """Return the rows that somebody else has added, told by an earlier page or not."""
    return [
        row
        for one in pieces
        if isinstance(one, VersionedFormSetMixin)
        for row in (*one._optilock.added_before, *one.added)
    ]


def asks(pieces: Sequence[Piece]) -> bool:
    """Return whether somebody has to decide, or is told that the page can't be used."""
    return any(conflict.asks for conflict in find_conflicts(pieces)) or not (
        _codes_of(pieces).isdisjoint(CODES)
    )


def is_too_old(pieces: Iterable[Piece]) -> bool:
    """Return whether something on the page came without a token to be trusted."""
    return "too_old" in _codes_of(pieces)


def _codes_of(pieces: Iterable[Piece]) -> set[str | None]:
    """Return the codes of the errors that belong to no field."""
    lists = (
        one.non_form_errors()
        if isinstance(one, forms.BaseFormSet)
        else one.errors.get(NON_FIELD_ERRORS)
        for one in pieces
    )
    return {
        getattr(error, "code", None)
        for errors in lists
        if errors
        for error in errors.data
    }


def ask_for_files(pieces: Iterable[Piece]) -> None:
    """Ask for the files that were sent, because a page can't keep them."""
    for form in _forms_of(pieces):
        if isinstance(form, VersionedFormMixin) and form.is_bound:
            form._optilock_ask_for_files()


def _forms_of(pieces: Iterable[Piece]) -> Iterator[_Form]:
    for one in pieces:
        if isinstance(one, forms.BaseFormSet):
            yield from one.forms
        else:
            yield one
