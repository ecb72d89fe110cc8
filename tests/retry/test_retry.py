from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import inspect
import itertools
import logging
import pickle
import random
import statistics
from dataclasses import dataclass
from importlib import import_module
from unittest.mock import Mock

import pytest
from asgiref.sync import async_to_sync, markcoroutinefunction, sync_to_async
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.models import BooleanField, Case, Count, Func, Q, When
from django.db.transaction import TransactionManagementError
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.views import View
from factories import AccountFactory
from testapp.models import (
    Account,
    Assorted,
    Author,
    Bistro,
    Book,
    CompositeKey,
    Page,
    Unlocked,
)

from optilock import RecordDeletedError, RecordModifiedError, retry_on_conflict
from optilock.retry import RetryHistory
from optilock.retry.locking import LostRow, lost_rows
from optilock.signals import gave_up, retried
from optilock.testing import no_waiting, provoke_conflicts

# Most tests run in a TestCase's transaction, where attempts are savepoints.
pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)
both_databases = pytest.mark.django_db(databases=["default", "other"])
committing_on_both = pytest.mark.django_db(
    transaction=True, databases=["default", "other"]
)


@pytest.fixture(autouse=True)
def waits():
    with no_waiting() as waits:
        yield waits


class DeadlockError(OperationalError):
    """What a database says when it was a deadlock."""

    def __init__(self):
        super().__init__(1213, "Deadlock found when trying to get lock")


class Longest(random.Random):
    """Always waits for as long as it may be."""

    def uniform(self, a, b):
        return b


class Losing:
    """A function that loses a number of times, and then returns its argument."""

    __module__ = __name__
    __qualname__ = "losing"

    def __init__(self, times, error=DeadlockError):
        self.times = times
        self.error = error
        self.calls = 0

    def __call__(self, result=None):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error()
        return result


def deposit(pk, amount=1):
    account = Account.objects.get(pk=pk)
    account.balance += amount
    account.save()
    return account


def change_behind(instance):
    """Somebody else is faster."""
    Account.objects.filter(pk=instance.pk).update(owner="somebody else")


@contextlib.contextmanager
def provoked(model, times=1):
    """Let saves lose conflicts, and yield what is sent."""
    with (
        CaptureQueriesContext(connection) as queries,
        provoke_conflicts(model, times=times),
    ):
        yield queries


def locking(queries):
    """Return the statements that lock what was lost before."""
    statements = [query["sql"] for query in queries]
    # MariaDB is asked for the current version by a locking read too.
    return [
        sql
        for sql in statements
        if (sql.startswith("SELECT 1 ") and "FOR UPDATE" in sql) or "1 = 0" in sql
    ]


def reading_locks(queries):
    """Return the statements that read a row and lock it."""
    return [
        query["sql"]
        for query in queries
        if query["sql"].endswith(("FOR UPDATE", "FOR NO KEY UPDATE"))
        and not query["sql"].startswith("SELECT 1 ")
    ]


needs_row_locks = pytest.mark.skipif(
    "not __import__('django.db').db.connection.features.has_select_for_update",
    reason="the database has no row locks",
)


# Attempts


def test_a_lost_call_is_made_again(account):
    with provoke_conflicts(Account, times=3):
        assert retry_on_conflict(deposit)(account.pk, amount=5).balance == 105

    account.refresh_from_db()
    assert (account.balance, account.version) == (105, 2)


def test_what_a_failed_attempt_wrote_is_rolled_back(account):
    @retry_on_conflict
    def register():
        AccountFactory(owner="new")
        deposit(account.pk)

    with provoke_conflicts(Account, times=2):
        register()

    assert Account.objects.filter(owner="new").count() == 1


@committing
def test_callbacks_of_a_failed_attempt_are_never_called(account):
    called = []
    attempts = Losing(2)

    @retry_on_conflict
    def register():
        transaction.on_commit(lambda: called.append(attempts.calls))
        attempts()

    register()

    assert called == [3]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_it_gives_up_after_so_many_calls_and_never_waits_after_the_last(
    attempts, waits
):
    losing = Losing(100)
    with pytest.raises(DeadlockError):
        retry_on_conflict(losing, attempts=attempts)()
    assert losing.calls == attempts
    assert len(waits) == attempts - 1


def test_ten_attempts_are_the_default():
    losing = Losing(100)
    with pytest.raises(DeadlockError):
        retry_on_conflict(losing)()
    assert losing.calls == 10


def test_the_last_conflict_itself_is_raised_with_its_history(account, waits):
    errors = []

    @retry_on_conflict(attempts=4)
    def stale():
        change_behind(account)
        try:
            account.save()
        except RecordModifiedError as error:
            errors.append(error)
            raise

    with pytest.raises(RecordModifiedError) as caught:
        stale()

    assert caught.value is errors[-1]
    history = caught.value.retry_history
    assert isinstance(history, RetryHistory)
    assert history.attempts == 4
    assert history.waited == pytest.approx(sum(waits))
    assert history.elapsed >= history.waited
    # Python 3.11 shows it below the traceback.
    for note in getattr(caught.value, "__notes__", ()):
        assert "stale gave up after 4 attempts" in note


def test_the_history_survives_being_sent_to_another_process(account):
    change_behind(account)
    with pytest.raises(RecordModifiedError) as caught:
        retry_on_conflict(account.save, attempts=2)()
    assert pickle.loads(pickle.dumps(caught.value)).retry_history.attempts == 2  # noqa: S301


def test_a_result_is_returned_at_once_when_nothing_is_lost(waits):
    assert retry_on_conflict(Losing(0))("result") == "result"
    assert waits == []


def test_it_costs_no_query(account, django_assert_num_queries):
    with CaptureQueriesContext(connection) as plain:
        transaction.atomic(deposit)(account.pk)
    with CaptureQueriesContext(connection) as retrying:
        retry_on_conflict(deposit)(account.pk)
    assert len(retrying) == len(plain)


# What counts


@pytest.mark.parametrize(
    "error",
    [
        ValueError(1213),
        KeyError(1205),
        OSError(1020, "deadlock detected"),
        DatabaseError("database is locked, deadlock detected, 40001"),
        IntegrityError("duplicate"),
        TransactionManagementError("no transaction"),
    ],
    ids=repr,
)
def test_everything_else_is_raised_at_once(error, waits):
    losing = Losing(100, lambda: error)
    with pytest.raises(type(error)) as caught:
        retry_on_conflict(losing)()
    assert caught.value is error
    assert losing.calls == 1
    assert waits == []
    assert not hasattr(error, "retry_history")


def test_a_deleted_row_is_raised_at_once(account):
    calls = []

    @retry_on_conflict
    def save():
        calls.append(1)
        account.save()

    Account.objects.all().delete()
    with pytest.raises(RecordDeletedError):
        save()
    assert len(calls) == 1


def test_an_error_raised_from_a_conflict_is_one():
    def translating():
        try:
            losing()
        except DeadlockError as conflict:
            raise LookupError("can't be had") from conflict

    losing = Losing(2)
    retry_on_conflict(translating)()
    assert losing.calls == 3


def test_an_error_raised_from_none_is_final():
    def translating():
        try:
            losing()
        except DeadlockError:
            raise LookupError("can't be had") from None

    losing = Losing(2)
    with pytest.raises(LookupError):
        retry_on_conflict(translating)()
    assert losing.calls == 1


@pytest.mark.parametrize(
    "retry_on",
    [
        KeyError,
        (KeyError, ValueError),
        lambda error: isinstance(error, KeyError),
    ],
    ids=["class", "tuple", "predicate"],
)
def test_users_can_add_what_is_retried(retry_on):
    retrying = retry_on_conflict(retry_on=retry_on)

    added = Losing(2, KeyError)
    retrying(added)()
    assert added.calls == 3

    conflict = Losing(2)
    retrying(conflict)()
    assert conflict.calls == 3

    other = Losing(2, IndexError)
    with pytest.raises(IndexError):
        retrying(other)()
    assert other.calls == 1


needs_groups = pytest.mark.skipif(
    "__import__('sys').version_info < (3, 11)",
    reason="Python 3.10 has no exception groups",
)


def losing_group(*errors):
    return Losing(2, lambda: ExceptionGroup("tasks", [error() for error in errors]))  # noqa: F821


@needs_groups
@pytest.mark.parametrize(
    ("errors", "calls"),
    [
        ([DeadlockError], 3),
        ([DeadlockError, DeadlockError], 3),
        ([DeadlockError, ValueError], 1),
        ([DeadlockError, KeyError], 3),
        ([KeyError], 3),
    ],
    ids=str,
)
def test_a_group_is_retried_if_each_of_its_errors_is(errors, calls):
    losing = losing_group(*errors)
    with contextlib.suppress(ExceptionGroup):  # noqa: F821
        retry_on_conflict(losing, retry_on=KeyError)()
    assert losing.calls == calls


@needs_groups
def test_conflicts_of_a_task_group_are_retried(account):
    other = AccountFactory()

    @retry_on_conflict(atomic=False)
    async def both():
        async with asyncio.TaskGroup() as group:
            for pk in (account.pk, other.pk):
                group.create_task(sync_to_async(losing)())
                group.create_task(sync_to_async(seen.append)(pk))

    seen, losing = [], Losing(2)
    async_to_sync(both)()
    assert (
        losing.calls >= 3
    )  # the second task may be cancelled by the first one's error
    assert set(seen) == {account.pk, other.pk}


@needs_groups
def test_all_rows_that_a_group_lost_are_locked():
    accounts = AccountFactory.create_batch(2)
    calls = []

    @retry_on_conflict
    def lose_both():
        calls.append(1)
        errors = []
        for account in accounts if len(calls) == 1 else ():
            change_behind(account)
            try:
                account.save()
            except RecordModifiedError as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("both", errors)  # noqa: F821

    with CaptureQueriesContext(connection) as queries:
        lose_both()
    (lock,) = locking(queries)
    if connection.features.has_select_for_update:
        assert all(str(account.pk) in lock for account in accounts)


@pytest.mark.parametrize(
    "kind", ["cause", pytest.param("group", marks=needs_groups)], ids=str
)
def test_attempts_do_not_multiply_behind_another_error(kind):
    losing = Losing(100)
    inside = retry_on_conflict(losing, attempts=3, atomic=False)

    @retry_on_conflict(attempts=3, atomic=False)
    def outside():
        try:
            inside()
        except DeadlockError as error:
            if kind == "group":
                raise ExceptionGroup("tasks", [error]) from None  # noqa: F821
            raise LookupError from error

    with pytest.raises(LookupError if kind == "cause" else Exception):
        outside()
    assert losing.calls == 3


def test_an_interrupt_is_never_retried():
    losing = Losing(1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        retry_on_conflict(losing, retry_on=lambda error: True)()
    assert losing.calls == 1


# Waiting


def test_waits_grow_to_the_cap(waits):
    retry_on_conflict(Losing(7), rng=Longest())()
    assert waits == [0.010, 0.020, 0.040, 0.080, 0.100, 0.100, 0.100]


def test_base_and_cap_are_arguments(waits):
    retry_on_conflict(Losing(5), base=1, cap=5, rng=Longest())()
    assert waits == [1, 2, 4, 5, 5]


def test_many_attempts_do_not_overflow(waits):
    retry_on_conflict(Losing(1200), attempts=1201, atomic=False, rng=Longest())()
    assert max(waits) == 0.100


def test_jitter_is_full_and_even(waits):
    calls = 400
    retrying = retry_on_conflict(attempts=6, atomic=False, rng=random.Random(1))
    for _ in range(calls):
        retrying(Losing(5))()

    for attempt, limit in enumerate([0.010, 0.020, 0.040, 0.080, 0.100]):
        shares = sorted(wait / limit for wait in waits[attempt::5])
        assert len(shares) == calls
        assert 0 <= shares[0] < shares[-1] <= 1
        # Kolmogorov-Smirnov, for an even distribution; 1.95 is p = 0.001.
        distance = max(
            max(share - i / calls, (i + 1) / calls - share)
            for i, share in enumerate(shares)
        )
        assert distance < 1.95 / calls**0.5
        assert statistics.mean(shares) == pytest.approx(0.5, abs=0.08)


def test_waits_can_be_seeded():
    def waits(seed):
        with no_waiting() as waits:
            retry_on_conflict(Losing(5), rng=random.Random(seed))()
        return waits

    assert waits(3) == waits(3)
    assert waits(3) != waits(4)


def test_waits_differ_without_a_seed(waits):
    retry_on_conflict(Losing(1))()
    retry_on_conflict(Losing(1))()
    assert waits[0] != waits[1]


def test_no_attempt_begins_after_the_deadline(waits):
    losing = Losing(100)
    with pytest.raises(DeadlockError) as caught:
        retry_on_conflict(losing, base=1, cap=10, deadline=20, rng=Longest())()
    # 15 seconds, and another 10 would be too many.
    assert waits == [1, 2, 4, 8]
    assert losing.calls == 5
    assert caught.value.retry_history.attempts == 5
    assert caught.value.retry_history.waited == 15


def test_waits_are_waited(monkeypatch):
    slept = []
    monkeypatch.setattr("optilock.retry.decorator.time.sleep", slept.append)
    token = import_module("optilock.retry.call").skipped_waits.set(None)
    try:
        retry_on_conflict(Losing(3), rng=Longest())()
    finally:
        import_module("optilock.retry.call").skipped_waits.reset(token)
    assert slept == [0.010, 0.020, 0.040]


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0},
        {"base": -1},
        {"base": 1, "cap": 0.5},
        {"deadline": 0},
        {"using": ()},
    ],
    ids=str,
)
def test_an_argument_without_sense_is_refused_when_decorating(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        retry_on_conflict(**arguments)


# Somebody else's transaction


def test_inside_a_transaction_it_runs_once_and_lets_the_conflict_out(account, waits):
    losing = Losing(1)
    with pytest.raises(DeadlockError) as caught, transaction.atomic():
        retry_on_conflict(losing)()
    assert losing.calls == 1
    assert waits == []
    assert not hasattr(caught.value, "retry_history")


@committing
def test_a_transaction_managed_by_hand_is_somebody_elses():
    losing = Losing(1)
    connection.set_autocommit(False)
    try:
        with pytest.raises(DeadlockError):
            retry_on_conflict(losing)()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert losing.calls == 1


def test_the_blocks_of_a_test_case_are_nobodys(account):
    assert connection.in_atomic_block
    with provoke_conflicts(Account, times=3):
        retry_on_conflict(deposit)(account.pk)
    account.refresh_from_db()
    assert account.balance == 101


def test_a_block_inside_a_test_case_is_somebody_elses():
    losing = Losing(1)
    with pytest.raises(DeadlockError), transaction.atomic():
        retry_on_conflict(losing)()
    assert losing.calls == 1


def test_a_test_case_sees_only_its_own_callbacks(
    account, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks() as callbacks:
        retry_on_conflict(deposit)(account.pk)
    assert callbacks == []


@pytest.mark.parametrize("outer", [{}, {"atomic": False}], ids=str)
@pytest.mark.parametrize("inner", [{}, {"atomic": False}], ids=str)
def test_nested_calls_do_not_multiply_attempts(outer, inner, waits):
    losing = Losing(100)
    inside = retry_on_conflict(losing, attempts=3, **inner)
    with pytest.raises(DeadlockError) as caught:
        retry_on_conflict(lambda: inside(), attempts=3, **outer)()
    assert losing.calls == 3
    assert len(waits) == 2
    assert caught.value.retry_history.attempts == 3


def test_a_nested_call_wins_with_the_outer_ones_attempts(account):
    inside = retry_on_conflict(deposit)

    @retry_on_conflict
    def outer():
        AccountFactory(owner="outer")
        inside(account.pk)

    with provoke_conflicts(Account, times=4):
        outer()
    account.refresh_from_db()
    assert account.balance == 101
    assert Account.objects.filter(owner="outer").count() == 1


@committing
def test_a_conflict_in_a_callback_is_not_retried(account):
    # It comes after COMMIT: doing it again would do it twice.
    losing = Losing(1)
    calls = []

    @retry_on_conflict
    def register():
        calls.append(deposit(account.pk))
        transaction.on_commit(losing)

    with pytest.raises(DeadlockError):
        register()
    assert len(calls) == 1
    account.refresh_from_db()
    assert account.balance == 101


def test_a_caught_conflict_is_a_retry_all_the_same_once_a_query_was_refused(account):
    losing = Losing(1)

    @retry_on_conflict
    def careless():
        try:
            with transaction.mark_for_rollback_on_error("default"):
                losing()
        except DeadlockError:
            pass
        deposit(account.pk)  # TransactionManagementError, caused by the conflict

    careless()
    assert losing.calls == 2


# More than one database


@both_databases
def test_an_attempt_is_a_transaction_on_each_database_named():
    default = AccountFactory()
    other = Account(owner="other")
    other.save(using="other")
    losing = Losing(2)

    @retry_on_conflict(using=["default", "other"])
    def both():
        for using, pk in (("default", default.pk), ("other", other.pk)):
            account = Account.objects.using(using).get(pk=pk)
            account.balance += 1
            account.save()
        losing()

    both()
    default.refresh_from_db()
    other.refresh_from_db()
    assert (default.balance, other.balance) == (101, 1)


@both_databases
def test_a_conflict_on_a_database_not_named_is_raised_with_a_hint():
    account = Account(owner="other")
    account.save(using="other")
    calls = []

    @retry_on_conflict
    def elsewhere():
        calls.append(1)
        Account.objects.using("other").update(owner="somebody else")
        account.save()

    with pytest.raises(RecordModifiedError) as caught:
        elsewhere()
    assert len(calls) == 1
    for note in getattr(caught.value, "__notes__", ()):
        assert "using=['default', 'other']" in note


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="no function ends the session"
)
@committing_on_both
@pytest.mark.parametrize(("atomic", "alias"), [(False, "default"), (True, "other")])
def test_a_statement_without_an_answer_is_not_sent_again(atomic, alias):
    Account.objects.using(alias).create()
    own_session = Func(function="pg_backend_pid")
    is_ended = Func(
        own_session, function="pg_terminate_backend", output_field=BooleanField()
    )
    calls = []

    @retry_on_conflict(atomic=atomic, retry_on=OperationalError, attempts=2)
    def write():
        calls.append(alias)
        connections[alias].close_if_unusable_or_obsolete()
        Account.objects.using(alias).update(balance=Case(When(is_ended, then=1)))

    try:
        with pytest.raises(OperationalError) as caught:
            write()
    finally:
        connections[alias].close()
    assert caught.value.may_be_committed
    assert calls == [alias]


@committing_on_both
def test_nothing_is_done_again_once_one_database_has_committed(monkeypatch, account):
    def failing_commit():
        raise DeadlockError

    @retry_on_conflict(using=["default", "other"])
    def both():
        Account(owner="other").save(using="other")
        # The one that is committed last can't be.
        monkeypatch.setattr(connections["default"], "_commit", failing_commit)

    with pytest.raises(DeadlockError) as caught:
        both()
    assert Account.objects.using("other").count() == 1
    assert not hasattr(caught.value, "retry_history")


# Locking what was lost


@needs_row_locks
@committing
def test_the_attempt_after_a_conflict_begins_by_locking_the_row(account):
    others = AccountFactory.create_batch(2)
    with provoked(Account) as queries:
        retry_on_conflict(deposit)(account.pk)

    statements = [query["sql"] for query in queries]
    (lock,) = locking(queries)
    assert "testapp_account" in lock
    assert str(account.pk) in lock
    assert not any(str(other.pk) in lock.split("WHERE")[1] for other in others)
    begins = [i for i, sql in enumerate(statements) if sql == "BEGIN"]
    assert statements.index(lock) == begins[1] + 1


@needs_row_locks
def test_all_rows_lost_so_far_are_locked_in_order():
    accounts = AccountFactory.create_batch(3)
    lost = iter([accounts[2], accounts[0]])

    @retry_on_conflict
    def lose_two():
        for account in lost:
            change_behind(account)
            account.save()

    with CaptureQueriesContext(connection) as queries:
        lose_two()
    first, second = locking(queries)
    assert "ORDER BY" in second
    assert f" IN ({accounts[2].pk}) " in first
    assert f" IN ({accounts[0].pk}, {accounts[2].pk}) " in second


def test_row_locks_can_be_left_out(account):
    with provoked(Account, times=3) as queries:
        retry_on_conflict(deposit, lock_rows=False)(account.pk)
    assert locking(queries) == []


@both_databases
def test_rows_are_locked_on_the_database_where_they_were_lost():
    account = Account(owner="other")
    account.save(using="other")

    @retry_on_conflict(using=["default", "other"])
    def elsewhere():
        Account.objects.using("other").get(pk=account.pk).save()

    with (
        CaptureQueriesContext(connections["default"]) as default,
        CaptureQueriesContext(connections["other"]) as other,
        provoke_conflicts(Account),
    ):
        elsewhere()
    assert len(locking(other)) == 1
    assert locking(default) == []


def test_of_a_child_the_row_that_holds_the_version_is_locked():
    bistro = Bistro.objects.create(name="Chez Henri")
    with provoked(Bistro) as queries:
        retry_on_conflict(lambda: Bistro.objects.get(pk=bistro.pk).save())()
    (lock,) = locking(queries)
    assert "testapp_place" in lock
    assert "testapp_bistro" not in lock


@needs_row_locks
def test_a_composite_key_is_locked_by_all_its_columns():
    row = CompositeKey.objects.create(tenant=3, number=7, name="seven")
    with provoked(CompositeKey) as queries:
        retry_on_conflict(lambda: CompositeKey.objects.get(pk=row.pk).save())()
    (lock,) = locking(queries)
    assert " IN ((3, 7)) " in lock


@pytest.mark.skipif(
    "__import__('django.db').db.connection.features.has_select_for_update",
    reason="the database has row locks",
)
@committing
def test_without_row_locks_the_database_is_locked(account):
    with provoked(Account) as queries:
        retry_on_conflict(deposit)(account.pk)
    statements = [query["sql"] for query in queries]
    (lock,) = locking(queries)
    begins = [i for i, sql in enumerate(statements) if sql.startswith("BEGIN")]
    assert lock.startswith('UPDATE "testapp_account"')
    assert statements.index(lock) == begins[1] + 1


def test_the_row_of_a_databases_own_error_is_known(account, monkeypatch):
    def fail(execute, *args):
        raise DeadlockError

    with pytest.raises(DeadlockError) as caught, connection.execute_wrapper(fail):
        account.save()
    assert lost_rows(caught.value) == {LostRow("default", Account, account.pk)}


def test_a_lock_that_fails_is_a_lost_attempt(account):
    """Waiting for a lock may end in a deadlock, too."""

    def fail(execute, sql, params, many, context):
        if locking([{"sql": sql}]):
            raise DeadlockError
        return execute(sql, params, many, context)

    calls = []

    @retry_on_conflict(attempts=4)
    def counting():
        calls.append(1)
        deposit(account.pk)

    with (
        pytest.raises(DeadlockError) as caught,
        connection.execute_wrapper(fail),
        provoke_conflicts(Account),
    ):
        counting()
    assert len(calls) == 1
    assert caught.value.retry_history.attempts == 4


# Remembering hot rows


@pytest.mark.skipif(
    "not __import__('django.db').db.connection.features.has_select_for_update_nowait",
    reason="locks always wait",
)
@committing
def test_a_row_that_the_function_locks_in_its_own_way_is_locked_so(account):
    @retry_on_conflict
    def retrying(pk):
        row = Account.objects.select_for_update(nowait=True).get(pk=pk)
        row.balance += 1
        row.save()

    with provoke_conflicts(Account):
        retrying(account.pk)
    with CaptureQueriesContext(connection) as queries:
        retrying(account.pk)
    (lock,) = [query["sql"] for query in queries if "FOR UPDATE" in query["sql"]]
    assert lock.endswith("NOWAIT")


@committing
def test_the_next_call_for_a_row_that_was_just_lost_locks_it_at_once(account):
    retrying = retry_on_conflict(deposit)
    with provoke_conflicts(Account):
        retrying(account.pk)
    with CaptureQueriesContext(connection) as queries:
        retrying(account.pk, amount=7)
    assert len(locking(queries) + reading_locks(queries)) == 1


@needs_row_locks
@committing
def test_a_function_that_reads_the_row_by_its_key_locks_it_in_reading_it(account):
    retrying = retry_on_conflict(deposit)
    with provoke_conflicts(Account):
        retrying(account.pk)
    with CaptureQueriesContext(connection) as queries:
        retrying(str(account.pk), amount=7)
    assert locking(queries) == []
    assert len(reading_locks(queries)) == 1
    account.refresh_from_db()
    assert account.balance == 108


@needs_row_locks
@committing
@pytest.mark.parametrize(
    "rows",
    [
        Account.objects.filter(owner="first", balance__gte=0),
        Account.objects.only("balance"),
    ],
    ids=["a filter", "deferred fields"],
)
def test_the_row_is_locked_through_a_queryset_of_it_too(account, rows):
    @retry_on_conflict
    def deposit(pk):
        found = rows.get(pk=pk)
        found.balance += 5
        found.save()

    with provoke_conflicts(Account):
        deposit(account.pk)
    with CaptureQueriesContext(connection) as queries:
        deposit(account.pk)
    assert locking(queries) == []
    assert len(reading_locks(queries)) == 1


@needs_row_locks
@committing
@pytest.mark.parametrize(
    "read",
    [
        lambda pk: Account.objects.filter(pk=pk).first(),
        lambda pk: Account.objects.distinct().get(pk=pk),
        lambda pk: Account.objects.annotate(n=Count("pk")).get(pk=pk),
        lambda pk: Account.objects.get(Q(pk=pk)),
        lambda pk: Account.objects.get(pk=pk, owner="first"),
    ],
    ids=["first", "distinct", "annotated", "a Q", "two conditions"],
)
def test_a_row_that_is_read_in_another_way_is_locked_before(account, read):
    @retry_on_conflict
    def deposit(pk):
        found = read(pk)
        found.balance += 5
        found.save()

    with provoke_conflicts(Account):
        deposit(account.pk)
    with CaptureQueriesContext(connection) as queries:
        deposit(account.pk)
    assert len(locking(queries)) == 1
    assert reading_locks(queries) == []


@needs_row_locks
@committing
def test_a_function_that_does_not_read_the_row_after_all_has_it_locked_before(account):
    @retry_on_conflict
    def deposit(pk, by_key):
        found = (
            Account.objects.get(pk=pk)
            if by_key
            else Account.objects.filter(pk=pk).first()
        )
        found.balance += 5
        found.save()

    with provoke_conflicts(Account):
        deposit(account.pk, True)
    with provoke_conflicts(Account), CaptureQueriesContext(connection) as queries:
        deposit(account.pk, False)
    assert len(locking(queries)) == 1  # after it was lost
    with CaptureQueriesContext(connection) as queries:
        deposit(account.pk, True)
    assert len(locking(queries)) == 1
    account.refresh_from_db()
    assert account.balance == 115


@committing
def test_a_call_for_another_row_locks_nothing(account):
    other = AccountFactory()
    retrying = retry_on_conflict(deposit)
    with provoke_conflicts(Account):
        retrying(account.pk)
    with CaptureQueriesContext(connection) as queries:
        retrying(other.pk)
    assert locking(queries) == []


def test_what_one_test_case_lost_is_nothing_to_the_next(account):
    retrying = retry_on_conflict(deposit)
    with provoke_conflicts(Account):
        retrying(account.pk)
    with CaptureQueriesContext(connection) as queries:
        retrying(account.pk)
    assert locking(queries) == []


def failing_to_lock(execute, sql, params, many, context):
    """What a database says of a table that isn't there, and does to a transaction."""
    if locking([{"sql": sql}]):
        sql, params = "SELECT 1 FROM no_such_table", ()
    return execute(sql, params, many, context)


@pytest.mark.parametrize("lock", ["guessed", "lost in this call"])
@committing
def test_a_lock_that_can_not_be_had_breaks_no_call(account, lock):
    """As of a row that was lost in another tenant's schema."""
    calls = []

    @retry_on_conflict
    def counting(pk):
        calls.append(pk)
        deposit(pk)

    if lock == "guessed":
        with provoke_conflicts(Account):
            counting(account.pk)
        calls.clear()
        with connection.execute_wrapper(failing_to_lock):
            counting(account.pk)
        assert len(calls) == 1
    else:
        with provoke_conflicts(Account), connection.execute_wrapper(failing_to_lock):
            counting(account.pk)
        assert len(calls) == 2
    account.refresh_from_db()
    assert account.balance == (102 if lock == "guessed" else 101)


@committing
@pytest.mark.parametrize("error", [DeadlockError(), ProgrammingError("no right")])
def test_a_guessed_lock_that_always_fails_breaks_no_call(account, error):
    def fail(execute, sql, params, many, context):
        if locking([{"sql": sql}]):
            raise error
        return execute(sql, params, many, context)

    retrying = retry_on_conflict(deposit, attempts=1)
    with provoke_conflicts(Account):
        retry_on_conflict(deposit)(account.pk)
    twice = retry_on_conflict(deposit, attempts=2)
    with provoke_conflicts(Account):
        twice(account.pk)
    with connection.execute_wrapper(fail):
        twice(account.pk)
        retrying(account.pk)
    account.refresh_from_db()
    assert account.balance == 104


# Objects that were loaded before the call


@pytest.fixture
def pair():
    """My account, and one that somebody else changes in the first attempt."""
    return AccountFactory(), AccountFactory()


class Transfer:
    """Takes 10 from the first account and gives it to the second, which is lost."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.calls = 0

    def __call__(self, source=None, lost=1):
        source = source or self.source
        self.calls += 1
        source.balance -= 10
        source.save()
        target = Account.objects.get(pk=self.target.pk)
        if self.calls <= lost:
            change_behind(target)
        target.balance += 10
        target.save()


@dataclass
class Holder:
    source: Account | int

    @functools.cached_property
    def loaded(self):
        return Account.objects.get(pk=self.source)

    @functools.cached_property
    def rows(self):
        return Account.objects.filter(pk=self.source)


class Slotted:
    __slots__ = ("__row", "empty")

    def __init__(self, row):
        self.__row = row


class Elsewhere:
    """Like a proxy of something that only a request has."""

    __slots__ = ()

    def __getattr__(self, name):
        raise RuntimeError("There is no request.")


class AsksForItsItems(list):
    def __iter__(self):
        raise RuntimeError("There is no server.")


class AsksForItsValues(dict):
    def values(self):
        raise RuntimeError("There is no server.")


class CanNotBeCopied:
    def __deepcopy__(self, memo):
        raise NotImplementedError


def loaded(lazy):
    assert bool(lazy)
    return lazy


def request_of(account):
    """A request as the middleware of authentication leaves it."""

    def user():
        if not hasattr(request, "_cached_user"):
            request._cached_user = Account.objects.get(pk=account.pk)
        return request._cached_user

    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(user)
    return request


WAYS = {
    "argument": (lambda source: ((source,), {}), lambda source: source),
    "keyword": (lambda source: ((), {"source": source}), lambda source: source),
    "list": (lambda source: (([source],), {}), lambda source: source[0]),
    "dict in a tuple": (
        lambda source: ((({"a": source},),), {}),
        lambda source: source[0]["a"],
    ),
    "key of a dict": (
        lambda source: (({source: 1},), {}),
        lambda rows: next(iter(rows)),
    ),
    "values of a dict": (
        lambda source: (({1: source}.values(),), {}),
        lambda rows: next(iter(rows)),
    ),
    "deque": (lambda source: ((collections.deque([source]),), {}), lambda row: row[0]),
    "attribute": (lambda source: ((Holder(source),), {}), lambda held: held.source),
    "slot": (lambda source: ((Slotted(source),), {}), lambda held: held._Slotted__row),
    "lazy": (
        lambda source: ((SimpleLazyObject(lambda: source),), {}),
        lambda source: source,
    ),
    "loaded lazy": (
        lambda source: ((loaded(SimpleLazyObject(lambda: source)),), {}),
        lambda source: source,
    ),
    "queryset": (
        lambda source: ((loaded(Account.objects.filter(pk=source.pk)),), {}),
        lambda source: next(iter(source)),
    ),
    "queryset not asked yet": (
        lambda source: ((Account.objects.filter(pk=source.pk),), {}),
        lambda source: next(iter(source)),
    ),
    "what the attempt puts there": (
        lambda source: ((Holder(source.pk),), {}),
        lambda holder: holder.loaded,
    ),
    "rows the attempt puts there": (
        lambda source: ((Holder(source.pk),), {}),
        lambda holder: next(iter(holder.rows)),
    ),
    "request": (lambda source: ((request_of(source),), {}), lambda r: r.user),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_an_attempt_did_to_an_instance_passed_is_not_done_twice(way, pair):
    source, target = pair
    transfer = Transfer(source, target)
    pack, unpack = WAYS[way]

    @retry_on_conflict
    def call(source):
        transfer(unpack(source), lost=2)

    args, kwargs = pack(source)
    call(*args, **kwargs)

    assert transfer.calls == 3
    assert Account.objects.get(pk=source.pk).balance == 90
    assert Account.objects.get(pk=target.pk).balance == 110


@pytest.mark.parametrize(
    "make",
    [
        Elsewhere,
        AsksForItsItems,
        AsksForItsValues,
        lambda: Account(owner=CanNotBeCopied()),
    ],
    ids=["proxy", "list", "dict", "value"],
)
def test_an_argument_that_does_not_want_to_be_looked_at_is_left_alone(make):
    function = Losing(times=2)
    retry_on_conflict(lambda argument: function())(make())
    assert function.calls == 3


def test_neither_to_that_of_a_bound_method_a_partial_or_a_callable_object(pair):
    source, target = pair

    class Mine(Account):
        class Meta:
            proxy = True
            app_label = "testapp"

        def pay(self, transfer):
            transfer(self)

        paying = retry_on_conflict(pay)

    mine = Mine.objects.get(pk=source.pk)
    for call in (
        lambda: mine.paying(Transfer(None, target)),
        lambda: retry_on_conflict(mine.pay)(Transfer(None, target)),
        lambda: retry_on_conflict(functools.partial(Transfer(None, target), mine))(),
        lambda: retry_on_conflict(Transfer(mine, target))(),
    ):
        call()
    assert Account.objects.get(pk=source.pk).balance == 60
    assert Account.objects.get(pk=target.pk).balance == 140


def test_what_is_changed_in_place_is_put_back_too():
    page = Page.objects.create(title="t", data={"seen": [1]})
    losing = Losing(2)

    @retry_on_conflict
    def see(page):
        page.data["seen"].append(2)
        page.save()
        losing()

    see(page)
    assert Page.objects.get(pk=page.pk).data == {"seen": [1, 2]}


def test_related_objects_that_are_loaded_on_the_way_are_loaded_again():
    book = Book.objects.create(title="t", author=Author.objects.create(name="a"))
    book = Book.objects.get(pk=book.pk)
    losing = Losing(2)

    @retry_on_conflict
    def rename(book):
        book.author.name += "!"
        book.author.save()
        losing()

    rename(book)
    assert Author.objects.get().name == "a!"


def test_an_instance_without_a_version_is_put_back_too():
    row = Unlocked.objects.create(number=100)
    losing = Losing(2)

    @retry_on_conflict
    def subtract(row):
        row.number -= 10
        row.save()
        losing()

    subtract(row)
    assert Unlocked.objects.get().number == 90


def test_a_new_instance_is_inserted_once(account):
    losing = Losing(2)

    @retry_on_conflict
    def store(new):
        new.save()
        losing()

    new = Account(owner="new")
    store(new)
    new.owner = "newer"
    new.save()
    assert Account.objects.exclude(pk=account.pk).get().owner == "newer"


def test_an_upload_is_stored_once_and_its_row_has_it():
    """A large one is moved to its place, so it is there for one attempt only."""
    upload = TemporaryUploadedFile("large.txt", "text/plain", 7, None)
    upload.write(b"content")
    upload.flush()
    parcel = Assorted(file=upload)
    losing = Losing(2)

    @retry_on_conflict
    def store(parcel):
        parcel.save()
        losing()

    store(parcel)
    stored = Assorted.objects.get().file
    with stored:
        assert stored.read() == b"content"
    assert parcel.file.name == stored.name
    stored.storage.delete(stored.name)
    upload.close()


def test_what_the_caller_has_set_is_still_set():
    account = AccountFactory()
    account.owner = "set by the caller"
    losing = Losing(2)

    @retry_on_conflict
    def save(account):
        account.save()
        losing()

    save(account)
    assert Account.objects.get(pk=account.pk).owner == "set by the caller"


def test_an_instance_whose_row_was_changed_loses_each_time_and_a_note_says_why(account):
    change_behind(account)

    @retry_on_conflict(attempts=3)
    def withdraw(account):
        account.balance -= 10
        account.save()

    with pytest.raises(RecordModifiedError) as caught:
        withdraw(account)
    assert caught.value.retry_history.attempts == 3
    for note in getattr(caught.value, "__notes__", ())[1:]:
        assert "loaded before the call" in note
    assert len(getattr(caught.value, "__notes__", (1, 2))) == 2
    account.refresh_from_db()
    assert account.balance == 100


def test_an_instance_that_is_refreshed_in_the_function_wins(account):
    @retry_on_conflict
    def withdraw(account):
        account.refresh_from_db()
        account.balance -= 10
        account.save()

    with provoke_conflicts(Account, times=2):
        withdraw(account)
    account.refresh_from_db()
    assert account.balance == 90


def test_an_object_that_is_only_looked_at_is_not_loaded(
    account, django_assert_num_queries
):
    lazy = SimpleLazyObject(lambda: Account.objects.get(pk=account.pk))
    with django_assert_num_queries(0):
        retry_on_conflict(lambda who: None, atomic=False)(lazy)


def test_a_coroutine_s_arguments_are_put_back_too(pair):
    source, target = pair
    transfer = Transfer(source, target)

    @retry_on_conflict(atomic=False)
    async def call(source):
        source.balance -= 10
        await sync_to_async(losing)()
        await source.asave()

    losing = Losing(2)
    async_to_sync(call)(source)
    assert Account.objects.get(pk=source.pk).balance == 90
    assert transfer.calls == 0


# What can be decorated


def test_name_signature_and_docstring_are_kept():
    @retry_on_conflict(attempts=3)
    def documented(pk: int, *, amount: int = 1) -> str:
        """Do something."""

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Do something."
    assert list(inspect.signature(documented).parameters) == ["pk", "amount"]


def test_methods_of_all_kinds_are_retried(account):
    class Bank:
        @retry_on_conflict
        def method(self, pk):
            return self, deposit(pk)

        @classmethod
        @retry_on_conflict
        def for_class(cls, pk):
            return cls, deposit(pk)

        @staticmethod
        @retry_on_conflict
        def static(pk):
            return None, deposit(pk)

    bank = Bank()
    for method, first in (
        (bank.method, bank),
        (bank.for_class, Bank),
        (bank.static, None),
    ):
        with provoke_conflicts(Account):
            assert method(account.pk)[0] is first
    account.refresh_from_db()
    assert account.balance == 103


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_the_wrong_order_of_decorators_is_refused(kind):
    with pytest.raises(TypeError, match=f"Put @{kind.__name__} above"):
        retry_on_conflict(kind(deposit))


def test_it_can_be_used_inline(account):
    with provoke_conflicts(Account):
        retry_on_conflict(attempts=2)(deposit)(account.pk)
    account.refresh_from_db()
    assert account.balance == 101


def test_generators_are_refused():
    def generator():
        yield 1

    async def async_generator():
        yield 1

    class CallableGenerator:
        def __call__(self):
            yield 1

    for function in (
        generator,
        async_generator,
        functools.partial(generator),
        CallableGenerator(),
    ):
        with pytest.raises(TypeError, match="generator"):
            retry_on_conflict(function)


def deposits(pks):
    for pk in pks:
        yield deposit(pk)


async def adeposits(pks):
    for pk in pks:
        yield await sync_to_async(deposit)(pk)


class AwaitingDeposit:
    def __await__(self):
        yield


LATER = {
    "generator": lambda pks: deposits(pks),
    "async generator": lambda pks: adeposits(pks),
    "map": lambda pks: map(deposit, pks),
    "filter": lambda pks: filter(deposit, pks),
    "starmap": lambda pks: itertools.starmap(deposit, [[pk] for pk in pks]),
    "awaitable": lambda pks: AwaitingDeposit(),
    "context manager": contextlib.contextmanager(deposits),
}


@pytest.mark.parametrize("name", LATER)
def test_what_does_its_work_after_the_transaction_is_refused_when_called(name, account):
    written = []

    @retry_on_conflict
    def register(pks):
        written.append(AccountFactory(owner="new").pk)
        return LATER[name](pks)

    with pytest.raises(TypeError, match=r"returned an? .* work later: after"):
        register([account.pk])
    assert len(written) == 1
    assert not Account.objects.filter(owner="new").exists()


def test_a_coroutine_that_returns_a_generator_is_refused():
    @retry_on_conflict(atomic=False)
    async def register():
        return adeposits([])

    with pytest.raises(TypeError, match="does its work later"):
        async_to_sync(register)()


@pytest.mark.parametrize(
    "result",
    [[1], "text", {1: 2}, iter([1]), HttpResponse(), None, deposit],
    ids=lambda result: type(result).__name__,
)
def test_other_results_are_returned_as_they_are(result):
    assert retry_on_conflict(lambda: result)() is result


def test_a_lazy_result_is_not_loaded():
    lazy = SimpleLazyObject(lambda: pytest.fail("It was loaded."))
    assert type(retry_on_conflict(lambda: lazy)()) is SimpleLazyObject


def test_a_mock_can_be_retried():
    function = Mock(side_effect=[DeadlockError(), 5])
    assert retry_on_conflict(function)() == 5


def test_an_object_that_is_marked_is_a_coroutine_function():
    class Marked:
        def __call__(self):
            raise NotImplementedError

    marked = markcoroutinefunction(Marked())
    with pytest.raises(TypeError, match="is a coroutine function"):
        retry_on_conflict(marked)


def test_an_object_with_an_async_call_is_a_coroutine_function(waits):
    class Calling:
        async def __call__(self):
            losing()

    losing = Losing(2)
    with pytest.raises(TypeError, match="sync_to_async"):
        retry_on_conflict(Calling())
    async_to_sync(retry_on_conflict(Calling(), atomic=False))()
    assert losing.calls == 3


def test_a_partial_is_named_without_its_arguments(caplog):
    with caplog.at_level(logging.INFO, logger="optilock.retry"):
        retry_on_conflict(functools.partial(Losing(1), "secret"))()
    assert "secret" not in caplog.text
    assert "losing lost attempt 1" in caplog.text


# Views


@pytest.fixture
def atomic_on_both(monkeypatch):
    for alias in ("default", "other"):
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)


def respond(view, **kwargs):
    """Call a view as Django's request handler does."""
    from django.core.handlers.base import BaseHandler

    view = BaseHandler().make_view_atomic(view)
    return view(RequestFactory().get("/"), **kwargs)


class Decorated(View):
    @retry_on_conflict
    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)

    def get(self, request, pk):
        deposit(pk)
        return HttpResponse("done")


@method_decorator(retry_on_conflict, name="dispatch")
class DecoratedClass(View):
    get = Decorated.get


@method_decorator(retry_on_conflict(attempts=5), name="dispatch")
class DecoratedWithArguments(View):
    get = Decorated.get


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class DecoratedHandler(View):
    """Whose dispatch() answers a conflict, as a REST framework's does."""

    def dispatch(self, request, *args, **kwargs):
        try:
            return super().dispatch(request, *args, **kwargs)
        except RecordModifiedError:
            return HttpResponse(status=409)

    @retry_on_conflict
    def get(self, request, pk):
        deposit(pk)
        return HttpResponse("done")


@retry_on_conflict
def view(request, pk):
    deposit(pk)
    return HttpResponse("done")


VIEWS = {
    "function": view,
    "wrapped": functools.wraps(view)(lambda *args, **kwargs: view(*args, **kwargs)),
    "dispatch": Decorated.as_view(),
    "method_decorator": DecoratedClass.as_view(),
    "method_decorator with arguments": DecoratedWithArguments.as_view(),
    "handler": transaction.non_atomic_requests(using="other")(
        DecoratedHandler.as_view()
    ),
}


@pytest.mark.parametrize("name", VIEWS)
@both_databases
def test_a_view_is_retried_under_atomic_requests(name, account, atomic_on_both):
    with provoke_conflicts(Account, times=2):
        assert respond(VIEWS[name], pk=account.pk).content == b"done"
    account.refresh_from_db()
    assert account.balance == 101


@committing_on_both
def test_a_view_has_its_transactions_where_atomic_requests_wants_them(
    account, atomic_on_both
):
    @retry_on_conflict
    def view(request):
        blocks.append([connections[a].in_atomic_block for a in ("default", "other")])
        Account(owner="other").save(using="other")
        deposit(account.pk)
        return HttpResponse()

    blocks = []
    with provoke_conflicts(Account, times=2):
        respond(view)
    assert blocks == [[True, True]] * 3
    assert Account.objects.using("other").count() == 1


@committing_on_both
def test_a_database_the_view_excludes_has_no_transaction(atomic_on_both):
    @transaction.non_atomic_requests(using="other")
    @retry_on_conflict
    def view(request):
        return connections["other"].in_atomic_block

    assert respond(view) is False


@both_databases
def test_a_view_that_fails_is_rolled_back(account, atomic_on_both):
    @retry_on_conflict
    def view(request):
        deposit(account.pk)
        raise LookupError

    with pytest.raises(LookupError):
        respond(view)
    account.refresh_from_db()
    assert account.balance == 100


@both_databases
def test_without_a_transaction_per_attempt_a_view_stays_in_djangos(
    atomic_on_both,
):
    losing = Losing(1)

    @retry_on_conflict(atomic=False)
    def view(request):
        losing()

    with pytest.raises(DeadlockError):
        respond(view)
    assert losing.calls == 1


# Coroutines


def test_a_coroutine_function_is_refused_with_a_way_out():
    async def coroutine():
        pass

    with pytest.raises(TypeError, match=r"sync_to_async\(retry_on_conflict\(f\)\)"):
        retry_on_conflict(coroutine)


def test_a_coroutine_in_disguise_is_refused_when_called():
    async def coroutine():
        pass

    with pytest.raises(TypeError, match="sync_to_async"):
        retry_on_conflict(lambda: coroutine())()


def test_a_coroutine_function_is_retried_without_transactions(account, waits):
    @retry_on_conflict(atomic=False)
    async def adeposit(amount):
        loaded = await Account.objects.aget(pk=account.pk)
        loaded.balance += amount
        await loaded.asave()
        return loaded.balance

    assert inspect.iscoroutinefunction(adeposit)
    with provoke_conflicts(Account, times=3):
        assert async_to_sync(adeposit)(5) == 105
    assert len(waits) == 3


def test_a_coroutine_gives_up_like_a_function(waits):
    losing = Losing(100)

    @retry_on_conflict(atomic=False, attempts=4)
    async def coroutine():
        losing()

    with pytest.raises(DeadlockError) as caught:
        async_to_sync(coroutine)()
    assert losing.calls == 4
    assert len(waits) == 3
    assert caught.value.retry_history.attempts == 4


def test_a_coroutine_waits_without_blocking(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    @retry_on_conflict(atomic=False, rng=Longest())
    async def coroutine():
        losing()

    losing = Losing(2)
    monkeypatch.setattr("optilock.retry.decorator.asyncio.sleep", sleep)
    token = import_module("optilock.retry.call").skipped_waits.set(None)
    try:
        async_to_sync(coroutine)()
    finally:
        import_module("optilock.retry.call").skipped_waits.reset(token)
    assert slept == [0.010, 0.020]


def test_a_coroutine_inside_a_transaction_runs_once():
    losing = Losing(1)

    @retry_on_conflict(atomic=False)
    async def coroutine():
        losing()

    with pytest.raises(DeadlockError), transaction.atomic():
        async_to_sync(coroutine)()
    assert losing.calls == 1


def test_the_way_out_for_coroutines_works(account):
    async def adeposit():
        return await sync_to_async(retry_on_conflict(deposit))(account.pk)

    with provoke_conflicts(Account, times=2):
        assert async_to_sync(adeposit)().balance == 101


# To be seen from outside


@pytest.fixture
def received():
    received = []

    def receive(signal, sender, **kwargs):
        received.append((signal, sender, kwargs))

    for signal in (retried, gave_up):
        signal.connect(receive)
    yield received
    for signal in (retried, gave_up):
        signal.disconnect(receive)


def test_each_retry_sends_a_signal(received, waits):
    retrying = retry_on_conflict(Losing(2))
    retrying()
    assert [(signal, sender) for signal, sender, _ in received] == [
        (retried, retrying)
    ] * 2
    assert [kwargs["attempt"] for _, _, kwargs in received] == [1, 2]
    assert [kwargs["wait"] for _, _, kwargs in received] == waits
    assert all(isinstance(kwargs["error"], DeadlockError) for *_, kwargs in received)


def test_giving_up_sends_a_signal(received):
    retrying = retry_on_conflict(Losing(9), attempts=2)
    with pytest.raises(DeadlockError) as caught:
        retrying()
    signal, sender, kwargs = received[-1]
    assert (signal, sender) == (gave_up, retrying)
    assert kwargs["error"] is caught.value
    assert kwargs["history"] is caught.value.retry_history
    assert [signal for signal, *_ in received] == [retried, gave_up]


def test_a_receiver_that_fails_disturbs_nothing(caplog):
    def fail(**kwargs):
        raise LookupError

    retried.connect(fail)
    try:
        assert retry_on_conflict(Losing(1))("result") == "result"
    finally:
        retried.disconnect(fail)


def test_retries_and_giving_up_are_logged(caplog):
    with (
        caplog.at_level(logging.INFO, logger="optilock.retry"),
        pytest.raises(DeadlockError),
    ):
        retry_on_conflict(Losing(9), attempts=3)()
    records = [record for record in caplog.records if record.name == "optilock.retry"]
    assert [record.levelname for record in records] == ["INFO", "INFO", "WARNING"]
    assert "lost attempt 1 of 3 to DeadlockError" in records[0].getMessage()
    assert "gave up after 3 attempts" in records[2].getMessage()


def test_nothing_is_logged_or_sent_inside_a_transaction(caplog, received):
    with (
        caplog.at_level(logging.DEBUG, logger="optilock.retry"),
        pytest.raises(DeadlockError),
        transaction.atomic(),
    ):
        retry_on_conflict(Losing(1))()
    assert received == []
    assert caplog.records == []


@pytest.mark.parametrize("key", ["pk", "id"])
def test_what_is_no_key_is_refused_as_it_always_is(key):
    @retry_on_conflict
    def find():
        return Account.objects.get(**{key: "seven"})

    with pytest.raises(ValueError, match="expected a number but got 'seven'"):
        find()
