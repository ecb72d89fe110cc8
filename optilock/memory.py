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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, models
from django.db.models.fields.files import FieldFile

from optilock import rollback

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Loaded = Sequence[Any]


class _Unknown(enum.Enum):
    # An enum's member stays the same object when it is copied or pickled.
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return self.name


#: Stands for a value that isn't known.
UNKNOWN: Final = _Unknown.UNKNOWN

# On instance._state, like all this package keeps on an instance.
_NAME = "_optilock_loaded"

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


def prepare(model: type[models.Model]) -> int:
    """Return how many values of a row there are, if all of them can be shared.

    It is kept with the model's options. -1 stands for a model some of whose
    values must be copied, or that remembers nothing.
    """
    meta: Any = model._meta
    fields = meta.concrete_fields
    meta._optilock_mutable = mutable = tuple(
        index
        for index, field in enumerate(fields)
        if not isinstance(field, _SCALAR_FIELDS) or hasattr(field, "from_db_value")
    )
    is_shared = not mutable and getattr(model, "remember_loaded", False)
    meta._optilock_shared = len(fields) if is_shared else -1
    meta._optilock_values = (
        itemgetter(*[field.attname for field in fields])
        if len(fields) > 1 and not any(field.generated for field in fields)
        else None
    )
    return int(meta._optilock_shared)


def copied(
    model: type[models.Model], field_names: Iterable[str], values: Sequence[Any]
) -> Loaded:
    """Return what to remember of a row that is incomplete or can't be shared."""
    meta: Any = model._meta
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


def note(instance: models.Model, using: str | None, known: dict[str, Any]) -> None:
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
    table: Any,
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
    meta: Any = instance._meta
    fields, values = table._meta.local_concrete_fields, vars(instance)
    if names is None and not raw:
        if table is not meta.concrete_model:
            return  # the child's table is the last, and speaks for all
        if not hasattr(meta, "_optilock_values"):
            prepare(type(instance))
        if meta._optilock_values is not None:
            try:
                row = meta._optilock_values(values)
            except KeyError:  # a descriptor of somebody's own keeps a value elsewhere
                pass
            else:
                note_all(instance, using, row)
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


def note_all(instance: models.Model, using: str | None, values: Sequence[Any]) -> None:
    """Do what ``note()`` does, with a value for each field of the model."""
    if not SCALARS.issuperset(map(type, values)):
        values = [frozen(value) for value in values]
    if using is None:
        restore(instance, values)
    else:
        connection = connections[using]
        rollback.set_until_rollback(connection, instance._state, _NAME, values)


def recall(instance: models.Model) -> Loaded | None:
    """Return the values the instance was loaded with, if they were kept."""
    loaded: Loaded | None = vars(instance._state).get(_NAME)
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
        vars(instance._state).pop(_NAME, None)
    elif connection is None:
        setattr(instance._state, _NAME, loaded)
    else:
        rollback.set_until_rollback(connection, instance._state, _NAME, loaded)


def recording(queryset: Any, into: list[models.Model]) -> models.QuerySet[Any]:
    """Return the queryset, made to put the instances it loads into a list."""
    recorded: models.QuerySet[Any] = queryset._chain()
    iterable: Any = queryset._iterable_class

    class Recording(iterable):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for instance in super().__iter__():
                into.append(instance)
                yield instance

    recorded._iterable_class = Recording
    return recorded


@contextmanager
def merging(instance: models.Model) -> Iterator[None]:
    """Have a refused save read the whole row at once: it will be merged."""
    state: Any = instance._state
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


def frozen(value: Any) -> Any:
    """Return the value, or a copy of it if it could be changed in place."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is dict:
        return {key: frozen(item) for key, item in value.items()}
    if kind is list:
        return [frozen(item) for item in value]
    if kind is memoryview:  # can't be pickled
        return bytes(value)
    if isinstance(value, FieldFile):
        return value.name or ""
    if hasattr(value, "resolve_expression"):
        return UNKNOWN
    return copy.deepcopy(value)
