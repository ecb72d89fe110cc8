"""What an instance holds when its transaction or savepoint is rolled back."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import nullcontext
from threading import Thread

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import (
    DatabaseError,
    IntegrityError,
    connection,
    connections,
    transaction,
)
from django.test import TestCase
from testapp.models import Account, Author, Bistro, Book, Place, Restaurant

from optilock import RecordModifiedError, rollback


@pytest.fixture(autouse=True)
def real_transactions(request, django_db_setup, django_db_blocker):
    """Real commits, without the flush of all tables that would follow each test."""
    if request.cls is not None:  # a TestCase looks after itself
        yield
        return
    with django_db_blocker.unblock():
        yield
        for using in ("default", "other"):
            for model in (Book, Author, Place, Account):
                model.objects.using(using).all().delete()


class UndoError(Exception):
    pass


def undo():
    raise UndoError


def save(instance, times=1):
    for _ in range(times):
        instance.save()


def row_version(instance, using="default"):
    model, key = type(instance), instance.pk
    if isinstance(instance, Place):
        model, key = Place, instance.id
    return model.objects.using(using).get(pk=key).version


# A way for a transaction to go, and the number it should leave behind


def commit(account):
    with transaction.atomic():
        save(account)
    return 2


def roll_back(account):
    try:
        with transaction.atomic():
            save(account)
            undo()
    except UndoError:
        return 1


def roll_back_several_saves(account):
    try:
        with transaction.atomic():
            save(account, 5)
            undo()
    except UndoError:
        return 1


def roll_back_a_savepoint(account):
    with transaction.atomic():
        save(account)
        try:
            with transaction.atomic():
                save(account, 2)
                undo()
        except UndoError:
            pass
        save(account)
    return 3


def roll_back_the_first_savepoint_only(account):
    with transaction.atomic():
        try:
            with transaction.atomic():
                save(account, 2)
                undo()
        except UndoError:
            pass
        with transaction.atomic():
            save(account)
    return 2


def roll_back_around_a_released_savepoint(account):
    try:
        with transaction.atomic():
            save(account)
            with transaction.atomic():
                save(account)
            save(account)
            undo()
    except UndoError:
        return 1


def roll_back_a_savepoint_around_a_released_one(account):
    with transaction.atomic():
        save(account)
        try:
            with transaction.atomic():
                save(account)
                with transaction.atomic():
                    save(account)
                    with transaction.atomic():
                        save(account)
                undo()
        except UndoError:
            pass
    return 2


def roll_back_after_a_released_savepoint_was_the_first_to_save(account):
    with transaction.atomic():
        with transaction.atomic():
            save(account)
        try:
            with transaction.atomic():
                save(account)
                undo()
        except UndoError:
            pass
    return 2


def roll_back_a_block_without_a_savepoint(account):
    with transaction.atomic():
        save(account)
        try:
            with transaction.atomic(savepoint=False):
                save(account)
                undo()
        except UndoError:
            pass
    return 1


def set_rollback(account):
    with transaction.atomic():
        save(account)
        transaction.set_rollback(True)
    return 1


def set_rollback_of_a_savepoint(account):
    with transaction.atomic():
        save(account)
        with transaction.atomic():
            save(account)
            transaction.set_rollback(True)
    return 2


def manual_savepoint_rolled_back(account):
    with transaction.atomic():
        save(account)
        sid = connection.savepoint()
        save(account)
        transaction.savepoint_rollback(sid)
    return 2


def manual_savepoint_rolled_back_twice(account):
    with transaction.atomic():
        sid = connection.savepoint()
        save(account)
        transaction.savepoint_rollback(sid)
        save(account, 2)
        transaction.savepoint_rollback(sid)
        save(account)
        transaction.savepoint_commit(sid)
    return 2


def manual_savepoint_released(account):
    with transaction.atomic():
        sid = connection.savepoint()
        save(account)
        transaction.savepoint_commit(sid)
        save(account)
    return 3


def manual_savepoint_rolled_back_past_a_later_one(account):
    with transaction.atomic():
        outer = connection.savepoint()
        save(account)
        connection.savepoint()
        save(account)
        transaction.savepoint_rollback(outer)
        save(account)
    return 2


def manual_savepoint_released_past_a_later_one(account):
    with transaction.atomic():
        save(account)
        outer = connection.savepoint()
        save(account)
        connection.savepoint()
        save(account)
        transaction.savepoint_commit(outer)
    return 4


def savepoint_older_than_the_first_save(account):
    with transaction.atomic():
        outer = connection.savepoint()
        inner = connection.savepoint()
        save(account)
        transaction.savepoint_commit(inner)
        save(account)
        transaction.savepoint_rollback(outer)
    return 1


def savepoints_by_one_name(account):
    with transaction.atomic():
        save(account)
        transaction.clean_savepoints()
        connection.savepoint()
        save(account)
        transaction.clean_savepoints()
        sid = connection.savepoint()
        save(account)
        transaction.savepoint_rollback(sid)
    return 3


def two_transactions_one_after_the_other(account):
    with transaction.atomic():
        save(account)
    try:
        with transaction.atomic():
            save(account)
            undo()
    except UndoError:
        pass
    with transaction.atomic():
        save(account)
    return 3


def failing_commit(account):
    with pytest.raises(IntegrityError), transaction.atomic():  # noqa: PT012
        save(account)
        Book.objects.create(title="nobody's", author_id=-1)
    return 1


def autocommit_off_and_committed(account):
    transaction.set_autocommit(False)
    try:
        save(account)
        transaction.commit()
        save(account)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    return 2


def autocommit_off_and_rolled_back(account):
    transaction.set_autocommit(False)
    try:
        save(account)
        transaction.rollback()
        save(account)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    return 2


def autocommit_off_with_blocks(account):
    transaction.set_autocommit(False)
    try:
        try:
            with transaction.atomic():
                save(account)
                undo()
        except UndoError:
            pass
        with transaction.atomic():
            save(account)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    return 1


def connection_closed_in_a_block(account):
    try:
        with transaction.atomic():
            save(account)
            connection.close()
            undo()
    except UndoError:
        return 1


def conflict_in_a_block(account):
    try:
        with transaction.atomic():
            stale = Account.objects.get(pk=account.pk)
            save(account)
            stale.save()
    except RecordModifiedError:
        return 1


def conflict_caught_in_a_block(account):
    with transaction.atomic():
        stale = Account.objects.get(pk=account.pk)
        save(account)
        with pytest.raises(RecordModifiedError):
            stale.save()
    return 2


def delete_rolled_back(account):
    key = account.pk
    try:
        with transaction.atomic():
            save(account)
            account.delete()
            undo()
    except UndoError:
        account.pk = key  # Django takes it away and never gives it back
        return 1


WAYS = [
    commit,
    roll_back,
    roll_back_several_saves,
    roll_back_a_savepoint,
    roll_back_the_first_savepoint_only,
    roll_back_around_a_released_savepoint,
    roll_back_a_savepoint_around_a_released_one,
    roll_back_after_a_released_savepoint_was_the_first_to_save,
    roll_back_a_block_without_a_savepoint,
    set_rollback,
    set_rollback_of_a_savepoint,
    manual_savepoint_rolled_back,
    manual_savepoint_rolled_back_twice,
    manual_savepoint_released,
    manual_savepoint_rolled_back_past_a_later_one,
    manual_savepoint_released_past_a_later_one,
    savepoint_older_than_the_first_save,
    savepoints_by_one_name,
    two_transactions_one_after_the_other,
    pytest.param(
        failing_commit,
        marks=pytest.mark.skipif(
            connection.vendor == "mysql",
            reason="MySQL checks foreign keys at once, so its COMMIT doesn't fail",
        ),
    ),
    autocommit_off_and_committed,
    autocommit_off_and_rolled_back,
    pytest.param(
        autocommit_off_with_blocks,
        marks=pytest.mark.skipif(
            connection.vendor == "sqlite",
            reason="without autocommit, SQLite commits at a RELEASE (Django says so)",
        ),
    ),
    connection_closed_in_a_block,
    conflict_in_a_block,
    conflict_caught_in_a_block,
    delete_rolled_back,
]


@pytest.mark.parametrize("way", WAYS)
def test_instance_holds_the_number_of_the_row_and_no_log_is_left(way):
    account = Account.objects.create()
    kept = way(account)
    assert "_optilock_log" not in vars(connections["default"])
    assert (account.version, row_version(account)) == (kept, kept)
    account.save()
    assert row_version(account) == kept + 1


@pytest.mark.parametrize(
    "way",
    [
        commit,
        roll_back,
        roll_back_a_savepoint,
        roll_back_a_savepoint_around_a_released_one,
        roll_back_a_block_without_a_savepoint,
        set_rollback,
        manual_savepoint_rolled_back_past_a_later_one,
        autocommit_off_and_committed,
    ],
)
def test_child_instance_holds_the_number_of_its_root(way):
    restaurant = Restaurant.objects.create(name="a")
    kept = way(restaurant)
    assert (restaurant.version, row_version(restaurant)) == (kept, kept)
    restaurant.save(update_fields=["stars"])
    assert row_version(restaurant) == kept + 1


def test_nothing_is_logged_in_autocommit():
    account = Account.objects.create()
    account.save()
    assert "_optilock_log" not in vars(connections["default"])


def kill_the_connection():
    asking, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(asking)
        [pid] = cursor.fetchone()
    killer = connection.copy()
    try:
        with killer.cursor() as cursor:
            cursor.execute(kill, [pid])
    finally:
        killer.close()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
def test_killed_connection_puts_the_number_back():
    account = Account.objects.create()
    with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
        account.save()
        kill_the_connection()
        account.save()
    assert account.version == 1
    account.save()
    assert row_version(account) == 2


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
def test_connection_killed_before_its_commit_puts_the_number_back():
    account = Account.objects.create()
    with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
        account.save()
        kill_the_connection()
    assert (account.version, row_version(account)) == (1, 1)


def test_closing_that_fails_puts_the_number_back_all_the_same(monkeypatch):
    account = Account.objects.create()
    wrapper = connections["default"]
    really_close = wrapper._close

    def broken_close():
        really_close()
        raise DatabaseError("the socket is gone")

    with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
        account.save()
        with monkeypatch.context() as patch:
            patch.setattr(wrapper, "_close", broken_close)
            wrapper.close()
    assert account.version == 1
    account.save()
    assert row_version(account) == 2


# Rolled-back inserts


@pytest.mark.parametrize("build", [Account, Restaurant, Bistro])
def test_rolled_back_insert_makes_the_instance_new_again(build):
    instance = build()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        instance.save()
        instance.save()
        undo()
    assert (instance._state.adding, instance._state.db) == (True, None)
    instance.save()
    assert (instance.version, row_version(instance)) == (1, 1)


def test_rolled_back_insert_of_a_savepoint_makes_the_instance_new_again():
    account = Account()
    with transaction.atomic():
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            account.save()
            undo()
        account.save()
    assert (account.version, row_version(account)) == (1, 1)


def test_rolled_back_copy_can_be_saved_again():
    account = Account.objects.create()
    account.save()
    account.pk = None
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.save()
        undo()
    account.save()
    assert sorted(Account.objects.values_list("version", flat=True)) == [1, 2]


def test_committed_insert_is_no_longer_new():
    account = Account()
    with transaction.atomic():
        account.save()
    account.save()
    assert row_version(account) == 2


# Who else holds the row


def test_number_of_a_rolled_back_save_doesn_t_overwrite_who_took_it_next():
    account = Account.objects.create(balance=1)
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.balance = 2
        account.save()
        undo()
    other = Account.objects.get()
    other.balance = 10
    other.save()  # commits the number the rolled-back save had
    with pytest.raises(RecordModifiedError):
        account.save()
    assert Account.objects.get().balance == 10


def test_several_instances_of_one_row_go_back_together():
    first = Account.objects.create()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        second = Account.objects.get()
        first.save()
        second.version = first.version
        second.save()
        undo()
    assert first.version == 1
    first.save()
    assert row_version(first) == 2


def test_number_set_by_hand_since_is_left_alone():
    account = Account.objects.create()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.save()
        account.version = 40
        undo()
    assert account.version == 40


def test_connections_are_undone_separately():
    here = Account.objects.create()
    there = Account.objects.using("other").create()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        with transaction.atomic(using="other"):
            here.save()
            there.save()
        undo()
    assert (here.version, there.version) == (1, 2)
    assert (row_version(here), row_version(there, "other")) == (1, 2)


def test_threads_are_undone_separately():
    mine, theirs = Account.objects.create(), Account.objects.create()
    if connection.vendor == "sqlite":
        theirs.save(using="other", force_insert=True)  # one writer at a time

    def work():
        try:
            using = "other" if connection.vendor == "sqlite" else "default"
            with transaction.atomic(using=using):
                theirs.save(using=using)
        finally:
            connections.close_all()

    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        mine.save()
        thread = Thread(target=work)
        thread.start()
        thread.join()
        undo()
    assert (mine.version, theirs.version) == (1, 2)


def test_async_code_is_undone_too():
    account = Account.objects.create()

    @sync_to_async
    def work():
        with transaction.atomic():
            account.save()
            undo()

    async def view():
        with pytest.raises(UndoError):
            await work()
        await account.asave()

    async_to_sync(view)()
    assert (account.version, row_version(account)) == (2, 2)


def test_after_commit_callbacks_see_and_may_raise_the_new_number():
    account = Account.objects.create()
    seen = []

    def callback():
        seen.append(account.version)
        account.save()

    with transaction.atomic():
        account.save()
        transaction.on_commit(callback)
    assert seen == [2]
    assert (account.version, row_version(account)) == (3, 3)


# Memory


def save_throwaway(key):
    Account.objects.get(pk=key).save()


def save_throwaway_in_a_savepoint(key):
    with transaction.atomic():
        Account.objects.get(pk=key).save()


def create_throwaway(key):
    Account.objects.create()


@pytest.mark.parametrize(
    "work", [save_throwaway, save_throwaway_in_a_savepoint, create_throwaway]
)
def test_instances_nobody_holds_are_forgotten(work):
    account = Account.objects.create()
    with transaction.atomic():
        for _ in range(1001):  # the log tidies up at 1000
            work(account.pk)
        log = connections["default"]._optilock_log
        assert sum(len(changes) for changes in log.changes) < 10


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_long_transaction_costs_no_memory_for_instances_nobody_holds(block):
    tracemalloc.start()
    try:
        with transaction.atomic():
            for _ in range(10_000):
                # What a save does once its row is written.
                with block() if _ % 10 == 0 else nullcontext():
                    rollback.set_until_rollback(
                        connections["default"], Account(), "version", 2
                    )
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 400_000  # some 3 MB if all were remembered


def test_instances_somebody_holds_are_all_undone():
    accounts = [Account.objects.create() for _ in range(20)]
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        for _ in range(60):  # the log tidies up at 1000
            for account in accounts:
                account.save(update_fields=["owner"])
        undo()
    assert {account.version for account in accounts} == {1}


# Django's own test cases


class TestInATestCase(TestCase):
    # Makes pytest-django create both databases, for the rest of the module too.
    databases = frozenset({"default", "other"})

    @classmethod
    def setUpTestData(cls):
        cls.account = Account.objects.create()
        cls.account.save()

    def test_first(self):
        self.account.save()
        assert self.account.version == row_version(self.account) == 3

    def test_second_sees_nothing_of_the_first(self):
        self.account.save()
        assert self.account.version == row_version(self.account) == 3

    def test_block_in_a_test_is_undone(self):
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            self.account.save()
            undo()
        assert self.account.version == row_version(self.account) == 2

    def test_commit_callbacks_see_the_new_number(self):
        seen = []
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            self.account.save()
            transaction.on_commit(lambda: seen.append(self.account.version))
        assert seen == [3]
