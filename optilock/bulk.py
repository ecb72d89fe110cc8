"""The statements that write many rows, each row with its own values.

Django's ``bulk_update()`` says ``CASE WHEN pk = 1 THEN ... WHEN pk = 2 ...`` for
each column: the database tries every branch for every row. Here the new values
are a table that the ``UPDATE`` joins, the versions expected of the rows among
them.

A field whose values can't stand in such a table (an array, an expression) makes
its rows take Django's way, in batches so small that it doesn't hurt. So does a package
that changes how an ``UPDATE`` is sent, as for ``save()``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import Q

from optilock.exceptions import (
    RecordModifiedError,
    RowConflict,
    error_for,
)
from optilock.expressions import NextVersion
from optilock.fast_update import sends_as_usual
from optilock.fields import IntegerVersionField
from optilock.keys import refuse_new_key
from optilock.lost_transactions import one_statement
from optilock.plain_sql import columns_of
from optilock.rows import ModelField, as_of_now, version_field

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import _SQLType


__all__ = [
    "BATCH_SIZE",
    "CASE_BATCH_SIZE",
    "batches",
    "conflict",
    "is_set_order",
    "refuse_uncheckable",
    "row_key",
    "write",
]

_M = TypeVar("_M", bound=models.Model)

#: Rows in one statement; more of them make none of the databases any faster.
BATCH_SIZE = 1000
#: The same for Django's CASE, whose cost grows with the square of it.
CASE_BATCH_SIZE = 50


def is_set_order(
    model: type[models.Model], names: Sequence[str], objs: Sequence[models.Model]
) -> bool:
    """Recognise Django's ``set_RELATED_order()``.

    It makes objects from primary keys alone: like ``update()``, it bumps the
    versions and has none to check.
    """
    return (
        model._meta.order_with_respect_to is not None
        and names == ["_order"]
        and all(obj._state.adding for obj in objs)
    )


def refuse_uncheckable(
    version: IntegerVersionField, objs: Iterable[models.Model]
) -> None:
    seen: set[tuple[object, ...]] = set()
    for obj in objs:
        if not obj._is_pk_set():  # type: ignore[attr-defined]  # not in the stubs
            raise ValueError("All bulk_update() objects must have a primary key set.")
        if obj._state.adding:
            raise ValueError(
                f"bulk_update() can't check {obj!r}: it wasn't loaded from the "
                f"database, so nobody knows what this write would overwrite. Load the "
                f"objects first, or use update(), which doesn't check."
            )
        refuse_new_key(obj, "bulk_update()")
        key = row_key(version.model, obj)
        if key in seen:
            raise ValueError(
                f"bulk_update() was given two objects with the primary key "
                f"{obj.pk!r}. Only one of them can be written; leave the other out."
            )
        seen.add(key)


def write(
    using: str,
    version: IntegerVersionField,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
    batch_size: int | None,
) -> bool:
    """Write the fields of all objects and bump their rows' versions, or write nothing.

    Returns:
        Whether all rows were there, at the versions their objects expect.
    """
    tables: dict[type[models.Model], list[ModelField]] = {version.model: []}
    for field in fields:
        table = field.model._meta.concrete_model
        tables.setdefault(table, []).append(field)  # type: ignore[arg-type]  # it has a column
    if len(objs) == len(tables) == 1:
        # If the one row doesn't match, there is nothing to be taken back.
        with one_statement(using, "bulk_update()"):
            return _write_table(using, version.model, version, fields, objs, batch_size)
    try:
        with transaction.atomic(using=using):
            # The table with the version is the first: its rows are then locked.
            for model, columns in tables.items():
                if not _write_table(using, model, version, columns, objs, batch_size):
                    raise _NotAllMatchedError
    except _NotAllMatchedError:
        return False
    return True


class _NotAllMatchedError(Exception):
    """Leaves the transaction of a bulk_update(), so that it is rolled back."""


def conflict(
    using: str,
    version: IntegerVersionField,
    objs: Sequence[models.Model],
    outside: Container[tuple[object, ...]],
) -> RecordModifiedError:
    """Return the error that names all objects whose rows couldn't be written.

    Args:
        outside: keys of the rows that the queryset leaves out.
    """
    model = version.model
    rows: models.QuerySet[models.Model] = as_of_now(
        models.QuerySet(model, using=using), using
    )
    names = [field.attname for field in model._meta.pk_fields]
    found: dict[tuple[object, ...], int] = {}
    for batch in batches(objs, BATCH_SIZE):
        pks = [obj._get_pk_val(model._meta) for obj in batch]
        for *key, current in rows.filter(pk__in=pks).values_list(
            *names, version.attname
        ):
            found[tuple(key)] = current
    all_rows = [
        (key, RowConflict(obj, using, version.expected(obj), found.get(key)))
        for obj in objs
        for key in [row_key(model, obj)]
    ]
    conflicts = [
        row
        for key, row in all_rows
        if row.current_version != row.expected_version or key in outside
    ] or [row for _, row in all_rows]
    # The error as a whole speaks of a row that is still there, if one is.
    first = next(
        (row for row in conflicts if row.current_version is not None), conflicts[0]
    )
    return error_for(
        instance=first.instance,
        using=using,
        expected_version=first.expected_version,
        current_version=first.current_version,
        conflicts=conflicts,
    )


def row_key(model: type[models.Model], obj: models.Model) -> tuple[object, ...]:
    """Return the primary key of the object's row in the model's table."""
    return tuple(
        field.to_python(getattr(obj, field.attname)) for field in model._meta.pk_fields
    )


def batches(objs: Sequence[_M], size: int) -> Iterator[Sequence[_M]]:
    return (objs[start : start + size] for start in range(0, len(objs), size))


def _write_table(
    using: str,
    model: type[models.Model],
    version: IntegerVersionField,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
    batch_size: int | None,
) -> bool:
    connection = connections[using]
    keys = model._meta.pk_fields
    checked = [version] if model is version.model else []
    write_batch: Callable[..., int]
    if _can_join(connection, keys, fields, objs):
        write_batch, limit = _join_update, BATCH_SIZE
        if connection.features.max_query_params:
            columns = len(keys) + len(checked) + len(fields)
            limit = min(limit, connection.features.max_query_params // columns)
    else:
        write_batch, limit = _case_update, CASE_BATCH_SIZE
    return all(
        write_batch(connection, model, keys, checked, fields, batch) == len(batch)
        for batch in batches(objs, min(batch_size or limit, limit))
    )


def _join_update(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    keys: Sequence[ModelField],
    checked: Sequence[IntegerVersionField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> int:
    """Write the rows with an UPDATE that joins a table of values."""
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    given: list[ModelField] = [*keys, *checked, *fields]
    columns = [quote(field.column or "") for field in given]
    names = [f"v{number}" for number in range(len(columns))]
    matched = len(keys) + len(checked)
    values: list[Sequence[object]] = [
        *columns_of(connection, keys, objs),
        *([field.expected(obj) for obj in objs] for field in checked),
        *columns_of(connection, fields, objs),
    ]
    source, params = _source(connection, given, names, values)
    where = " AND ".join(
        f"{table}.{column} = new.{name}"
        for column, name in zip(columns[:matched], names, strict=False)
    )
    # A joined MySQL UPDATE wants to know whose column is set, the others forbid it.
    prefix = f"{table}." if connection.vendor == "mysql" else ""
    assignments = ", ".join(
        [
            f"{prefix}{column} = new.{name}"
            for column, name in zip(columns[matched:], names[matched:], strict=True)
        ]
        + [
            f"{prefix}{column} = {table}.{column} + 1"
            for column in columns[len(keys) : matched]
        ]
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
    fields: Sequence[ModelField],
    names: Sequence[str],
    values: Sequence[Sequence[object]],
) -> tuple[str, list[_SQLType]]:
    """Return the SQL for a table ``new`` of the values, and its parameters."""
    columns = ", ".join(names)
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{_array_type(f, connection)}" for f in fields)
        return f"unnest({arrays}) AS new({columns})", list(values)  # type: ignore[arg-type]  # lists
    row = f"({', '.join(['%s'] * len(names))})"
    rows = ", ".join([row] * len(values[0]))
    # The WITH is for the names of the columns. In front of the UPDATE it would
    # keep SQLite from counting the rows.
    return (
        f"(WITH given({columns}) AS (VALUES {rows}) SELECT * FROM given) AS new",  # noqa: S608
        list(chain.from_iterable(zip(*values, strict=True))),
    )


def _array_type(field: ModelField, connection: BaseDatabaseWrapper) -> str:
    db_type = field.cast_db_type(connection) or ""
    # A cast to varchar(2) would silently cut off a longer text; without the
    # length, the column itself refuses it.
    return re.sub(r"^(varchar|numeric)\(.*\)$", r"\1", db_type) + "[]"


def _can_join(
    connection: BaseDatabaseWrapper,
    keys: Sequence[ModelField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> bool:
    """Return whether the values can stand in a table an UPDATE joins."""
    if not (_joins_values(connection) and sends_as_usual(connection)):
        return False
    keys, fields = [*map(_target, keys)], [*map(_target, fields)]
    if connection.vendor == "mysql" and not all(
        isinstance(key, models.IntegerField) for key in keys
    ):
        return False  # texts of different collations can't be compared
    return all(_is_plain(field, connection) for field in (*keys, *fields)) and not any(
        hasattr(kind, "resolve_expression")
        for field in fields
        for kind in {*map(type, map(attrgetter(field.attname), objs))}
    )


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


def _case_update(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    keys: Sequence[ModelField],
    checked: Sequence[IntegerVersionField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> int:
    """Write the rows with Django's own bulk_update(), and the check around it."""
    rows: models.QuerySet[models.Model]
    names = [field.name for field in fields]
    if not checked:
        rows = models.QuerySet(model, using=connection.alias)
        return rows.bulk_update(objs, names)
    version = checked[0]
    pks: dict[int, list[object]] = {}
    for obj in objs:
        pks.setdefault(version.expected(obj), []).append(obj._get_pk_val(model._meta))
    at_expected = Q.create(
        [Q(pk__in=found, **{version.attname: n}) for n, found in pks.items()], Q.OR
    )
    rows = _RaisingQuerySet(model, using=connection.alias).filter(at_expected)
    return rows.bulk_update(objs, names) if names else rows.update()


class _RaisingQuerySet(models.QuerySet[models.Model]):
    """Bumps the version in ``update()``, whatever is written."""

    def update(self, **kwargs: Any) -> int:
        field: Any = version_field(self.model)
        kwargs[field.name] = NextVersion(field)
        return super().update(**kwargs)
