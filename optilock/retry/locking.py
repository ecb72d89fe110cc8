"""What was lost, and locking it before the next attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from django.db import connections, models

from optilock.attempts import LostRow
from optilock.exceptions import RecordModifiedError
from optilock.retry.errors import parts, refused
from optilock.rows import version_field

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import _SQLType

__all__ = ["MOST_LOCKED", "Key", "LostRow", "lock_rows", "lost_rows"]

#: More rows than these are not locked before an attempt.
MOST_LOCKED = 10_000


#: So many are in one statement.
_LOCKED = 1000


Key = tuple[object, ...]


def lost_rows(error: BaseException) -> set[LostRow]:
    """Return the rows that an error, or what it was raised from, says were lost."""
    rows = {
        LostRow(*part._optilock_row)
        for part in parts(error)
        if hasattr(part, "_optilock_row") and not isinstance(part, RecordModifiedError)
    }
    for using, instance in refused(error):
        field = version_field(type(instance))
        if field is not None:
            pk = instance._get_pk_val(field.model._meta)
            rows.add(LostRow(using, field.model, pk))
    return rows


def lock_rows(rows: Collection[LostRow]) -> None:
    """Lock the rows for the open transaction, in an order all agree on.

    More than ``MOST_LOCKED`` rows aren't locked: a call that loses so many is better
    off without. SQL by hand, because building this through a queryset takes
    longer than running it, and others wait while this transaction lasts.
    """
    if len(rows) > MOST_LOCKED:
        return
    for (using, _), group in groupby(sorted(rows, key=_table), key=_table):
        connection = connections[using]
        model, keys = _sorted_keys(group)
        if connection.features.has_select_for_update:
            statements = [
                _select_for_update(connection, model, keys[start : start + _LOCKED])
                for start in range(0, len(keys), _LOCKED)
            ]
        else:
            statements = [_lock_database(connection, model)]
        with connection.cursor() as cursor:
            for sql, params in statements:
                cursor.execute(sql, params)


def _sorted_keys(rows: Iterable[LostRow]) -> tuple[type[models.Model], list[Key]]:
    """Return the model of the rows, and their keys in order, each of them once."""
    rows = list(rows)
    meta = rows[0].model._meta
    keys = {
        tuple(
            field.to_python(value)
            for field, value in zip(meta.pk_fields, _key(row), strict=True)
        )
        for row in rows
    }
    try:
        return rows[0].model, sorted(keys)
    except TypeError:  # somebody's own kind of key, which has no order
        return rows[0].model, sorted(keys, key=repr)


def _select_for_update(
    connection: BaseDatabaseWrapper, model: type[models.Model], keys: list[Key]
) -> tuple[str, list[_SQLType]]:
    meta = model._meta
    quote = connection.ops.quote_name
    names = [quote(str(field.column)) for field in meta.pk_fields]
    columns = ", ".join(names)
    # (a, b) IN ((1, 2), (3, 4)), which all databases with row locks understand.
    key, column = ", ".join(["%s"] * len(names)), columns
    if len(names) > 1:
        key, column = f"({key})", f"({columns})"
    sql = (
        f"SELECT 1 FROM {quote(meta.db_table)} "  # noqa: S608 -- names are quoted
        f"WHERE {column} IN ({', '.join([key] * len(keys))}) "
        f"ORDER BY {columns} {connection.ops.for_update_sql()}"
    )
    params = [
        field.get_db_prep_value(value, connection)
        for key_ in keys
        for field, value in zip(meta.pk_fields, key_, strict=True)
    ]
    return sql, params


def _lock_database(
    connection: BaseDatabaseWrapper, model: type[models.Model]
) -> tuple[str, list[_SQLType]]:
    # SQLite has one lock for all rows. Each write takes it, even if there is
    # nothing to write. A transaction that has it from the beginning can't find
    # its snapshot too old to write.
    meta = model._meta
    quote = connection.ops.quote_name
    column = quote(str(meta.pk_fields[0].column))
    table = quote(meta.db_table)
    return f"UPDATE {table} SET {column} = {column} WHERE 1 = 0", []  # noqa: S608


def _key(row: LostRow) -> Key:
    return row.pk if isinstance(row.pk, tuple) else (row.pk,)


def _table(row: LostRow) -> tuple[str, str]:
    return row.using, row.model._meta.db_table
