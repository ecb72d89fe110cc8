"""What a refresh reads is what the instance was loaded with from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections, models

from optilock import attempts, keys, loaded, rollback
from optilock.exceptions import RecordModifiedError
from optilock.rows import ModelField, version_field

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField

__all__ = ["recording", "refresh"]

#: Stands for "no client has named a version".
_NOT_NAMED = object()


def refresh(
    instance: models.Model, read: Callable[..., None], *args: Any, **kwargs: Any
) -> None:
    """``Model.refresh_from_db()``: remember which row was read, and what of it.

    Args:
        instance: what is refreshed.
        read: the ``refresh_from_db()`` that would have been called.
        args: as Django's: using, fields, from_queryset.
        kwargs: as Django's.

    Raises:
        RecordModifiedError: a client has named a version in If-Match, and what was
            read is another one.
    """
    kwargs |= zip(("using", "fields", "from_queryset"), args, strict=False)
    names, queryset = kwargs.get("fields"), kwargs.get("from_queryset")
    rows: list[models.Model] = []
    if names is not None:
        kwargs["fields"] = names = list(names)
    if queryset is not None:
        kwargs["from_queryset"] = recording(queryset, rows.append)
    elif kwargs.get("using") is None:
        alias = attempts.write_alias(type(instance), instance=instance)
        kwargs |= {} if alias is None else {"using": alias}
    version = version_field(type(instance))
    state = instance._state
    held = version and vars(instance).get(version.attname, rollback.ABSENT)
    is_named = held == vars(state).get("_optilock_if_match", _NOT_NAMED)
    before = (vars(instance).copy(), state.db) if is_named else None
    known = loaded.recall(instance)
    _read(instance, version, names, partial(read, **kwargs))
    if state.db is None:
        return  # there is no row to be read
    if version and before and vars(instance).get(version.attname) != held:
        _refuse(instance, version.attname, *before, known)
    if version:
        connection = connections[state.db]
        rollback.follow(connection, instance, version.attname, held)
    _note(instance, version, rows, names)


def _read(
    instance: models.Model,
    version: IntegerVersionField | None,
    names: list[str] | None,
    read: Callable[[], None],
) -> None:
    """Read the values, and their version with them: Django leaves what is deferred."""
    values = vars(instance)
    if version is None or names is not None or version.attname in values:
        read()
        return
    values[version.attname] = None
    try:
        read()
    finally:
        if values.get(version.attname, 0) is None:
            del values[version.attname]


def _note(
    instance: models.Model,
    version: IntegerVersionField | None,
    rows: list[models.Model],
    names: list[str] | None,
) -> None:
    """Remember what was read: these fields, or all that the rows didn't defer."""
    deferred = {name for row in rows for name in row.get_deferred_fields()}

    def was_read(field: ModelField) -> bool:
        return field.attname not in deferred and bool(
            rows or names is None or field.name in names or field.attname in names
        )

    if getattr(instance, "remember_loaded", False):
        # The key is noted together with the version: see keys.has_new_key().
        others = {*instance.get_deferred_fields(), *keys.Keys.of(instance).names}
        values = {
            field.attname: vars(instance)[field.attname]
            for field in instance._meta.concrete_fields
            if field.attname not in others and was_read(field)
        }
        loaded.note(instance, None, values)
    if version and was_read(version):
        keys.note_key(instance, None)


def _refuse(
    instance: models.Model,
    name: str,
    before: dict[str, object],
    alias: str | None,
    known: loaded.Loaded | None,
) -> None:
    """Raise the error for an instance that is another version's by now.

    It is put back: what a client has named isn't exchanged for a newer version.
    """
    state = instance._state
    using, current = str(state.db), vars(instance).get(name)
    noted = vars(state).get(loaded.NAME)
    loaded.put_back(instance, before, known)
    rollback.follow(connections[using], state, loaded.NAME, noted)
    state.db = alias
    raise RecordModifiedError(
        instance=instance,
        using=using,
        expected_version=before[name],  # type: ignore[arg-type]  # it is the version
        current_version=current,
    )


def recording(
    queryset: models.QuerySet[models.Model], note: Callable[[models.Model], object]
) -> models.QuerySet[models.Model]:
    """Return the queryset, made to call a function with each instance it loads."""
    recorded: models.QuerySet[models.Model] = queryset._chain()  # type: ignore[attr-defined]  # not in the stubs

    class Recording(queryset._iterable_class):  # type: ignore[misc, name-defined]  # made here
        def __iter__(self) -> Iterator[models.Model]:
            for instance in super().__iter__():
                note(instance)
                yield instance

    recorded._iterable_class = Recording
    return recorded
