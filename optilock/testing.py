"""For the tests of projects that handle conflicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Thread

from django.db import connections, models, router
from django.db.models import F
from django.db.models.signals import pre_save

from optilock.fields import IntegerVersionField
from optilock.retry.call import skipped_waits
from optilock.rows import version_field

__all__ = ["no_waiting", "provoke_conflicts", "write_meanwhile"]

#: Seconds that somebody else's write may wait for a lock.
_PATIENCE = 5

_provoking: ContextVar[frozenset[object]] = ContextVar(
    "optilock_provoking", default=frozenset()
)


@contextmanager
def no_waiting() -> Iterator[list[float]]:
    """Let retries follow at once, in this thread or task.

    Deadlines are counted as if the waits had taken place.

    Returns:
        A list that grows by each wait left out, in seconds.
    """
    waits: list[float] = []
    token = skipped_waits.set(waits)
    try:
        yield waits
    finally:
        skipped_waits.reset(token)


@contextmanager
def provoke_conflicts(
    model: type[models.Model], *, times: int = 1
) -> Iterator[list[models.Model]]:
    """Let somebody else be faster than the next saves of a model's objects.

    The conflict is real: just before the save, in the same transaction, the
    row's version is bumped. Needs no second connection, so it works in a
    ``TestCase``. Saves in other threads or tasks, inserts and deletions are
    left alone. A view that rolls its transaction back takes the bumped version
    back, too: its tests need ``write_meanwhile()``.

    Args:
        model: a model with a version field.
        times: how many saves lose. A call that is retried wins when they are
            used up, so ``times`` must reach its ``attempts`` for it to give up.

    Returns:
        A list that grows by each instance that was made stale.

    Raises:
        AssertionError: nothing was saved that could have lost.
    """
    faster = _Faster(model, times)
    token = _provoking.set(_provoking.get() | {faster})
    pre_save.connect(faster.bump_version, dispatch_uid=faster)
    try:
        yield faster.lost
    finally:
        pre_save.disconnect(dispatch_uid=faster)
        _provoking.reset(token)
    if not faster.lost:
        raise AssertionError(
            f"No conflict was provoked: no existing {model._meta.label} was saved. "
            f"Save one inside the with block, in the same thread."
        )


class _Faster:
    """Somebody who is faster than the saves of a model's objects."""

    def __init__(self, model: type[models.Model], times: int) -> None:
        self.model, self.times = model, times
        self.lost: list[models.Model] = []

    def bump_version(
        self, instance: models.Model, using: str, raw: bool, **kwargs: object
    ) -> None:
        field = version_field(type(instance))
        if (
            not isinstance(instance, self.model)
            or field is None
            or self not in _provoking.get()
            or instance._state.adding
            or raw
            or len(self.lost) == self.times
        ):
            return
        row = field.rows(using, instance._get_pk_val(field.model._meta))
        row.update(**{field.attname: F(field.attname) + 1})
        self.lost.append(instance)


@contextmanager
def write_meanwhile(
    model: type[models.Model],
    write: Callable[[], object] | None = None,
    *,
    times: int = 1,
    using: str | None = None,
) -> Iterator[list[str]]:
    """Let somebody else write and commit just before the next write of a row.

    That is just before an UPDATE or DELETE of the table that holds the model's
    version is sent by this thread, on a connection of its own: what a view's
    rollback takes back doesn't concern it. For requests by Django's test client.

    Needs a ``TransactionTestCase`` or ``django_db(transaction=True)``. In a
    transaction that has locked the row nobody can write it meanwhile; on SQLite
    that is any transaction with ``transaction_mode`` "IMMEDIATE".

    Args:
        model: a model with a version field.
        write: what somebody else does. By default, all rows get a new version.
        times: how many statements somebody is faster than.
        using: the alias of the database, by default the one written to.

    Returns:
        A list that grows by the SQL of each of these statements.

    Raises:
        AssertionError: nothing was sent that could have lost, or the test itself
            runs in a transaction.
    """
    field = version_field(model)
    if field is None:
        raise TypeError(f"{model._meta.label} has no version field.")
    using = using or router.db_for_write(model)
    connection = connections[using]
    if connection.in_atomic_block:
        raise AssertionError(
            "The test runs in a transaction, in which nobody else sees its rows. Use a "
            "TransactionTestCase, or pytest.mark.django_db(transaction=True)."
        )
    table = connection.ops.quote_name(field.model._meta.db_table)
    overtaking = _Overtaking(table, write or _bump_all(field, using), times)
    with connection.execute_wrapper(overtaking):
        yield overtaking.lost
    if not overtaking.lost:
        raise AssertionError(
            f"Nobody was overtaken: no row of {model._meta.label} was updated or "
            f"deleted. Do so inside the with block, in the same thread."
        )


def _bump_all(field: IntegerVersionField, using: str) -> Callable[[], object]:
    rows: models.QuerySet[models.Model] = models.QuerySet(field.model, using=using)
    return partial(rows.update, **{field.attname: F(field.attname) + 1})


class _Overtaking:
    """Somebody who writes before the statements that write a table."""

    def __init__(self, table: str, write: Callable[[], object], times: int) -> None:
        self.table, self.write, self.times = table, write, times
        self.lost: list[str] = []

    def __call__(
        self, execute: Callable[..., object], sql: str, *args: object
    ) -> object:
        is_write = sql.lstrip().upper().startswith(("UPDATE", "DELETE"))
        if is_write and self.table in sql and len(self.lost) < self.times:
            self.lost.append(sql)
            _in_another_connection(self.write)
        return execute(sql, *args)


def _in_another_connection(write: Callable[[], object]) -> None:
    """Run a write in a thread, which has connections of its own."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            write()
        except BaseException as error:  # it is raised below
            errors.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if thread.is_alive():
        raise AssertionError(
            f"Somebody else's write has waited for {_PATIENCE} s: the transaction that "
            f"it should overtake has locked the row. Nobody can be faster there."
        )
    if errors:
        raise errors[0]
