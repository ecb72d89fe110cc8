"""An ``UPDATE`` that joins a table of new values, each row with its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db import models

from optilock.fast_update import sends_as_usual
from optilock.fields import IntegerVersionField
from optilock.plain_fields import columns_of
from optilock.rows import ModelField

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import _SQLType

__all__ = ["can_join", "can_look_first", "most_rows", "update"]


def can_join(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> bool:
    """Return whether the values can stand in a table an UPDATE joins."""
    if not (_joins_values(connection) and sends_as_usual(connection)):
        return False
    keys, fields = [*map(_target, model._meta.pk_fields)], [*map(_target, fields)]
    if connection.vendor == "mysql" and not all(
        isinstance(key, models.IntegerField) for key in keys
    ):
        return False  # texts of different collations can't be compared
    return all(_is_plain(field, connection) for field in (*keys, *fields)) and not any(
        hasattr(kind, "resolve_expression")
        for field in fields
        for kind in {*map(type, map(attrgetter(field.attname), objs))}
    )


def most_rows(connection: BaseDatabaseWrapper, columns: int) -> int:
    """Return how many rows of so many columns a statement takes."""
    params = connection.features.max_query_params
    return params // columns if params else sys.maxsize


def can_look_first(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    fields: Sequence[ModelField],
    count: int,
    size: int,
) -> bool:
    """Tell whether the first statement can look at the rows of all objects.

    Args:
        connection: the database.
        model: the table with the version.
        fields: what is written into it.
        count: how many objects there are.
        size: how many of them one statement writes, at most.
    """
    # MySQL locks rows that a subquery reads as it likes.
    if connection.vendor not in ("sqlite", "postgresql"):
        return False
    keys, limit = len(model._meta.pk_fields), connection.features.max_query_params
    written = min(size, count) * (keys + 1 + len(fields))
    looked_at = count * (keys + 1) if size < count else 0
    return not limit or written + looked_at < limit


def update(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    checked: Sequence[IntegerVersionField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
    together: Sequence[models.Model] = (),
) -> int:
    """Write the rows of the objects, and return how many were found.

    Args:
        connection: the database.
        model: the table.
        checked: its version field, if it has one: it is compared, and bumped.
        fields: what is written.
        objs: the objects, with the new values.
        together: all objects whose rows have to be there, at their versions, or
            nothing is written. They are locked. See ``can_look_first()``.
    """
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    matching: list[ModelField] = [*model._meta.pk_fields, *checked]
    source, params = _source(connection, table, matching, fields, objs, together)
    columns = [quote(field.column or "") for field in (*matching, *fields)]
    versions = columns[len(matching) - len(checked) : len(matching)]
    where = _all_equal(table, columns[: len(matching)], "new")
    # A joined MySQL UPDATE wants to know whose column is set, the others forbid it.
    prefix = f"{table}." if connection.vendor == "mysql" else ""
    assignments = ", ".join(
        [
            f"{prefix}{columns[number]} = new.v{number}"
            for number in range(len(matching), len(columns))
        ]
        + [f"{prefix}{version} = {table}.{version} + 1" for version in versions]
    )
    if connection.vendor == "mysql":
        sql = f"UPDATE {table} JOIN {source} ON {where} SET {assignments}"  # noqa: S608
    else:
        sql = f"UPDATE {table} SET {assignments} FROM {source} WHERE {where}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        count: int = cursor.rowcount
    return count


def _source(
    connection: BaseDatabaseWrapper,
    table: str,
    matching: Sequence[ModelField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
    together: Sequence[models.Model],
) -> tuple[str, list[_SQLType]]:
    """Return the SQL for a table ``new`` of the values, and its parameters.

    It is empty unless the rows of all objects ``together`` are there.
    """
    given, params = _given("given", connection, [*matching, *fields], objs)
    rows = "given"
    if together:
        names = ", ".join(f"v{number}" for number in range(len(matching)))
        asked = f"asked AS (SELECT {names} FROM given)"  # noqa: S608
        if len(together) > len(objs):
            asked, more = _given("asked", connection, matching, together)
            params += more
        columns = [connection.ops.quote_name(field.column or "") for field in matching]
        # PostgreSQL locks them, and where it had to wait for that looks again. On
        # SQLite nobody else writes meanwhile.
        is_locked = connection.features.has_select_for_no_key_update
        given += (
            f", {asked}, seen AS (SELECT 1 FROM {table} AS found "  # noqa: S608
            f"JOIN asked ON {_all_equal('found', columns, 'asked')}"
            f"{' FOR NO KEY UPDATE OF found' * is_locked})"
        )
        rows += ", (SELECT COUNT(*) AS number FROM seen) AS met WHERE number = %s"
        params.append(len(together))
    # The WITH is for the names of the columns. In front of the UPDATE it would
    # keep SQLite from counting the rows.
    return f"(WITH {given} SELECT given.* FROM {rows}) AS new", params  # noqa: S608


def _all_equal(table: str, columns: Sequence[str], other: str) -> str:
    return " AND ".join(
        f"{table}.{column} = {other}.v{number}" for number, column in enumerate(columns)
    )


def _given(
    name: str,
    connection: BaseDatabaseWrapper,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> tuple[str, list[_SQLType]]:
    """Return the SQL for a table of the objects' values, and its parameters."""
    names = ", ".join(f"v{number}" for number in range(len(fields)))
    others = [one for one in fields if not isinstance(one, IntegerVersionField)]
    prepared = columns_of(connection, others, objs)
    values = [
        [*map(field.expected, objs)]
        if isinstance(field, IntegerVersionField)
        else next(prepared)
        for field in fields
    ]
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{_array_type(f, connection)}" for f in fields)
        return f"{name}({names}) AS (SELECT * FROM unnest({arrays}))", [*values]  # noqa: S608
    row = f"({', '.join(['%s'] * len(fields))})"
    rows = ", ".join([row] * len(objs))
    params = chain.from_iterable(zip(*values, strict=True))
    return f"{name}({names}) AS (VALUES {rows})", [*params]


def _array_type(field: ModelField, connection: BaseDatabaseWrapper) -> str:
    db_type = field.cast_db_type(connection) or ""
    # A cast to varchar(2) would silently cut off a longer text; without the
    # length, the column itself refuses it.
    return re.sub(r"^(varchar|numeric)\(.*\)$", r"\1", db_type) + "[]"


def _joins_values(connection: Any) -> bool:
    if connection.vendor == "sqlite":
        has_update_from: bool = connection.Database.sqlite_version_info >= (3, 33)
        return has_update_from
    if connection.vendor == "mysql":
        is_mariadb: bool = connection.mysql_is_mariadb  # MySQL spells VALUES ROW()
        return is_mariadb
    return bool(connection.vendor == "postgresql")


def _target(field: ModelField) -> ModelField:
    """Return what a foreign key's column holds: the field it points to."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def _is_plain(field: ModelField, connection: BaseDatabaseWrapper) -> bool:
    """Return whether it is one of Django's columns, with no SQL around its value."""
    if isinstance(field, models.BinaryField):
        return connection.vendor != "mysql"  # there its value needs an introducer
    return field.get_internal_type() in connection.data_types and not (
        hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")
    )
