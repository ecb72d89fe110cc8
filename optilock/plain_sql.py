"""The text of an UPDATE of plain values, joined from the names in it.

It isn't compiled, and has no other input, so it can't be out of date. It is only used
if Django's compiler has made the same text of the same names on the same connection.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.lookups import Exact, IntegerFieldExact
from django.db.models.sql import UpdateQuery
from django.db.models.sql.where import WhereNode
from django.utils import timezone

from optilock.djangos import are_djangos
from optilock.loaded import SCALARS

__all__ = [
    "EXACT",
    "MAX_KNOWN",
    "METHODS_OF_FIELD",
    "PlainFields",
    "columns_of",
    "compiler_of",
    "exact_param",
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
    Test = Callable[[Any], object]
    Way = tuple[ModelField, type | None, Test]

#: The lookups that mean ``=`` and nothing else.
EXACT = (Exact, IntegerFieldExact)

#: How many texts a connection remembers. Few programs have as many; those that
#: name ever new combinations of `update_fields` start over.
MAX_KNOWN = 500

#: Stands for a statement that wasn't looked at yet.
_NEVER = object()

# The methods that make the parameter of a value.
_PREPARE = ("get_db_prep_save", "get_db_prep_value", "get_prep_value", "to_python")
METHODS_OF_FIELD = attrgetter(*_PREPARE)
_COLUMN, _PRE_SAVE = attrgetter("column"), attrgetter("pre_save")

#: Fields all of whose methods do nothing to values of a type.
_UNCHANGED: dict[type, type] = {
    models.BooleanField: bool,
    models.CharField: str,
    models.EmailField: str,
    models.TextField: str,
}
#: Fields whose ``get_prep_value()`` does nothing to values of a type that pass a test.
_READY: dict[type, tuple[type, Test]] = {
    models.DateField: (datetime.date, bool),
    models.DateTimeField: (datetime.datetime, timezone.is_aware),
    models.DecimalField: (Decimal, Decimal.is_finite),
}

#: Fields whose ``pre_save()`` sets nothing but their own value.
_CLOCKS = (models.DateField, models.TimeField)


class PlainFields:
    """What a save writes of one table beside the version.

    Attributes:
        fields: the fields.
        is_placed: whether one of them may have SQL around its value.
        ways: for each field, the type whose values are bound as they are; and with the
            field the type, and a test, whose values needn't go through
            ``get_prep_value()``.
        kinds: the classes of fields whose methods aren't all called.
        methods: these and others that aren't called, as they were when all of them
            were last found to be Django's.
    """

    def __init__(self, fields: Sequence[ModelField]) -> None:
        self.fields = fields
        self.is_placed = any(map(_is_placed, fields))
        self.ways = [*map(_way, fields)]
        self._pre_saves = asked = [*map(_PRE_SAVE, fields)]
        self._own = [
            (index, ask)
            for index, ask in enumerate(asked)
            if getattr(ask, "__func__", None) is not models.Field.pre_save
        ]
        # Others may set more than their own value, which is read in between then.
        are_clocks = all(isinstance(fields[index], _CLOCKS) for index, _ in self._own)
        self._read = (
            attrgetter(*[field.attname for field in fields])
            if are_clocks and len(fields) > 1
            else None
        )
        known = (type(way[0]) for same, way in self.ways if same or way[1])
        # With those that their methods call.
        self.kinds = tuple(
            dict.fromkeys(
                base
                for kind in known
                for base in kind.__mro__
                if issubclass(base, models.Field)
            )
        )
        self.methods: Sequence[tuple[object, ...]] = ()
        self._parts: dict[frozenset[str], PlainFields] = {}

    def only(self, names: Collection[str]) -> PlainFields:
        """Return those of the fields that ``update_fields`` names."""
        names = frozenset(names)
        part = self._parts.get(names)
        if part is None:
            if len(self._parts) >= MAX_KNOWN:
                self._parts.clear()
            part = self._parts[names] = PlainFields(
                [f for f in self.fields if f.name in names or f.attname in names]
            )
        return part

    def values(self, instance: models.Model) -> Sequence[object]:
        """Return what is to be written, as ``pre_save()`` of each field returns it."""
        asked = [*map(_PRE_SAVE, self.fields)]
        if self._read is None or asked != self._pre_saves:
            return [ask(instance, False) for ask in asked]
        values = [*self._read(instance)]  # all that Django's own does
        for index, ask in self._own:
            values[index] = ask(instance, False)
        return values


def _is_placed(field: ModelField) -> bool:
    """Tell whether a value of the field may have SQL around it."""
    return hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")


def _way(field: ModelField) -> tuple[type | None, Way]:
    """Return what ``PlainFields.ways`` has of a field."""
    if not vars(field).keys().isdisjoint(_PREPARE):
        return None, (field, None, bool)
    kind = type(field)
    return _UNCHANGED.get(kind), (field, *_READY.get(kind, (None, bool)))


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
    if plain.is_placed:
        return None
    params = []
    for (unchanged, way), value in zip(plain.ways, values, strict=True):
        kind = type(value)
        if kind is not unchanged:
            field, ready, is_ready = way
            if kind is ready and is_ready(value):
                value = field.get_db_prep_value(value, connection, True)
            elif kind not in SCALARS and (
                hasattr(value, "resolve_expression")
                or hasattr(value, "prepare_database_save")
            ):
                return None
            else:  # as the compiler does
                value = field.get_db_prep_save(value, connection=connection)
            if type(value) not in SCALARS and hasattr(value, "as_sql"):
                return None
        params.append(value)
    names = [row[0][0].model._meta.db_table, *map(_COLUMN, plain.fields)]
    for field, value in row:
        param = exact_param(connection, field, value)
        if param is None:
            return None
        params.append(param)
        names.append(field.column)
    known = vars(connection).setdefault("_optilock_known", {})
    key = (len(row), *names)
    sql = known.get(key, _NEVER)
    if sql is _NEVER:
        if len(known) >= MAX_KNOWN:
            known.clear()
        sql = known[key] = _learn(connection, names, params, row, plain, values)
    return None if sql is None else (sql, tuple(params))


def columns_of(
    connection: BaseDatabaseWrapper,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> Iterator[list[object]]:
    """Return what is bound for each of the fields, of many objects."""
    plain = PlainFields(fields)
    methods = chain.from_iterable(map(METHODS_OF_FIELD, plain.kinds))
    is_usual = are_djangos(*methods)

    def column(field: ModelField, way: tuple[Any, Any]) -> list[object]:
        unchanged, (_, ready, is_ready) = way
        values = [*map(attrgetter(field.attname), objs)]
        kinds = {*map(type, values)}
        if is_usual and kinds == {unchanged}:
            return values
        if is_usual and kinds == {ready} and all(map(is_ready, values)):
            return [field.get_db_prep_value(one, connection, True) for one in values]
        return [field.get_db_prep_save(one, connection) for one in values]

    return map(column, fields, plain.ways)


def exact_param(
    connection: BaseDatabaseWrapper, field: ModelField, value: object
) -> Any:
    """Return what is bound for ``field = %s``, ``None`` if a compiler is needed."""
    lookup = field.get_class_lookups()["exact"]
    if (
        not (lookup in EXACT or (field.remote_field and _is_plain_exact(lookup)))
        or vars(field).get("instance_lookups")
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

    def types(params: Iterable[object]) -> list[type]:
        # Values need not be equal: an encrypted one never is.
        return [type(param) for param in params]

    sql, bound = compiler_of(connection, row, plain, values).as_sql()
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
