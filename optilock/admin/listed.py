"""What a list has shown of its rows, to tell later what was changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db import models
from django.utils.text import Truncator, capfirst
from django.utils.translation import gettext

from optilock import panel
from optilock.forms import tokens
from optilock.rows import ModelField

__all__ = ["MANY_CHARACTERS", "find_changes", "keep_row"]

#: How much of a value stands in a sentence, and so is kept.
MANY_CHARACTERS = 60


def keep_row(row: models.Model, fields: Iterable[ModelField]) -> tokens.OpenedRow:
    """Return a row as a list shows it, for the list's token."""
    base: dict[str, tokens.Frozen] = {}
    for field in fields:
        if field.attname in vars(row):
            value = tokens.freeze(field, field.value_from_object(row))
            if len(str(value)) <= MANY_CHARACTERS:
                base[field.name] = value
            else:
                base |= tokens.fingerprints(row, [field])
    return tokens.look(row, base)


def find_changes(
    row: models.Model, opened: tokens.OpenedRow, fields: Iterable[ModelField], url: str
) -> Iterator[panel.Change]:
    """Yield what of a row isn't as the list has shown it.

    Args:
        row: the row as it is now.
        opened: the row as the list has shown it.
        fields: those that the list shows.
        url: of the row's form; empty if there is none for this person.
    """
    for field in fields:
        value, frozen = field.value_from_object(row), opened.base.get(field.name)
        is_kept = field.name in opened.base
        if is_kept and not tokens.is_frozen(field, value, frozen):
            # What a related object was called, nobody knows any more.
            base = "" if field.is_relation else _tell(field, tokens.thaw(field, frozen))
        elif not is_kept and tokens.changed(row, [field], opened):
            base = ""
        else:
            continue
        if field.is_relation:
            value = getattr(row, field.name)
        link = f"{url}#id_{field.name}" if url else ""
        name = str(capfirst(field.verbose_name))
        yield panel.Change(name, base, _tell(field, value), url=link)


def _tell(field: ModelField, value: object) -> str:
    text = Truncator(panel.as_text(field, value)).chars(MANY_CHARACTERS)
    return text or gettext("(empty)")
