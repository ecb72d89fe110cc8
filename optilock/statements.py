"""Updates one row of a locked model by the shortest way.

Most of what a ``save()`` costs isn't the database but the way to the text of its
``UPDATE``: ``filter()``, ``F()`` and the compiler. Here the query is put together
directly. And where nothing but plain values is written, the text isn't compiled:
it is joined from the names in it, and has no other input, so it can't be out of
date. It is only used if Django's compiler has made the same text of the same
names on the same connection.

Whatever isn't plain is compiled, and wherever anybody else has a hand in updates,
the lock takes Django's documented way instead of this one: see ``is_plain()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.lookups import Exact, IntegerFieldExact
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler, SQLUpdateCompiler
from django.db.models.sql.constants import ROW_COUNT
from django.db.models.sql.where import WhereNode

from optilock.memory import SCALARS

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    # The stubs have a field's column, and much that is used here, differently.
    Field = Any
    # The table, quoted; the columns to set; those of the primary key and version.
    Names = tuple[str, ...]
    Statement = tuple[str, tuple[Any, ...]]

#: The lookups that mean ``=`` and nothing else.
EXACT = (Exact, IntegerFieldExact)

#: How many texts a connection remembers. Few programs have as many; those that
#: name ever new combinations of `update_fields` start over.
MAX_KNOWN = 500


def is_plain(
    update: Callable[..., Any],
    base_qs: Any,
    connection: BaseDatabaseWrapper,
) -> bool:
    """Tell whether nobody but Django has a say in ``update(base_qs, …)``.

    A ``_do_update()`` of another package has to be called, a queryset that
    somebody has narrowed has to stay narrow, and a method that somebody has
    patched, in order to add a condition or to see what is written, has to be used.
    """
    query = base_qs.query
    return (
        type(update) is MethodType
        and type(base_qs) is models.QuerySet
        and base_qs.db == connection.alias
        and type(query) is Query
        and not query.where
        and not query.alias_map
        and not query.extra_tables
        and not query.is_sliced
        and not query.combinator
        and are_djangos(update.__func__)
        and sends_as_usual(connection)
    )


def is_direct(
    update: Callable[..., Any], save_table: Callable[..., Any], manager: Any
) -> bool:
    """Tell whether ``save_table(…)`` would only call ``update(base_qs, …)``.

    Args:
        update: the bound ``Model._do_update()``.
        save_table: the bound ``Model._save_table()``.
        manager: where that gets ``base_qs`` from.
    """
    return (
        type(update) is MethodType
        and type(save_table) is MethodType
        and type(manager) is models.Manager
        and are_djangos(
            update.__func__,
            save_table.__func__,
            models.Manager.get_queryset,
            models.QuerySet.using,
        )
    )


def sends_as_usual(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether nobody has patched how Django makes and sends an ``UPDATE``."""
    compiler = connection.ops.compiler("SQLUpdateCompiler")
    return are_djangos(
        models.QuerySet.filter,
        vars(models.QuerySet)["_update"],
        UpdateQuery.get_compiler,
        compiler.as_sql,
        compiler.execute_sql,
        SQLUpdateCompiler.as_sql,
        SQLUpdateCompiler.execute_sql,
        SQLCompiler.execute_sql,
    )


@lru_cache(maxsize=32)
def are_djangos(*functions: Any) -> bool:
    """Tell whether these are functions as Django has defined them."""
    return all(
        type(function) is FunctionType
        # Not __module__, which functools.wraps() copies.
        and function.__globals__["__name__"].startswith("django.db.")
        for function in functions
    )


class RowUpdate:
    """``base_qs.filter(pk=…, version=…)._update(…)``, where ``base_qs`` is plain.

    Args:
        connection: where to.
        lock: the version field, whose model's table it is.
        pk_val: the row's primary key.
        expected: the version the row must have.
        values: field, model and value of each column, without the version.
    """

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        lock: Field,
        pk_val: Any,
        expected: int,
        values: Sequence[tuple[Field, Any, Any]],
    ) -> None:
        self.connection = connection
        self.model = lock.model
        self.values = values
        self.row: tuple[tuple[Field, Any], ...] = (
            (self.model._meta.pk, pk_val),
            (lock, expected),
        )

    def execute(self, *returning_fields: Any) -> Any:
        """Update the row, and return what ``Model._do_update()`` does.

        That is whether a row was updated, and from Django 6.0 on, which hands
        over the fields to read back, a list with an entry for each such row.
        """
        statement = None if any(returning_fields) else self.plain_statement()
        if statement is not None:
            updated = self.send(statement)
            return [()] * updated if returning_fields else updated
        compiler = self._compiler()
        if returning_fields:
            return compiler.execute_returning_sql(*returning_fields)
        return compiler.execute_sql(ROW_COUNT) > 0

    def send(self, statement: Statement) -> bool:
        """Execute what ``plain_statement()`` returned; was there such a row?"""
        with self.connection.cursor() as cursor:
            cursor.execute(*statement)
            return bool(cursor.rowcount)

    def _compiler(self) -> Any:
        query = UpdateQuery(self.model)
        _, (lock, _) = self.row
        query.add_update_fields([*self.values, (lock, None, lock.next_version)])
        table = self.model._meta.db_table
        conditions: list[Any] = [
            field.get_lookup("exact")(field.get_col(table), value)
            for field, value in self.row
        ]
        query.where = WhereNode(conditions)
        return query.get_compiler(self.connection.alias)

    def plain_statement(self) -> Statement | None:
        """Return SQL and parameters, ``None`` if a compiler is needed for them."""
        connection = self.connection
        names = [connection.ops.quote_name(self.model._meta.db_table)]
        params = []
        for field, _, value in self.values:
            if hasattr(field, "get_placeholder") or hasattr(
                field, "get_placeholder_sql"
            ):
                return None
            if type(value) not in SCALARS and (
                hasattr(value, "resolve_expression")
                or hasattr(value, "prepare_database_save")
            ):
                return None
            # As the compiler does.
            param = field.get_db_prep_save(value, connection=connection)
            if type(param) not in SCALARS and hasattr(param, "as_sql"):
                return None
            names.append(field.column)
            params.append(param)
        for field, value in self.row:
            if (
                field.get_class_lookups()["exact"] not in EXACT
                or hasattr(field, "instance_lookups")
                or hasattr(value, "as_sql")
            ):
                return None
            # As those lookups do; what no row can have is theirs to find out.
            value = field.get_prep_value(value)
            if type(value) is int and not -(2**63) <= value < 2**63:
                return None
            names.append(field.column)
            params.append(field.get_db_prep_value(value, connection, prepared=True))
        known = vars(connection).setdefault("_optilock_known", {})
        key = tuple(names)
        if key not in known:
            if len(known) >= MAX_KNOWN:
                known.clear()
            known[key] = self._learn(key, params)
        sql = known[key]
        return None if sql is None else (sql, tuple(params))

    def _learn(self, names: Names, params: Sequence[Any]) -> str | None:
        """Return the text for these names, ``None`` if the compiler's is another."""
        quote = self.connection.ops.quote_name
        table, *columns, pk, version = names
        pk, version = quote(pk), quote(version)

        def text(markers: Iterable[str]) -> str:
            assignments = [
                f"{quote(column)} = {marker}"
                for column, marker in zip(columns, markers, strict=False)
            ]
            assignments.append(f"{version} = {version} + 1")
            return (
                f"UPDATE {table} SET {', '.join(assignments)} "  # noqa: S608 -- quoted
                f"WHERE ({table}.{pk} = %s AND {table}.{version} = %s)"
            )

        def types(params: Iterable[Any]) -> list[type]:
            # Values need not be equal: an encrypted one never is.
            return [type(param) for param in params]

        sql, bound = self._compiler().as_sql()
        all_bound = text("%s" for _ in columns)
        # Django before 6.1 spells a NULL out, which makes no difference.
        spelled_out = text("NULL" if param is None else "%s" for param in params)
        if (sql, types(bound)) in (
            (all_bound, types(params)),
            (spelled_out, types(param for param in params if param is not None)),
        ):
            return all_bound
        return None
