"""The log of what a transaction has changed in memory: see ``rollback``."""

from __future__ import annotations

import datetime
import logging
import uuid
from typing import Final
from weakref import ref

__all__ = ["ABSENT", "Entry", "UndoLog", "put", "set_protected"]

logger = logging.getLogger("optilock.rollback")

#: Stands for "the attribute wasn't there".
ABSENT: Final = object()

#: Types whose values are the same if they are equal, which a refresh relies on:
#: it sets another object for the number the save has set. Whatever else is
#: compared by identity, because what ``==`` means is anybody's business: for an
#: array it isn't even a bool.
_SAME_IF_EQUAL = frozenset(
    [bool, bytes, datetime.date, datetime.datetime, float, int, str, uuid.UUID]
)


class _Reference(ref[object]):
    """A weak reference that knows where, and under which key, the log holds it."""

    __slots__ = ("changes", "key")
    changes: dict[tuple[int, str], Entry]
    key: tuple[int, str]


def _drop(reference: _Reference) -> None:
    reference.changes.pop(reference.key, None)


#: The object, and the attribute's value before and after.
Entry = tuple[_Reference, object, object]


class UndoLog:
    """The changes of one transaction: a dict for it, and one per savepoint."""

    def __init__(self) -> None:
        self.savepoints: list[str | None] = [None]
        self.changes: list[dict[tuple[int, str], Entry]] = [{}]
        #: MySQL's error that may have rolled the transaction back.
        self.error: int | None = None
        #: Whether COMMIT was sent for a transaction that can only be rolled back.
        self.is_aborted = False

    def append(self, target: object, name: str, before: object, after: object) -> None:
        key, changes = (id(target), name), self.changes[-1]
        entry = changes.get(key)
        if entry is None or entry[0]() is not target:
            reference = _Reference(target, _drop)
            reference.changes, reference.key = changes, key
        else:
            reference, first, last = entry
            if last is before or _is_same(last, before):
                before = first
        changes[key] = reference, before, after

    def follow(self, target: object, name: str, before: object, after: object) -> None:
        key = id(target), name
        for changes in reversed(self.changes):
            entry = changes.get(key)
            if entry is not None:
                reference, first, last = entry
                if reference() is target and _is_same(last, before):
                    changes[key] = reference, first, after
                return

    def begin(self, sid: str | None) -> None:
        self.savepoints.append(sid)
        self.changes.append({})

    def _depth(self, sid: str) -> int:
        # Of two savepoints by one name (clean_savepoints() restarts the count) the
        # newer counts. One that isn't in the list is older than the log itself.
        for depth in range(len(self.savepoints) - 1, 0, -1):
            if self.savepoints[depth] == sid:
                return depth
        return 0

    def _cut(self, depth: int) -> list[dict[tuple[int, str], Entry]]:
        cut = self.changes[depth:]
        del self.savepoints[depth:], self.changes[depth:]
        return cut

    def release(self, sid: str) -> None:
        # A released savepoint's changes belong to whatever is around it.
        for changes in self._cut(max(self._depth(sid), 1)):
            for (_, name), (reference, before, after) in list(changes.items()):
                target = reference()
                if target is not None:  # pragma: no branch -- it goes just now
                    self.append(target, name, before, after)
            changes.clear()

    def undo(self, sid: str | None = None) -> None:
        depth = self._depth(sid) if sid is not None else 0
        undone = self._cut(depth)
        # The savepoint itself outlives a rollback to it, and can be used again.
        self.savepoints.append(sid if depth else None)
        self.changes.append({})
        for changes in reversed(undone):
            for (_, name), (reference, before, after) in reversed(
                list(changes.items())
            ):
                target = reference()
                if target is not None and _is_same(
                    vars(target).get(name, ABSENT), after
                ):
                    _put_back(target, name, before)
            changes.clear()

    def clear(self) -> None:
        # The references know the dict they are in: a circle, which would last.
        for changes in self._cut(0):
            changes.clear()


def _is_same(value: object, other: object) -> bool:
    if value is other:
        return True
    kind = type(value)
    return kind is type(other) and kind in _SAME_IF_EQUAL and bool(value == other)


def put(target: object, name: str, value: object) -> None:
    """Set an attribute, or take it away if the value is ``ABSENT``."""
    if value is ABSENT:
        vars(target).pop(name, None)
        return
    try:
        setattr(target, name, value)
    except AttributeError:
        set_protected(target, name, value)


def set_protected(target: object, name: str, value: object) -> None:
    """Set an attribute that can be set only once, as if the row was loaded now.

    A protected state of django-fsm is one: its descriptor refuses to replace it.
    """
    if name not in vars(target):
        raise AttributeError(f"{name} of {type(target).__name__} can't be set.")
    before = vars(target).pop(name)
    try:
        setattr(target, name, value)
    except BaseException:
        vars(target)[name] = before
        raise


def _put_back(target: object, name: str, value: object) -> None:
    try:
        put(target, name, value)
    except Exception as error:
        # Somebody's own descriptor. The others have to be put back as well,
        # and the error to be seen is what made the transaction roll back.
        vars(target)[name] = value
        logger.warning(
            "Setting %s.%s after a rollback raised %s; it was put into the "
            "object's __dict__.",
            type(target).__qualname__,
            name,
            type(error).__name__,
        )
