"""The values an instance was loaded with, kept beside those it has now.

They are one sequence in the order of the model's concrete fields, and share the
values with the instance: only what could be changed in place is copied. A
value nobody knows is ``UNKNOWN``: its field was deferred, or an expression
that only the database evaluates was saved.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, models
from django.db.models.fields.files import FieldFile

from optilock import rollback

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.base import ModelState
    from django.db.models.options import Options

    from optilock.keys import Keys
    from optilock.rows import ModelField

    class Meta(Options[models.Model]):
        """A model's options, with what this package keeps there."""

        _optilock_field: tuple[object, ModelField | None]
        _optilock_keys: Keys
        _optilock_mutable: tuple[int, ...]
        _optilock_shared: int | None
        _optilock_values: itemgetter[tuple[object, ...]] | None

    class State(ModelState):
        """An instance's state, with what this package keeps there."""

        _optilock_guarded: bool
        _optilock_key: object
        _optilock_merging: bool
        _optilock_new_key: bool


__all__ = [
    "NAME",
    "SCALARS",
    "UNKNOWN",
    "Loaded",
    "Places",
    "copied",
    "frozen",
    "is_merging",
    "merging",
    "note",
    "note_all",
    "note_row",
    "note_table",
    "prepare",
    "put_back",
    "recall",
    "restore",
    "row_now",
]

Loaded = Sequence[object]


class _Unknown(enum.Enum):
    # An enum's member stays the same object when it is copied or pickled.
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return self.name


#: Stands for a value that isn't known.
UNKNOWN: Final = _Unknown.UNKNOWN

# On instance._state, like all this package keeps on an instance.
NAME = "_optilock_loaded"

#: Fields whose values, as Django loads them, can't be changed in place.
_SCALAR_FIELDS = (
    models.BooleanField,
    models.CharField,
    models.DateField,
    models.DecimalField,
    models.DurationField,
    models.FileField,
    models.FloatField,
    models.ForeignKey,
    models.GenericIPAddressField,
    models.IntegerField,
    models.TextField,
    models.TimeField,
    models.UUIDField,
)
#: Types of values that are nothing but themselves, and can't be changed in place.
SCALARS = frozenset(
    [
        bool,
        bytes,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        float,
        int,
        str,
        type(None),
        type(UNKNOWN),
        uuid.UUID,
    ]
)


def prepare(model: type[models.Model]) -> int | None:
    """Return how many values of a row there are, if all of them can be shared.

    It is kept with the model's options. -1 stands for a model some of whose
    values must be copied, ``None`` for one that remembers nothing.
    """
    meta: Meta = model._meta  # type: ignore[assignment]  # with ours
    fields = meta.concrete_fields
    meta._optilock_mutable = mutable = tuple(
        index
        for index, field in enumerate(fields)
        if not isinstance(field, _SCALAR_FIELDS) or hasattr(field, "from_db_value")
    )
    meta._optilock_shared = None
    if getattr(model, "remember_loaded", False):
        meta._optilock_shared = -1 if mutable else len(fields)
    meta._optilock_values = (
        itemgetter(*[field.attname for field in fields])
        if len(fields) > 1 and not any(field.generated for field in fields)
        else None
    )
    return meta._optilock_shared


def copied(
    model: type[models.Model], field_names: Iterable[str], values: Collection[object]
) -> Loaded:
    """Return what to remember of a row that is incomplete or can't be shared."""
    meta: Meta = model._meta  # type: ignore[assignment]  # with ours
    known, given = set(field_names), iter(values)
    if len(values) == len(meta.concrete_fields):
        loaded = list(values)
    else:
        loaded = [
            next(given) if field.attname in known else UNKNOWN
            for field in meta.concrete_fields
        ]
    for index in meta._optilock_mutable:
        loaded[index] = frozen(loaded[index])
    return loaded


def note(instance: models.Model, using: str | None, known: dict[str, object]) -> None:
    """Remember these values, by attribute name, as those of the row.

    Args:
        instance: the instance that was saved or refreshed.
        using: the alias of the database it was saved to; if the transaction
            open there rolls back, so does the memory. ``None`` for a refresh.
        known: the values by attribute name.
    """
    fields = instance._meta.concrete_fields
    before = recall(instance) or (UNKNOWN,) * len(fields)
    note_all(
        instance,
        using,
        [
            known.get(field.attname, old)
            for field, old in zip(fields, before, strict=True)
        ],
    )


def note_table(
    instance: models.Model,
    table: type[models.Model],
    using: str,
    *,
    names: Iterable[str] | None,
    raw: bool,
    updated: bool,
) -> None:
    """Remember what was just saved in one of an instance's tables.

    Args:
        instance: what was saved.
        table: the model whose table it was.
        using: as for ``note()``.
        names: the names of the fields that were saved; ``None`` for all.
        raw: whether no other table is saved.
        updated: whether there was a row already.
    """
    meta: Meta = instance._meta  # type: ignore[assignment]  # with ours
    fields, values = table._meta.local_concrete_fields, vars(instance)
    if names is None and not raw:
        if table is not meta.concrete_model:
            return  # the child's table is the last, and speaks for all
        if not hasattr(meta, "_optilock_values"):
            prepare(type(instance))
        if note_row(instance, table, connections[using]):
            return
        fields = meta.concrete_fields
    note(
        instance,
        using,
        {
            # Not every Django and database tells what the UPDATE computed.
            field.attname: UNKNOWN
            if updated and field.generated
            else values.get(field.attname, UNKNOWN)
            for field in fields
            if names is None
            or field.name in names
            or field.attname in names
            or field.generated
        },
    )


def note_row(
    instance: models.Model, table: type[models.Model], connection: BaseDatabaseWrapper
) -> bool:
    """Remember what was just saved, if it is the whole row, and nothing but values.

    Args:
        instance: what was saved.
        table: the model whose table was the last to be saved.
        connection: as ``using`` for ``note()``.

    Returns:
        Whether it was. If not, nothing was done.
    """
    meta = instance._meta
    of_row = vars(meta).get("_optilock_values")
    if of_row is None or table is not meta.concrete_model:
        return False
    try:
        row = of_row(vars(instance))
    except KeyError:  # somebody's own descriptor keeps the value elsewhere
        return False
    if not SCALARS.issuperset(map(type, row)):
        row = [*map(frozen, row)]
    rollback.set_until_rollback(connection, instance._state, NAME, row)
    return True


def note_all(
    instance: models.Model, using: str | None, values: Sequence[object]
) -> None:
    """Do what ``note()`` does, with a value for each field of the model."""
    if not SCALARS.issuperset(map(type, values)):
        values = [frozen(value) for value in values]
    if using is None:
        before = vars(instance._state).get(NAME, rollback.ABSENT)
        restore(instance, values)
        connection = connections[str(instance._state.db)]
        rollback.follow(connection, instance._state, NAME, before)
    else:
        connection = connections[using]
        rollback.set_until_rollback(connection, instance._state, NAME, values)


class Places:
    """Some fields of a model, to be remembered of many objects, one after the other."""

    def __init__(self, model: type[models.Model], fields: Iterable[ModelField]) -> None:
        self._all = all_fields = model._meta.concrete_fields
        self._places = [(all_fields.index(one), one.attname) for one in fields]

    def note(self, instance: models.Model, connection: BaseDatabaseWrapper) -> None:
        """Remember what was just saved of an object, if it remembers anything."""
        before = vars(instance._state).get(NAME)
        if before is None:
            return
        values = vars(instance)
        if instance._meta.concrete_fields is not self._all or len(before) != len(
            self._all
        ):
            using = connection.alias  # an object of a child, say
            note(instance, using, {name: values[name] for _, name in self._places})
            return
        row = [*before]
        for index, name in self._places:
            value = values[name]
            row[index] = value if type(value) in SCALARS else frozen(value)
        rollback.set_until_rollback(connection, instance._state, NAME, row)


def row_now(instance: models.Model) -> tuple[object, ...] | None:
    """Return the values of all fields that an instance has now, ``None`` if not all."""
    of_row = vars(instance._meta).get("_optilock_values")
    try:
        return of_row(vars(instance)) if of_row else None
    except KeyError:  # deferred, or somebody's own descriptor keeps it elsewhere
        return None


def recall(instance: models.Model) -> Loaded | None:
    """Return the values the instance was loaded with, if they were kept."""
    loaded: Loaded | None = vars(instance._state).get(NAME)
    if loaded is not None and len(loaded) != len(instance._meta.concrete_fields):
        return (
            None  # the state is another model's: child.__dict__.update(parent.__dict__)
        )
    return loaded


def restore(
    instance: models.Model,
    loaded: Loaded | None,
    connection: BaseDatabaseWrapper | None = None,
) -> None:
    """Put back what ``recall()`` returned.

    Args:
        instance: what to remember it for.
        loaded: what was returned, of this instance or another one of its row.
        connection: only until the transaction open there is rolled back.
    """
    if loaded is None:
        vars(instance._state).pop(NAME, None)
    elif connection is None:
        setattr(instance._state, NAME, loaded)
    else:
        rollback.set_until_rollback(connection, instance._state, NAME, loaded)


def put_back(
    instance: models.Model, before: dict[str, object], known: Loaded | None
) -> None:
    """Put an instance's fields back as they were, with a value or without one.

    Args:
        instance: what was changed.
        before: a copy of its ``__dict__``.
        known: what ``recall()`` returned.
    """
    values = vars(instance)
    for field in instance._meta.concrete_fields:
        if field.attname in before:
            values[field.attname] = before[field.attname]
        else:
            values.pop(field.attname, None)
    restore(instance, known)


@contextmanager
def merging(instance: models.Model) -> Iterator[None]:
    """Have a refused save read the whole row at once: it will be merged."""
    state: State = instance._state  # type: ignore[assignment]  # with ours
    if is_merging(instance):  # a save in a receiver of this one's signals
        yield
        return
    state._optilock_merging = True
    try:
        yield
    finally:
        del state._optilock_merging


def is_merging(instance: models.Model) -> bool:
    return "_optilock_merging" in vars(instance._state)


def frozen(value: Any) -> object:
    """Return the value, or a copy of it if it could be changed in place."""
    kind = type(value)
    if kind in SCALARS:
        return value
    # Not comprehensions: before Python 3.12 each has a frame of its own, and JSON that
    # can be read could be too deep for this.
    if kind is dict:
        return dict(zip(value, map(frozen, value.values()), strict=True))
    if kind is list:
        return list(map(frozen, value))
    if kind is memoryview:  # can't be pickled
        return bytes(value)
    if isinstance(value, FieldFile):
        return value.name or ""
    if hasattr(value, "resolve_expression"):
        return UNKNOWN
    return copy.deepcopy(value)
