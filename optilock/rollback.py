"""Puts attributes back when the transaction that changed them rolls back.

A save bumps the version in memory once the row is changed. If the row is then
rolled back, the database has never kept the number in memory. At best that is a
conflict with nobody; once somebody else commits that same number, it is a lost
update. A delete takes the primary key away: if the row comes back and the key
doesn't, the next save inserts a second row.

Django has no hook for "this was rolled back", so this module wraps the methods
of ``BaseDatabaseWrapper`` that begin and end savepoints and transactions, and
``Collector.delete()``. It is the one place where optilock reaches outside its
own classes.

The log is kept on the connection, exists only while its transaction has changed
something, and holds objects weakly: it forgets an object when Python
frees it. It has one entry for each object, attribute and savepoint.

A database may roll a transaction back without being asked to. If the error that
said so is swallowed, the COMMIT succeeds all the same. No query is sent to find
out: ``lost_transactions`` asks what the connection knows already.

There are three modules. This one decides when to log and when to undo.
``undo_log`` is the log, and knows no database; ``lost_transactions`` asks the
connection, and knows no attribute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.db import DatabaseError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.deletion import Collector

from optilock.djangos import IS_KNOWN, are_djangos
from optilock.lost_transactions import (
    has_ended,
    is_aborted,
    say_if_committed,
    say_if_unknown,
    undo_if_lost,
    watch_errors,
)
from optilock.undo_log import ABSENT, Entry, UndoLog, put, set_protected

__all__ = [
    "ABSENT",
    "Entry",
    "UndoLog",
    "deletes_as_django",
    "follow",
    "log_of",
    "put",
    "remember",
    "set_until_rollback",
    "watch_connections",
    "watch_deletes",
]


def set_until_rollback(
    connection: BaseDatabaseWrapper, target: object, name: str, value: object
) -> None:
    """Set an attribute; put it back if the open transaction rolls back.

    With no transaction open this only sets the attribute.
    """
    before = vars(target).get(name, ABSENT)
    try:
        setattr(target, name, value)
    except AttributeError:
        set_protected(target, name, value)
    # This runs twice for each save, so nothing is called in vain.
    if not connection.autocommit and (log := log_of(connection)) is not None:
        # A descriptor may keep something else than it was given.
        log.append(target, name, before, vars(target).get(name, ABSENT))


def remember(
    connection: BaseDatabaseWrapper,
    target: object,
    name: str,
    before: object,
    after: object,
) -> None:
    """Note that the open transaction changed ``target.name``.

    If the transaction, or the savepoint that is innermost now, rolls back, the
    attribute becomes ``before`` again, unless somebody has changed it since.
    """
    log = log_of(connection)
    if log is not None:
        log.append(target, name, before, after)


def log_of(connection: BaseDatabaseWrapper) -> UndoLog | None:
    """Return the log of the open transaction, ``None`` if none is open.

    It is good for what one statement has done: the next may end the transaction.
    """
    if connection.autocommit:
        return None
    log: UndoLog | None = vars(connection).get("_optilock_log")
    is_over = connection.vendor == "sqlite" and has_ended(connection)
    if log is not None and (is_over or log.error is not None):
        undo_if_lost(connection, log)
    if is_over:
        return None  # what was just written is committed
    if log is None:
        log = connection._optilock_log = UndoLog()  # type: ignore[attr-defined]
        watch_errors(connection)
    return log


def follow(
    connection: BaseDatabaseWrapper, target: object, name: str, before: object
) -> None:
    """Note that ``target.name``, which was ``before``, was read again.

    What the open transaction has changed is still put back if it rolls back:
    it holds the row, so what was read is its own doing.
    """
    log = vars(connection).get("_optilock_log")
    if log is not None:
        log.follow(target, name, before, vars(target).get(name, ABSENT))


def watch_connections() -> None:
    """Wrap the methods that end transactions and savepoints, once."""
    if hasattr(BaseDatabaseWrapper.rollback, "_optilock_wrapped"):
        return
    # Each of these runs after Django's method has succeeded: a COMMIT or
    # ROLLBACK that fails has not happened yet. Django then rolls back, or
    # closes the connection, and a connection is lost even if closing it failed.
    _wrap("savepoint", lambda connection, log, sid: log.begin(sid), first=undo_if_lost)
    _wrap("savepoint_commit", _release)
    _wrap("savepoint_rollback", _undo_to)
    _wrap("commit", _forget_or_undo, first=_look_at_commit, failed=say_if_unknown)
    _wrap(
        "set_autocommit",
        _forget_if_committed,
        first=undo_if_lost,
        failed=say_if_committed,
    )
    _wrap("rollback", _undo_all)
    _wrap("close", _undo_all, even_if_it_fails=True)


def _release(connection: BaseDatabaseWrapper, log: UndoLog, _: None, sid: str) -> None:
    log.release(sid)
    if has_ended(connection):
        # With no transaction around it a savepoint is one, and is committed.
        _forget(connection)


def _undo_to(
    connection: BaseDatabaseWrapper, log: UndoLog, _: None, sid: str | None
) -> None:
    # Where Django makes no savepoint, as on SQLite without autocommit, it has no name,
    # and nothing is rolled back.
    if sid is not None:
        log.undo(sid)


def _look_at_commit(connection: BaseDatabaseWrapper, log: UndoLog) -> None:
    undo_if_lost(connection, log)
    log.is_aborted = is_aborted(connection)


def _forget_or_undo(connection: BaseDatabaseWrapper, log: UndoLog, _: None) -> None:
    if log.is_aborted:
        log.undo()
    _forget(connection)


def _forget(connection: BaseDatabaseWrapper) -> None:
    log = vars(connection).pop("_optilock_log")
    log.clear()


def _forget_if_committed(
    connection: BaseDatabaseWrapper, log: UndoLog, *args: object, **kwargs: object
) -> None:
    # Turning autocommit on ends a transaction that was managed by hand.
    if connection.autocommit:
        _forget(connection)


def _undo_all(connection: BaseDatabaseWrapper, log: UndoLog, _: None) -> None:
    del connection._optilock_log  # type: ignore[attr-defined]
    log.undo()
    log.clear()


def _wrap(
    name: str,
    then: Callable[..., None],
    *,
    first: Callable[[BaseDatabaseWrapper, UndoLog], None] | None = None,
    failed: Callable[[BaseDatabaseWrapper, Exception], None] | None = None,
    even_if_it_fails: bool = False,
) -> None:
    original = getattr(BaseDatabaseWrapper, name)

    @wraps(original)
    def method(self: BaseDatabaseWrapper, *args: object, **kwargs: object) -> object:
        result, done = None, even_if_it_fails
        if first is not None and "_optilock_log" in vars(self):
            first(self, vars(self)["_optilock_log"])
        try:
            result, done = original(self, *args, **kwargs), True
        except Exception as error:
            if failed is not None:
                failed(self, error)
            raise
        finally:
            log = vars(self).get("_optilock_log")
            if done and log is not None:
                then(self, log, result, *args, **kwargs)
        return result

    method._optilock_wrapped = True  # type: ignore[attr-defined]
    setattr(BaseDatabaseWrapper, name, method)


def watch_deletes(version_of: Callable[[type[models.Model]], object]) -> None:
    """Wrap ``Collector.delete()``, once: it takes the keys of what it deletes away.

    Args:
        version_of: returns the version field of a model, or ``None``.
    """
    original: Callable[..., tuple[int, dict[str, int]]] = Collector.delete
    if hasattr(original, "_optilock_wrapped"):
        return

    @wraps(original)
    def delete(
        self: Collector, *args: object, **kwargs: object
    ) -> tuple[int, dict[str, int]]:
        connection = connections[self.using]
        keys = [
            (instance, field.attname, vars(instance).get(field.attname, ABSENT))
            for model, instances in self.data.items()
            if not connection.autocommit and version_of(model)
            for instance in instances
            for field in model._meta.pk_fields
        ]
        try:
            result = original(self, *args, **kwargs)
        except DatabaseError as error:
            # In a block of its own, its COMMIT has said so.
            if (
                connection.autocommit
                and any(map(version_of, self.data))
                and _is_one_row(self)
            ):
                say_if_unknown(connection, error, "delete()")
            raise
        for instance, name, value in keys:
            remember(connection, instance, name, value, None)
        return result

    delete._optilock_wrapped = True  # type: ignore[attr-defined]
    Collector.delete = delete  # type: ignore[method-assign]


def deletes_as_django() -> bool:
    """Tell whether Django collects and deletes by its own code, and by it alone."""
    method = Collector.delete
    return (
        IS_KNOWN
        # Not its attributes, which functools.wraps() copies.
        and getattr(method, "__globals__", None) is globals()
        and are_djangos(vars(method)["__wrapped__"], Collector.collect)
    )


def _is_one_row(collector: Collector) -> bool:
    """Tell whether Django deletes with one statement, and so without a block."""
    instances = [one for found in collector.data.values() for one in found]
    return len(instances) == 1 and collector.can_fast_delete(instances[0])
