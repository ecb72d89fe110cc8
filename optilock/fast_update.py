"""Updates one row of a locked model by the shortest way.

Most of what a ``save()`` costs isn't the database but the way to the text of its
``UPDATE``: ``filter()``, ``F()`` and the compiler. Where nothing but plain values is
written, the text is joined from names: see ``plain_sql.py``.

Whatever isn't plain, and wherever anybody else has a hand in updates, goes Django's
own way. The doors are ``update_row()`` and ``update_further_row()``: without them,
every row is updated by ``Lock.do_update()``, more slowly and as safely.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from inspect import signature
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from django.db import connections, models
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, IntegerFieldExact
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler, SQLUpdateCompiler
from django.db.models.sql.constants import ROW_COUNT
from django.db.models.sql.where import WhereNode

from optilock.djangos import IS_KNOWN, are_djangos
from optilock.plain_fields import METHODS_OF_FIELD, PlainFields, exact_param
from optilock.plain_sql import compiler_of, statement_of
from optilock.rows import as_of_now, reads_old_snapshot

__all__ = [
    "current_version",
    "have_known_pre_save",
    "sends_as_usual",
    "update_further_row",
    "update_row",
]

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from optilock.fields import IntegerVersionField
    from optilock.lock import Lock
    from optilock.plain_sql import Statement
    from optilock.rows import ModelField


def update_row(
    lock: Lock,
    instance: models.Model,
    save_table: Callable[..., bool],
    using: str,
    update_fields: Collection[str] | None,
) -> BaseDatabaseWrapper | None:
    """Update the row of a model's lock by the short way, if it can be taken.

    Without it, ``lock.do_update()`` does the same.

    Args:
        lock: the lock of the table.
        instance: what is saved; it isn't new.
        save_table: the bound ``Model._save_table()``, which is spared.
        using: the alias of the database.
        update_fields: as for ``save()``.

    Returns:
        The connection by which the row was updated. ``None`` if nothing was done: it is
        Django's turn.

    Raises:
        RecordModifiedError: there is no such row.
    """
    field, pk = lock.field, lock.model._meta.pk
    if update_fields and field.excludes(update_fields):
        return None
    pk_val = instance._get_pk_val(lock.model._meta)
    way = _way(lock, lock.model, instance, save_table, using, update_fields, pk_val)
    if way is None:
        return None
    connection, plain = way
    expected = field.expected(instance)
    values = plain.values(instance)
    row = (pk, pk_val), (field, expected)
    statement = statement_of(connection, row, plain, values)
    send: Callable[[], object]
    if statement is not None:
        send = partial(_send, connection, statement)
    elif _READS_BACK:
        return None
    else:  # by half of the way: a third less than by Django's
        compiler = compiler_of(connection, row, plain, values)
        send = partial(compiler.execute_sql, ROW_COUNT)
    sent = lock.send(send, instance, connection, pk_val, expected)
    return connection if sent else None


def update_further_row(
    lock: Lock,
    table: type[models.Model],
    instance: models.Model,
    save_table: Callable[..., bool],
    using: str,
    update_fields: Collection[str] | None,
) -> bool:
    """Do the same for another table of the instance, which has no version.

    Args:
        lock: the lock of the instance's other table.
        table: the model whose table it is.
        instance: as for ``update_row()``.
        save_table: the same.
        using: the same.
        update_fields: the same.

    Returns:
        Whether a row was updated. If not, nothing was done.
    """
    pk_val = instance._get_pk_val(table._meta)
    way = _way(lock, table, instance, save_table, using, update_fields, pk_val)
    if way is None or not way[1].fields:
        return False  # nothing to write: Django looks whether the row is there
    connection, plain = way
    values = plain.values(instance)
    row = ((table._meta.pk, pk_val),)
    statement = statement_of(connection, row, plain, values)
    return statement is not None and _send(connection, statement)


def _way(
    lock: Lock,
    table: type[models.Model],
    instance: models.Model,
    save_table: Callable[..., bool],
    using: str,
    update_fields: Collection[str] | None,
    pk_val: object,
) -> tuple[BaseDatabaseWrapper, PlainFields] | None:
    """Return the connection and what to write; ``None`` if only Django may write it."""
    if (
        pk_val is None
        or (type(pk_val) is tuple and None in pk_val)
        or not (IS_KNOWN and lock.is_alone(instance, save_table, table))
    ):
        return None
    seen, plain = lock.plain_fields.get(table, (None, None))
    if seen is not table._meta.local_concrete_fields:  # made anew if one is added
        plain = _plain_fields(lock, table)
    if plain is None:
        return None
    if update_fields:
        plain = plain.only(update_fields)
    connection = connections[using]
    methods = _methods_of(connection, plain.kinds)
    if methods != plain.methods:  # they may be patched at any time
        if not are_djangos(*chain.from_iterable(methods)):
            return None
        plain.methods = methods
    return connection, plain


def _plain_fields(lock: Lock, table: type[models.Model]) -> PlainFields | None:
    """Return what a save of the whole row writes beside the version.

    ``None`` if that isn't plain values.
    """
    fields = table._meta.local_concrete_fields
    keys = table._meta.pk_fields
    written = [one for one in fields if not (one in keys or one is lock.field)]
    is_known = not any(one.generated for one in fields) and have_known_pre_save(
        lock, written
    )
    lock.plain_fields[table] = fields, PlainFields(written) if is_known else None
    return lock.plain_fields[table][1]


def have_known_pre_save(lock: Lock, fields: Iterable[ModelField]) -> bool:
    """Tell whether each ``pre_save()`` is Django's or the lock's.

    It may run twice then, and they don't mind.

    Args:
        lock: the lock of the table.
        fields: some of its fields.
    """
    kind = type(lock.field)
    others = {type(one).pre_save for one in fields if one is not lock.field}
    return kind.pre_save is kind.pre_save_of_lock and are_djangos(*others)


def _send(connection: BaseDatabaseWrapper, statement: Statement) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        return bool(cursor.rowcount)


def current_version(field: IntegerVersionField, using: str, pk: object) -> int | None:
    """Return the version in a row as a write would find it, ``None`` without a row.

    Args:
        field: the version field.
        using: the alias of the database.
        pk: the primary key in the field's table.
    """
    connection = connections[using]
    meta, ops = field.model._meta, connection.ops
    param = exact_param(connection, meta.pk, pk)
    if (
        param is None
        or not (IS_KNOWN and sends_as_usual(connection))
        or not are_djangos(SQLCompiler.as_sql, SQLCompiler.results_iter)
    ):
        rows = as_of_now(field.rows(using, pk), using)
        found: int | None = rows.values_list(field.attname, flat=True).first()
        return found
    names = (field.column, meta.db_table, meta.pk.column)
    column, table, key = map(ops.quote_name, names)  # type: ignore[arg-type]  # they have one
    sql = f"SELECT {column} FROM {table} WHERE {key} = %s"  # noqa: S608 -- quoted
    if reads_old_snapshot(connection):
        sql += f" {ops.for_update_sql()}"
    with connection.cursor() as cursor:
        cursor.execute(sql, (param,))
        row = cursor.fetchone()
    return None if row is None else row[0]


def sends_as_usual(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether nobody has a hand in how Django makes and sends an ``UPDATE``."""
    return are_djangos(*chain.from_iterable(_methods_of(connection)))


def _methods_of(
    connection: BaseDatabaseWrapper, kinds: Iterable[type] = ()
) -> list[tuple[object, ...]]:
    """Return what Django calls to make and send an ``UPDATE``, with these fields."""
    ops = connection.ops
    compiler = ops.compiler("SQLUpdateCompiler")
    sending = (
        compiler,
        getattr(ops.compiler, "__func__", None),
        getattr(ops.quote_name, "__func__", None),
        *_METHODS_OF_COMPILER(compiler),
        SQLUpdateCompiler.as_sql,
        SQLUpdateCompiler.execute_sql,
        SQLUpdateCompiler.pre_sql_setup,
        SQLCompiler.execute_sql,
        *_METHODS_OF_QUERYSET(models.QuerySet),
        *_METHODS_OF_QUERY(UpdateQuery),
        WhereNode.as_sql,
        Exact.as_sql,
        IntegerFieldExact.as_sql,
        Col.as_sql,
        *_METHODS_OF_MANAGER(models.Manager),
    )
    return [sending, *map(METHODS_OF_FIELD, kinds)]


#: Whether Django reads back what an expression came to: from Django 6.0 on.
_READS_BACK = "returning_fields" in signature(models.Model._do_update).parameters

# What is called, and what is likely to be patched, on the way to an UPDATE.
_METHODS_OF_COMPILER = attrgetter(
    "__init__",
    "as_sql",
    "compile",
    "execute_sql",
    "pre_sql_setup",
    # Which became quote_name() in Django 6.1.
    "quote_name" if hasattr(SQLCompiler, "quote_name") else "quote_name_unless_alias",
)
_METHODS_OF_QUERYSET = attrgetter(
    "__init__", "_filter_or_exclude", "_update", "filter", "using"
)
_METHODS_OF_MANAGER = attrgetter("get_queryset", "using")
_METHODS_OF_QUERY = attrgetter(
    "__init__", "add_q", "add_update_fields", "build_filter", "chain", "get_compiler"
)
