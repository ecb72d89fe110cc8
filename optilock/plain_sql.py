"""The text of an UPDATE of plain values, joined from the names in it.

It isn't compiled, and has no other input, so it can't be out of date. It is only used
if Django's compiler has made the same text of the same names on the same connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from django.db.models.sql import UpdateQuery
from django.db.models.sql.where import WhereNode

from optilock.plain_fields import MAX_KNOWN, exact_param

__all__ = [
    "KNOWN",
    "NEVER",
    "Statement",
    "compiler_of",
    "remember",
    "statement_of",
    "types_of",
]

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from optilock.plain_fields import PlainFields
    from optilock.rows import ModelField

    # The table; the columns to set; those of the primary key and version.
    Names = Sequence[str]
    Row = Sequence[tuple[ModelField, object]]

#: SQL and parameters.
Statement = tuple[str, tuple[Any, ...]]

#: Where a connection has its texts.
KNOWN = "_optilock_known"
#: Stands for a text that it doesn't know.
NEVER: Final = object()

_COLUMN = attrgetter("column")


def statement_of(
    connection: BaseDatabaseWrapper,
    row: Row,
    plain: PlainFields,
    values: Sequence[object],
) -> Statement | None:
    """Return SQL and parameters, ``None`` if a compiler is needed for them.

    Args:
        connection: where to.
        row: the primary key, and in the lock's table the version, with their values.
        plain: what is written beside the version.
        values: a value for each of them.
    """
    if plain.is_placed or (params := plain.params(connection, values)) is None:
        return None
    names = [row[0][0].model._meta.db_table, *map(_COLUMN, plain.fields)]
    for field, value in row:
        param = exact_param(connection, field, value)
        if param is None:
            return None
        params.append(param)
        names.append(field.column)
    key = (len(row), *names)
    # This runs for each save, so nothing is called in vain.
    sql = vars(connection).get(KNOWN, {}).get(key, NEVER)
    if sql is NEVER:
        sql = _learn(connection, names, params, row, plain, values)
        remember(connection, key, sql)
    return None if sql is None else (sql, tuple(params))


def remember(
    connection: BaseDatabaseWrapper, key: tuple[object, ...], text: object
) -> None:
    """Let a connection know a text by all the names that are in it."""
    known = vars(connection).setdefault(KNOWN, {})
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[key] = text


def _learn(
    connection: BaseDatabaseWrapper,
    names: Names,
    params: Sequence[object],
    row: Row,
    plain: PlainFields,
    values: Sequence[object],
) -> str | None:
    """Return the text for these names, ``None`` if the compiler's is another."""
    quote = connection.ops.quote_name
    table, *columns = map(quote, names)
    keys = [f"{table}.{columns.pop()} = %s" for _ in row][::-1]
    conditions = f"({' AND '.join(keys)})" if len(keys) > 1 else keys[0]
    version = [f"{quote(names[-1])} = {quote(names[-1])} + 1"][: len(row) - 1]

    def text(markers: Iterable[str]) -> str:
        assignments = [
            f"{column} = {marker}"
            for column, marker in zip(columns, markers, strict=False)
        ]
        sets = ", ".join(assignments + version)
        return f"UPDATE {table} SET {sets} WHERE {conditions}"  # noqa: S608 -- quoted

    sql, bound = compiler_of(connection, row, plain, values).as_sql()
    all_bound = text("%s" for _ in columns)
    # Django before 6.1 spells a NULL out, which makes no difference.
    spelled_out = text("NULL" if param is None else "%s" for param in params)
    if (sql, types_of(bound)) in (
        (all_bound, types_of(params)),
        (spelled_out, types_of(param for param in params if param is not None)),
    ):
        return all_bound
    return None


def types_of(params: Iterable[object]) -> list[type]:
    """Return by what two bound rows are compared.

    Their values need not be equal: one that is encrypted never is.
    """
    return [type(param) for param in params]


def compiler_of(
    connection: BaseDatabaseWrapper,
    row: Row,
    plain: PlainFields,
    values: Sequence[object],
) -> SQLCompiler:
    """Return Django's compiler for the UPDATE that ``lock.do_update()`` asks for."""
    (pk, _), *version = row
    query = UpdateQuery(pk.model)
    sets: list[Any] = [
        (field, None, value) for field, value in zip(plain.fields, values, strict=True)
    ]
    sets += [(field, None, field.next_version) for field, _ in version]  # type: ignore[attr-defined]  # the version's
    query.add_update_fields(sets)
    table = pk.model._meta.db_table
    conditions: list[Any] = [
        field.get_lookup("exact")(field.get_col(table), value)  # type: ignore[misc]  # it has one
        for field, value in row
    ]
    query.where = WhereNode(conditions)
    compiler: SQLCompiler = query.get_compiler(connection.alias)
    return compiler
