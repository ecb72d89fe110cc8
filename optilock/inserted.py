"""What objects know of their rows after ``bulk_create()``, and if it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optilock import keys, loaded, rollback

if TYPE_CHECKING:
    from django.db import models
    from django.db.backends.base.base import BaseDatabaseWrapper

    from optilock.fields import IntegerVersionField

__all__ = ["note_inserted", "put_back_if_it_fails"]


@contextmanager
def put_back_if_it_fails(
    objs: Sequence[models.Model], version: IntegerVersionField
) -> Iterator[list[dict[str, object]]]:
    """Put the objects' states and versions back if they can't be inserted.

    Returns:
        What each object's state held before.
    """
    states = [vars(obj._state).copy() for obj in objs]
    numbers = [vars(obj).get(version.attname, rollback.ABSENT) for obj in objs]
    try:
        yield states
    except BaseException:
        for obj, state, number in zip(objs, states, numbers, strict=True):
            vars(obj._state).clear()
            vars(obj._state).update(state)
            rollback.put(obj, version.attname, number)
        raise


def note_inserted(
    objs: Sequence[models.Model],
    before: Sequence[dict[str, object]],
    connection: BaseDatabaseWrapper,
    version: IntegerVersionField,
    *,
    is_ignoring: bool,
    is_updating: bool,
) -> None:
    """Note what is known of objects' rows, until the INSERT is rolled back.

    Args:
        objs: what was inserted.
        before: what their states held before.
        connection: that to their database.
        version: the model's version field.
        is_ignoring: whether there may have been rows already.
        is_updating: the same, and what is known of them is noted.
    """
    log = rollback.log_of(connection)
    for obj, old in zip(objs, before, strict=True):
        state = obj._state
        if log is not None:
            absent = rollback.ABSENT
            log.append(state, "adding", old.get("adding", absent), state.adding)
            log.append(state, "db", old.get("db", absent), state.db)
        if not obj._is_pk_set():  # type: ignore[attr-defined]  # not in the stubs
            continue  # a database that doesn't tell the keys
        is_known = loaded.NAME in vars(state) and loaded.recall(obj) is not None
        if is_known and not (is_ignoring or is_updating):
            values = vars(obj)
            loaded.note(
                obj,
                connection.alias,
                {
                    field.attname: loaded.UNKNOWN
                    if field.generated
                    else values.get(field.attname, loaded.UNKNOWN)
                    for field in obj._meta.concrete_fields
                },
            )
        elif is_known:
            keys.note_key(obj, connection.alias)
        else:
            keys.note_new_key(obj, log)
        if is_ignoring:
            vars(obj).pop(version.attname, None)
