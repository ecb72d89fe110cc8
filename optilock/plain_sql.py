"""The text of an UPDATE of plain values, joined from the names in it.

It isn't compiled, and has no other input, so it can't be out of date. It is only used
if Django's compiler has made the same text of the same names on the same connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import models
from django.db.models.lookups import Exact, IntegerFieldExact
from django.db.models.sql import UpdateQuery
from django.db.models.sql.where import WhereNode

from optilock.djangos import are_djangos
from optilock.loaded import SCALARS

__all__ = [
    "EXACT",
    "MAX_KNOWN",
    "PlainField",
    "compiler_of",
    "exact_param",
    "plain_field",
    "preparing_methods",
    "statement_of",
]

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from optilock.rows import ModelField

    # The table; the columns to set; those of the primary key and version.
    Names = Sequence[str]
    Row = Sequence[tuple[ModelField, object]]
    Statement = tuple[str, tuple[Any, ...]]

#: A field, whether its values may have SQL around them, and the type whose values go to
#: the database as they are.
PlainField: TypeAlias = "tuple[ModelField, bool, type | None]"

#: The lookups that mean ``=`` and nothing else.
EXACT = (Exact, IntegerFieldExact)

#: How many texts a connection remembers. Few programs have as many; those that
#: name ever new combinations of `update_fields` start over.
MAX_KNOWN = 500

#: Stands for a statement that wasn't looked at yet.
_NEVER = object()

# The methods that make the parameter of a value, and fields whose own do nothing
# to values of a type. No others derived from them: those may be patched at any time.
_PREPARE = ("get_db_prep_save", "get_db_prep_value", "get_prep_value", "to_python")
_UNCHANGED: dict[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.BooleanField: bool,
}
_PREPARING = (models.Field, *_UNCHANGED)  # whose methods these call
_METHODS_OF_FIELD = attrgetter(*_PREPARE)


def plain_field(field: ModelField) -> PlainField:
    """Return the field, and what is to be known of it."""
    return field, _is_placed(field), _unchanged_by(field)


def _is_placed(field: ModelField) -> bool:
    """Tell whether a value of the field may have SQL around it."""
    return hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")


def _unchanged_by(field: ModelField) -> type | None:
    """Return the type whose values go to the database as they are.

    ``get_db_prep_save()`` needn't be asked about them, as long as it is Django's: see
    ``preparing_methods()``.
    """
    is_patched = not vars(field).keys().isdisjoint(_PREPARE)
    return None if is_patched else _UNCHANGED.get(type(field))


def preparing_methods() -> Iterable[tuple[object, ...]]:
    """Return the methods that aren't called where ``PlainField`` names a type."""
    return map(_METHODS_OF_FIELD, _PREPARING)


def statement_of(
    connection: BaseDatabaseWrapper,
    row: Row,
    fields: Sequence[PlainField],
    values: Sequence[object],
) -> Statement | None:
    """Return SQL and parameters, ``None`` if a compiler is needed for them.

    Args:
        connection: where to.
        row: the primary key, and in the lock's table the version, with their values.
        fields: what is written beside the version.
        values: a value for each of them.
    """
    names = [row[0][0].model._meta.db_table]
    params = []
    for (field, is_placed, unchanged), value in zip(fields, values, strict=True):
        if is_placed:
            return None
        if type(value) is not unchanged:
            if type(value) not in SCALARS and (
                hasattr(value, "resolve_expression")
                or hasattr(value, "prepare_database_save")
            ):
                return None
            # As the compiler does.
            value = field.get_db_prep_save(value, connection=connection)
            if type(value) not in SCALARS and hasattr(value, "as_sql"):
                return None
        names.append(field.column)  # type: ignore[arg-type]  # it has one
        params.append(value)
    for field, value in row:
        param = exact_param(connection, field, value)
        if param is None:
            return None
        names.append(field.column)  # type: ignore[arg-type]  # it has one
        params.append(param)
    known = vars(connection).setdefault("_optilock_known", {})
    key = (len(row), *names)
    sql = known.get(key, _NEVER)
    if sql is _NEVER:
        if len(known) >= MAX_KNOWN:
            known.clear()
        sql = known[key] = _learn(connection, names, params, row, fields, values)
    return None if sql is None else (sql, tuple(params))


def exact_param(
    connection: BaseDatabaseWrapper, field: ModelField, value: object
) -> Any:
    """Return what is bound for ``field = %s``, ``None`` if a compiler is needed."""
    lookup = field.get_class_lookups()["exact"]
    if (
        not (lookup in EXACT or (field.remote_field and _is_plain_exact(lookup)))
        or "instance_lookups" in vars(field)
        or (type(value) not in SCALARS and hasattr(value, "as_sql"))
    ):
        return None
    # As those lookups do; what no row can have is theirs to find out.
    value = field.get_prep_value(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        return None
    return field.get_db_prep_value(value, connection, prepared=True)


def _is_plain_exact(lookup: Any) -> bool:
    """Tell whether a lookup of a key that is another table's means ``=``."""
    return issubclass(lookup, Exact) and are_djangos(lookup, lookup.as_sql)


def _learn(
    connection: BaseDatabaseWrapper,
    names: Names,
    params: Sequence[object],
    row: Row,
    fields: Sequence[PlainField],
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

    def types(params: Iterable[object]) -> list[type]:
        # Values need not be equal: an encrypted one never is.
        return [type(param) for param in params]

    sql, bound = compiler_of(connection, row, fields, values).as_sql()
    all_bound = text("%s" for _ in columns)
    # Django before 6.1 spells a NULL out, which makes no difference.
    spelled_out = text("NULL" if param is None else "%s" for param in params)
    if (sql, types(bound)) in (
        (all_bound, types(params)),
        (spelled_out, types(param for param in params if param is not None)),
    ):
        return all_bound
    return None


def compiler_of(
    connection: BaseDatabaseWrapper,
    row: Row,
    fields: Sequence[PlainField],
    values: Sequence[object],
) -> SQLCompiler:
    """Return Django's compiler for the UPDATE that ``lock.do_update()`` asks for."""
    (pk, _), *version = row
    query = UpdateQuery(pk.model)
    sets: list[Any] = [
        (plain[0], None, value) for plain, value in zip(fields, values, strict=True)
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
