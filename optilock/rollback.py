"""Puts attributes back when the transaction that changed them rolls back.

A save raises the version in memory once the row is changed. If the row is then
rolled back, the number in memory was never kept by the database: a conflict
with nobody at best and, once somebody else commits that same number, a lost
update. Django has no hook for "this was rolled back", so this module wraps the
methods of ``BaseDatabaseWrapper`` that begin and end savepoints and
transactions. It is the one place where optilock reaches outside its own
classes.

The log hangs on the connection, exists only while its transaction has changed
something, and holds objects weakly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import ReferenceType, ref

from django.db.backends.base.base import BaseDatabaseWrapper

#: Stands for "the attribute wasn't there".
ABSENT: Any = object()

Entry = tuple["ReferenceType[object]", str, Any, Any]


def set_until_rollback(
    connection: BaseDatabaseWrapper, target: object, name: str, value: Any
) -> None:
    """Set an attribute; put it back if the open transaction rolls back.

    With no transaction open this only sets the attribute.
    """
    before = vars(target).get(name, ABSENT)
    setattr(target, name, value)
    if not connection.autocommit:  # asked here too: this runs twice for each save
        remember(connection, target, name, before, value)


def remember(
    connection: BaseDatabaseWrapper, target: object, name: str, before: Any, after: Any
) -> None:
    """Note that the open transaction changed ``target.name``.

    If the transaction, or the savepoint that is innermost now, rolls back, the
    attribute becomes ``before`` again, unless somebody has changed it since.
    """
    if connection.autocommit:
        return
    log = vars(connection).get("_optilock_log")
    if log is None:
        log = connection._optilock_log = _Log()  # type: ignore[attr-defined]
    log.append((ref(target), name, before, after))


class _Log:
    """The changes of one transaction: a list for it, and one per savepoint."""

    def __init__(self) -> None:
        self.savepoints: list[str | None] = [None]
        self.changes: list[list[Entry]] = [[]]
        self.compact_at = 1000

    def append(self, entry: Entry) -> None:
        self.changes[-1].append(entry)
        self._compact(self.changes[-1])

    def _compact(self, changes: list[Entry]) -> None:
        if len(changes) >= self.compact_at:
            changes[:] = [entry for entry in changes if entry[0]() is not None]
            self.compact_at = max(1000, 2 * len(changes))

    def begin(self, sid: str | None) -> None:
        if sid is not None:
            self.savepoints.append(sid)
            self.changes.append([])

    def _depth(self, sid: str) -> int:
        # Of two savepoints by one name (clean_savepoints() restarts the count) the
        # newer counts. One that isn't in the list is older than the log itself.
        for depth in range(len(self.savepoints) - 1, 0, -1):
            if self.savepoints[depth] == sid:
                return depth
        return 0

    def release(self, sid: str) -> None:
        # A released savepoint's changes belong to whatever is around it.
        outer = max(self._depth(sid) - 1, 0)
        for changes in self.changes[outer + 1 :]:
            self.changes[outer] += changes
        del self.savepoints[outer + 1 :], self.changes[outer + 1 :]
        self._compact(self.changes[outer])

    def undo(self, sid: str | None = None) -> None:
        # The savepoint itself outlives a rollback to it, and can be used again.
        depth = self._depth(sid) if sid is not None else 0
        for changes in reversed(self.changes[depth:]):
            for reference, name, before, after in reversed(changes):
                target = reference()
                if target is None or vars(target).get(name, ABSENT) != after:
                    continue
                put(target, name, before)
        del self.savepoints[depth + 1 :], self.changes[depth + 1 :]
        self.changes[depth] = []


def put(target: object, name: str, value: Any) -> None:
    """Set an attribute, or take it away if the value is ``ABSENT``."""
    if value is ABSENT:
        vars(target).pop(name, None)
    else:
        setattr(target, name, value)


def watch_connections() -> None:
    """Wrap the methods that end transactions and savepoints, once."""
    if hasattr(BaseDatabaseWrapper.rollback, "_optilock_wrapped"):
        return
    # Each of these runs after Django's method has succeeded: a COMMIT or
    # ROLLBACK that fails has not happened yet. Django then rolls back, or
    # closes the connection, and a connection is gone even if closing it failed.
    _wrap("savepoint", lambda connection, log, sid: log.begin(sid))
    _wrap("savepoint_commit", lambda connection, log, _, sid: log.release(sid))
    _wrap("savepoint_rollback", lambda connection, log, _, sid: log.undo(sid))
    _wrap("commit", lambda connection, log, _: _forget(connection))
    _wrap("set_autocommit", _forget_if_committed)
    _wrap("rollback", _undo_all)
    _wrap("close", _undo_all, even_if_it_fails=True)


def _forget(connection: BaseDatabaseWrapper) -> None:
    del connection._optilock_log  # type: ignore[attr-defined]


def _forget_if_committed(
    connection: BaseDatabaseWrapper, log: _Log, *args: Any, **kwargs: Any
) -> None:
    # Turning autocommit on ends a transaction that was managed by hand.
    if connection.autocommit:
        _forget(connection)


def _undo_all(connection: BaseDatabaseWrapper, log: _Log, _: None) -> None:
    _forget(connection)
    log.undo()


def _wrap(
    name: str, then: Callable[..., None], *, even_if_it_fails: bool = False
) -> None:
    original = getattr(BaseDatabaseWrapper, name)

    @wraps(original)
    def method(self: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        result, done = None, even_if_it_fails
        try:
            result, done = original(self, *args, **kwargs), True
        finally:
            log = vars(self).get("_optilock_log")
            if done and log is not None:
                then(self, log, result, *args, **kwargs)
        return result

    method._optilock_wrapped = True  # type: ignore[attr-defined]
    setattr(BaseDatabaseWrapper, name, method)
