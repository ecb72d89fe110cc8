"""The attempt of ``retry_on_conflict`` that is running, as queries find it.

An attempt reads from the database that it writes to: from a replica that lags behind,
each attempt would read what it has lost before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from django.core.exceptions import ValidationError
from django.db import connections, models, router
from django.db.models.query import ModelIterable

from optilock.rows import version_field

__all__ = ["Attempt", "LostRow", "row_of", "running", "write_alias"]

T = TypeVar("T")


class LostRow(NamedTuple):
    """A row that was lost, in the table that holds its version."""

    using: str
    model: type[models.Model]
    pk: object


class Attempt:
    """One attempt: the databases it writes to, and the rows it reads by their keys.

    The queries of a ``with`` block find it.

    Args:
        aliases: of the databases.
        awaited: a row that the attempt is to lock when it reads it by its key, so
            that nothing else need be sent to lock it.
    """

    def __init__(self, aliases: Iterable[str], awaited: LostRow | None = None) -> None:
        outer = running.get()
        self.aliases: set[str] = {*aliases, *(outer.aliases if outer else ())}
        self.awaited = awaited
        #: What was read by its key, or would have been if it had been there.
        self.read: set[LostRow] = set()
        #: What was locked in being read.
        self.locked: set[LostRow] = set()
        self.is_locking = False

    def read_locked(self, row: LostRow, read: Callable[[], T]) -> T:
        """Read the awaited row, and lock it."""
        self.is_locking = True  # and stays so if it fails
        found = read()
        self.is_locking = False
        self.locked.add(row)
        return found

    def __enter__(self) -> None:
        self._token = running.set(self)

    def __exit__(self, *error: object) -> None:
        running.reset(self._token)


running: ContextVar[Attempt | None] = ContextVar("optilock_attempt", default=None)


def write_alias(model: type[models.Model], **hints: object) -> str | None:
    """Return the database on which the running attempt writes a model's rows.

    ``None`` if no attempt is running, or it doesn't write there.
    """
    attempt = running.get()
    if attempt is None:
        return None
    alias = router.db_for_write(model, **hints)
    return alias if alias in attempt.aliases else None


def row_of(
    queryset: models.QuerySet[models.Model], lookup: dict[str, object]
) -> LostRow | None:
    """Return the row that ``queryset.get(**lookup)`` reads by its key.

    ``None`` if that isn't all it does, or it couldn't lock the row: only rows of the
    table itself can be locked, and only as they are.
    """
    model, query = queryset.model, queryset.query
    pk = model._meta.pk
    field = version_field(model)
    if (
        field is None
        or field.model is not model._meta.concrete_model
        or len(model._meta.pk_fields) != 1
        or len(lookup) != 1
        or len(query.alias_map) > 1
        or query.annotations
        or query.combinator
        or query.distinct
        or query.is_sliced
        or query.select_related
        or queryset._iterable_class is not ModelIterable
    ):
        return None
    [(name, value)] = lookup.items()
    if name not in ("pk", pk.name, pk.attname):
        return None
    try:
        key = pk.to_python(value)
    except ValidationError:
        return None
    using = queryset.db
    if not connections[using].features.has_select_for_update:
        return None
    return LostRow(using, field.model, key)
