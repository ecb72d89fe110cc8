"""Reads one row by its key, and locks it, by the shortest way.

Whoever holds a hot row keeps others waiting, and the threads of a process wait for each
other's Python as well. Most of what ``select_for_update().get(pk=…)`` takes of that is
the way to the text of its ``SELECT``, the same each time but for the key. So Django
compiles it once for a connection, and then only the key is exchanged. What becomes of
the row is Django's business.

Whatever isn't plain, and wherever anybody else has a hand in queries, goes Django's own
way. The door is ``read_locked()``: without it, rows are read more slowly and as safely.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from django.db import connections, models
from django.db.models.query import MAX_GET_RESULTS, ModelIterable
from django.db.models.sql.compiler import SQLCompiler

from optilock.djangos import IS_KNOWN, are_djangos
from optilock.plain_fields import exact_param

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql import Query

    from optilock.attempts import LostRow

    _Rows = models.QuerySet[models.Model]

__all__ = ["locking", "read_locked"]

_M = TypeVar("_M", bound=models.Model)
_Q = TypeVar("_Q", bound="_Rows")


def read_locked(queryset: models.QuerySet[_M], row: LostRow) -> _M | None:
    """Return a queryset's row as it is now, locked until the transaction ends.

    Args:
        queryset: whose ``get()`` was asked for it.
        row: its key, and on which database.

    Returns:
        ``None`` if nothing was found, or nothing was done: it is Django's turn.
    """
    connection, model, kind = connections[row.using], queryset.model, type(queryset)
    if (
        not (IS_KNOWN and connection.in_atomic_block)
        or queryset._prefetch_related_lookups  # type: ignore[attr-defined]  # not in the stubs
        or queryset._known_related_objects  # type: ignore[attr-defined]  # nor this
        or not are_djangos(*_METHODS_OF_QUERYSET(kind))
    ):
        return None
    param = exact_param(connection, model._meta.pk, row.pk)
    if param is None:
        return None
    known = vars(connection).setdefault("_optilock_reads", {})
    compiled: _Compiled | None = known.get((model, kind))
    if compiled is None or compiled.is_outdated():
        compiled = known[model, kind] = _Compiled(kind, connection, row, param)
    return compiled.read(param) if compiled.is_for(queryset) else None  # type: ignore[return-value]  # of the same model


def locking(rows: _Q, connection: BaseDatabaseWrapper) -> _Q:
    """Return the same rows, to be locked; those that are already, in their own way."""
    if rows.query.select_for_update:
        return rows
    has_no_key = connection.features.has_select_for_no_key_update
    return rows.select_for_update(no_key=has_no_key)


class _Compiled:
    """What Django has compiled for a connection: the row with a key, locked."""

    def __init__(
        self,
        kind: type[_Rows],
        connection: BaseDatabaseWrapper,
        row: LostRow,
        param: object,
    ) -> None:
        self.all = kind(row.model, using=row.using)
        self.untouched = vars(self.all.query)
        self.seen = self._names()
        rows = locking(self.all, connection).filter(pk=row.pk).order_by()
        has_limit = connection.features.supports_select_for_update_with_limit
        if has_limit:  # pragma: no branch -- only Oracle's have none
            rows.query.set_limits(high=MAX_GET_RESULTS)  # as get() does
        self.compiler: SQLCompiler = rows.query.get_compiler(connection=connection)
        self.sql, params = self.compiler.as_sql()
        self.is_plain = tuple(params) == (param,)

    def _names(self) -> tuple[object, ...]:
        meta = self.all.model._meta
        return meta.concrete_fields, meta.db_table  # new ones, if a field is added

    def is_outdated(self) -> bool:
        return self.seen != self._names()

    def is_for(self, queryset: _Rows) -> bool:
        """Tell whether a queryset is as if it were new, and nobody has a hand in it."""
        return (
            self.is_plain
            and vars(queryset.query) == self.untouched
            and _fetch_mode(queryset) == _fetch_mode(self.all)
            and are_djangos(*_METHODS_OF_COMPILER(type(self.compiler)))
        )

    def read(self, param: object) -> models.Model | None:
        query: Query = _Query(self, param)  # type: ignore[assignment]  # as much as is asked of it
        all_ = self.all
        rows = type(all_)(all_.model, query=query, using=all_._db)  # type: ignore[attr-defined]  # not in the stubs
        return next(iter([*ModelIterable(rows)]), None)


class _Query:
    """Stands for a query where nothing but its compiler is asked for."""

    def __init__(self, compiled: _Compiled, param: object) -> None:
        self.compiled, self.param = compiled, param

    def get_compiler(self, using: str) -> SQLCompiler:
        # One for each read: it knows the parameter.
        known = self.compiled.compiler
        compiler: SQLCompiler = type(known).__new__(type(known))
        vars(compiler).update(vars(known), as_sql=self.as_sql)
        return compiler

    def as_sql(self) -> tuple[str, tuple[object]]:
        return self.compiled.sql, (self.param,)


def _fetch_mode(queryset: _Rows) -> object:
    return getattr(queryset, "_fetch_mode", None)  # from Django 6.1 on


# What is called, and what is likely to be patched, on the way to a SELECT.
_METHODS_OF_QUERYSET = attrgetter(
    *("__init__", "__len__", "_chain", "_clone", "_fetch_all", "_filter_or_exclude"),
    *("filter", "order_by", "select_for_update"),
)
_METHODS_OF_COMPILER = attrgetter(
    *("__init__", "as_sql", "compile", "execute_sql", "pre_sql_setup", "results_iter")
)
