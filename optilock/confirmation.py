"""A delete is confirmed for a row as its page has shown it."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models

from optilock.forms import tokens
from optilock.rows import ModelField, version_field

__all__ = ["Confirmation", "guarded_fields", "sign_confirmation"]


def guarded_fields(row: models.Model) -> list[ModelField]:
    """Return the fields whose changes bump the row's version."""
    version = version_field(type(row))
    return [
        field
        for field in row._meta.concrete_fields
        if field is not version and not (version and version.excludes([field.name]))
    ]


class Confirmation:
    """What somebody has agreed to delete, next to the row as it is now.

    Attributes:
        token: the token of the page, ``None`` if it can't be trusted.
        opened: the row as the page showed it; ``tokens.UNSEEN`` if that isn't known.
        changed: the fields that had other values then. The version alone doesn't tell
            what was changed without a bump.
    """

    def __init__(
        self, text: str | None, row: models.Model, fields: Iterable[ModelField]
    ) -> None:
        """Compare.

        Args:
            text: the token that was sent.
            row: the row, locked.
            fields: those that the page was signed with.
        """
        self.token = tokens.trusted(text, type(row))
        self.opened = self.token.row(row.pk) if self.token else tokens.UNSEEN
        self.changed = tokens.changed(row, fields, self.opened)
        self.is_current = (
            self.opened.version == tokens.look(row).version and not self.changed
        )


def sign_confirmation(
    row: models.Model, fields: Iterable[ModelField], *, place: str = ""
) -> str:
    """Return the token of a page that asks whether to delete a row.

    Args:
        row: the row as the page shows it.
        fields: those whose changes concern whoever deletes it.
        place: what the URL of the page says of the row.
    """
    seen = tokens.look(row, tokens.fingerprints(row, fields))
    return tokens.Token({tokens.key(row.pk): seen}, place=place).sign(type(row))
