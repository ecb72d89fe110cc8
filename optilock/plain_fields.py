"""What is bound for the fields of a row that are nothing but values.

Most of the methods by which Django's fields prepare a value return it as it is. Where
that is known, they aren't called.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.lookups import Exact, IntegerFieldExact
from django.utils import timezone

from optilock.djangos import are_djangos
from optilock.loaded import SCALARS

__all__ = [
    "MAX_KNOWN",
    "METHODS_OF_FIELD",
    "PlainFields",
    "columns_of",
    "exact_param",
]

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from optilock.rows import ModelField

    Test = Callable[..., object]
    Way = tuple[ModelField, type | None, Test]

#: The lookups that mean ``=`` and nothing else.
_EXACT = (Exact, IntegerFieldExact)

#: How many texts a connection remembers, and a table parts of its fields. Few programs
#: have as many; those that name ever new combinations of `update_fields` start over.
MAX_KNOWN = 500

# The methods that make the parameter of a value.
_PREPARE = ("get_db_prep_save", "get_db_prep_value", "get_prep_value", "to_python")
METHODS_OF_FIELD = attrgetter(*_PREPARE)
_PRE_SAVE = attrgetter("pre_save")

#: Fields all of whose methods do nothing to values of a type.
_UNCHANGED: dict[type, type] = {
    models.BooleanField: bool,
    models.CharField: str,
    models.TextField: str,
}
#: Fields whose ``get_prep_value()`` does nothing to values of a type that pass a test.
_READY: dict[type, tuple[type, Test]] = {
    models.DateField: (datetime.date, bool),
    models.DateTimeField: (datetime.datetime, timezone.is_aware),
    models.DecimalField: (Decimal, Decimal.is_finite),
    models.IntegerField: (int, type),  # which no number fails
}


class PlainFields:
    """Some fields of a table whose values are written.

    Attributes:
        fields: the fields.
        is_placed: whether one of them may have SQL around its value.
        set_their_own: whether each ``pre_save()`` sets nothing but its own value.
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
        self.set_their_own = all(_sets_its_own(fields[index]) for index, _ in self._own)
        own = {index for index, _ in self._own}
        read = [one.attname for index, one in enumerate(fields) if index not in own]
        self._read = attrgetter(*read) if self.set_their_own and len(read) > 1 else None
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
        self.methods: Sequence[object] = ()
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

    def values(self, instance: models.Model, *, add: bool = False) -> Sequence[object]:
        """Return what is to be written, as ``pre_save()`` of each field returns it."""
        asked = [*map(_PRE_SAVE, self.fields)]
        if self._read is None or asked != self._pre_saves:
            return [ask(instance, add) for ask in asked]
        values = [*self._read(instance)]  # all that Django's own does
        for index, ask in self._own:
            values.insert(index, ask(instance, add))
        return values

    def params(
        self, connection: BaseDatabaseWrapper, values: Sequence[object]
    ) -> list[object] | None:
        """Return what is bound for values, ``None`` if a compiler is needed for one.

        Args:
            connection: where to.
            values: one for each of the fields.
        """
        params = []
        for (unchanged, way), value in zip(self.ways, values, strict=True):
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
        return params


def _sets_its_own(field: ModelField) -> bool:
    """Tell whether the field's own ``pre_save()`` sets nothing but its value."""
    is_clock = isinstance(field, (models.DateField, models.TimeField))
    return is_clock or getattr(field, "locks_rows", False)


def _is_placed(field: ModelField) -> bool:
    """Tell whether a value of the field may have SQL around it."""
    return hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")


def _way(field: ModelField) -> tuple[type | None, Way]:
    """Return what ``PlainFields.ways`` has of a field."""
    kind = _known_kind(type(field))
    if kind is None or not vars(field).keys().isdisjoint(_PREPARE):
        return None, (field, None, bool)
    return _UNCHANGED.get(kind), (field, *_READY.get(kind, (None, bool)))


def _known_kind(kind: type[ModelField]) -> type[ModelField] | None:
    """Return the class, in the tables above, whose methods a class of fields has."""
    for base in kind.__mro__:
        if base in _UNCHANGED or base in _READY:
            is_same = METHODS_OF_FIELD(kind) == METHODS_OF_FIELD(base)
            return base if is_same else None
    return None


def columns_of(
    connection: BaseDatabaseWrapper,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> Iterator[list[object]]:
    """Return what is bound for each of the fields, of many objects."""
    plain = PlainFields(fields)
    methods = chain.from_iterable(map(METHODS_OF_FIELD, plain.kinds))
    is_usual = are_djangos(*methods)

    def column(field: ModelField, way: tuple[type | None, Way]) -> list[object]:
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
        not (lookup in _EXACT or (field.remote_field and _is_plain_exact(lookup)))
        or vars(field).get("instance_lookups")
        or (type(value) not in SCALARS and hasattr(value, "as_sql"))
    ):
        return None
    # As those lookups do; what no row can have is theirs to find out.
    value = field.get_prep_value(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        return None
    return field.get_db_prep_value(value, connection, prepared=True)


def _is_plain_exact(lookup: type) -> bool:
    """Tell whether a lookup of a key that is another table's means ``=``."""
    return issubclass(lookup, Exact) and are_djangos(lookup, lookup.as_sql)  # type: ignore[arg-type]  # a class has a hash
