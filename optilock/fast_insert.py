"""Inserts rows of a locked model by a short way.

Django makes the text of an ``INSERT`` anew each time, though only the values in it are
others. Where nothing but plain values is inserted, it makes it once for a connection.

Whatever isn't plain, and wherever anybody else has a hand in inserts, goes Django's own
way. The doors are ``insert_row()`` and ``insert_rows()``: without them, rows are
inserted more slowly, and are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from django.db import connections, models
from django.db.models.sql import InsertQuery
from django.db.models.sql.compiler import SQLInsertCompiler

from optilock.djangos import IS_KNOWN, are_djangos
from optilock.fast_update import have_known_pre_save
from optilock.plain_fields import METHODS_OF_FIELD, PlainFields
from optilock.plain_sql import KNOWN, NEVER, remember, types_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from optilock.lock import Lock
    from optilock.plain_sql import Statement
    from optilock.rows import ModelField

__all__ = ["insert_row", "insert_rows", "is_djangos_insert"]


def insert_row(
    lock: Lock,
    table: type[models.Model],
    instance: models.Model,
    save_table: Callable[..., bool],
    using: str,
) -> BaseDatabaseWrapper | None:
    """Insert an instance's row into a table by the short way, if it can be taken.

    Args:
        lock: the lock of one of the instance's tables.
        table: the model whose table it is.
        instance: what is saved; there is no row yet.
        save_table: the bound ``Model._save_table()``, which is spared.
        using: the alias of the database.

    Returns:
        The connection by which the row was inserted. ``None`` if nothing was done: it
        is Django's turn.
    """
    meta = table._meta
    if (
        meta.order_with_respect_to
        or type(instance)._do_insert is not models.Model._do_insert  # type: ignore[attr-defined]  # not in the stubs
        or not (IS_KNOWN and lock.is_alone(instance, save_table, table))
    ):
        return None
    pk = meta.pk
    key = getattr(instance, pk.attname)
    if key is None:
        key = pk.get_pk_value_on_save(instance)
        setattr(instance, pk.attname, key)
    plain = _plain_fields(lock, table, has_pk=key is not None)
    if plain is None:
        return None
    connection, returning = connections[using], meta.db_returning_fields
    rows = _insert(connection, plain, [instance], returning)
    if rows is None:
        return None
    for row in rows:
        if _ASSIGNS:
            instance._assign_returned_values(row, returning)  # type: ignore[attr-defined]  # nor this
        else:
            for value, field in zip(row, returning, strict=True):
                setattr(instance, field.attname, value)
    return connection


def insert_rows(
    lock: Lock,
    objs: Sequence[models.Model],
    fields: Sequence[ModelField],
    returning: Sequence[ModelField] | None,
    using: str,
) -> Sequence[Sequence[object]] | None:
    """Insert the rows of objects by the short way, if it can be taken.

    Args:
        lock: the lock of the objects' table, the only one.
        objs: the objects.
        fields: the fields that are written.
        returning: those that the database returns.
        using: the alias of the database.

    Returns:
        The values of these for each row. ``None`` if nothing was done: it is Django's
        turn.
    """
    if not IS_KNOWN:
        return None
    table = lock.model
    plain = _plain_fields(lock, table, has_pk=table._meta.auto_field in (None, *fields))
    if plain is None or plain.fields != fields:
        return None
    return _insert(connections[using], plain, objs, returning or ())


def is_djangos_insert(insert: object) -> bool:
    """Tell whether this is ``QuerySet._insert()`` as Django has it.

    Args:
        insert: a bound method, or something else.
    """
    return getattr(insert, "__func__", None) is models.QuerySet._insert  # type: ignore[attr-defined]  # not in the stubs


def _plain_fields(
    lock: Lock, table: type[models.Model], *, has_pk: bool
) -> PlainFields | None:
    """Return what is written; ``None`` if it isn't plain values.

    Args:
        lock: as for ``insert_row()``.
        table: the same.
        has_pk: whether the key is among it, or the database makes one.
    """
    meta = table._meta
    seen, plain = lock.plain_inserts.get((table, has_pk), (None, None))
    if seen is not meta.local_concrete_fields:  # made anew if one is added
        seen = meta.local_concrete_fields
        fields = [
            one
            for one in seen
            if not one.generated and (has_pk or one is not meta.auto_field)
        ]
        plain = PlainFields(fields)
        if (
            not fields
            or plain.is_placed
            or not plain.set_their_own
            or len(meta.pk_fields) > 1
            or not have_known_pre_save(lock, fields)
        ):
            plain = None
        lock.plain_inserts[table, has_pk] = seen, plain
    return plain


def _insert(
    connection: BaseDatabaseWrapper,
    plain: PlainFields,
    objs: Sequence[models.Model],
    returning: Sequence[ModelField],
) -> Sequence[Sequence[object]] | None:
    """Insert rows, and return what the database returns; ``None`` if nothing was done.

    Args:
        connection: where to.
        plain: the fields that are written, all of one table.
        objs: whose they are.
        returning: the fields that are returned.
    """
    if returning and (
        not connection.features.can_return_columns_from_insert
        or any(hasattr(field, "from_db_value") for field in returning)
    ):
        return None  # or it would have to be read in another way, or converted
    if not _sends_as_usual(connection, plain):
        return None
    fields = plain.fields
    table = fields[0].model._meta.db_table
    names = map(_COLUMN, chain(fields, returning))
    key = (len(objs) > 1, len(fields), table, *names)
    text: _Text | None = vars(connection).get(KNOWN, {}).get(key, NEVER)
    if text is None:
        return None
    rows = []
    for obj in objs:
        params = plain.params(connection, plain.values(obj, add=True))
        if params is None:
            return None
        rows.append(params)
    if text is NEVER:
        text = _learn(connection, fields, returning, objs, rows)
        remember(connection, key, text)
        if text is None:
            return None
    with connection.cursor() as cursor:
        cursor.execute(*text.with_rows(rows))
        return cursor.fetchall() if returning else ()


def _sends_as_usual(connection: BaseDatabaseWrapper, plain: PlainFields) -> bool:
    """Tell whether nobody has a hand in how Django makes and sends the ``INSERT``."""
    ops = connection.ops
    compiler = ops.compiler("SQLInsertCompiler")
    sending = (
        compiler,
        getattr(ops.compiler, "__func__", None),
        getattr(ops.quote_name, "__func__", None),
        *_METHODS_OF_COMPILER(compiler),
        *_METHODS_OF_COMPILER(SQLInsertCompiler),
        *_METHODS_OF_QUERY(InsertQuery),
        models.Model._do_insert,  # type: ignore[attr-defined]  # not in the stubs
        models.QuerySet._insert,  # type: ignore[attr-defined]  # nor this
        models.Manager._insert,  # type: ignore[attr-defined]  # nor this
    )
    methods = [sending, *map(METHODS_OF_FIELD, plain.kinds)]
    if methods != plain.methods:  # they may be patched at any time
        if not are_djangos(*chain.from_iterable(methods)):
            return False
        plain.methods = methods
    return True


class _Text(NamedTuple):
    """Django's text of an ``INSERT``, with room for any number of rows."""

    #: What stands before the rows.
    head: str
    #: What stands for each.
    row: str
    #: What stands behind the rows.
    tail: str

    def with_rows(self, rows: Sequence[Sequence[object]]) -> Statement:
        """Return SQL and parameters."""
        marks = ", ".join([self.row] * len(rows))
        return self.head + marks + self.tail, tuple(chain.from_iterable(rows))


def _learn(
    connection: BaseDatabaseWrapper,
    fields: Sequence[ModelField],
    returning: Sequence[ModelField],
    objs: Sequence[models.Model],
    rows: Sequence[Sequence[object]],
) -> _Text | None:
    """Return the text of what Django sends, if it has nothing but names in it.

    PostgreSQL's ``UNNEST()`` of several rows has the types of their columns as well,
    which a migration may change.

    Returns:
        ``None`` if it isn't one statement of such a text, or what it returns has to be
        converted.
    """
    query = InsertQuery(fields[0].model)
    # What is to be written has been asked, and a clock would go on: raw takes it as
    # it is.
    query.insert_values(fields, list(objs), raw=True)
    compiler = query.get_compiler(connection.alias)
    compiler.returning_fields = returning
    (sql, bound), *more = compiler.as_sql()
    columns = [field.get_col(field.model._meta.db_table) for field in returning]
    if more or compiler.returning_params or compiler.get_converters(columns):
        return None
    row = f"({', '.join(['%s'] * len(fields))})"
    head, _, tail = sql.partition(row)
    text = _Text(head, row, tail.rpartition(row)[2])
    found, params = text.with_rows(rows)
    is_same = found == sql and types_of(params) == types_of(bound)
    return text if is_same else None


_COLUMN = attrgetter("column")
#: Whether Django assigns what was returned by a method: from Django 6.0 on.
_ASSIGNS = hasattr(models.Model, "_assign_returned_values")

# What is called, and what is likely to be patched, on the way to an INSERT.
_METHODS_OF_COMPILER = attrgetter(
    *("__init__", "as_sql", "assemble_as_sql", "compile", "execute_sql"),
    *("field_as_sql", "pre_save_val", "prepare_value"),
)
_METHODS_OF_QUERY = attrgetter("__init__", "get_compiler", "insert_values")
