"""What an instance holds when its transaction or savepoint is rolled back."""

from __future__ import annotations

import gc
import time
import tracemalloc
from contextlib import nullcontext
from functools import partial
from threading import Event

import numpy
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models.signals import pre_delete
from django.db.transaction import TransactionManagementError
from django.db.utils import ConnectionHandler
from django.test import TestCase
from levels import LEVELS, connected
from testapp.models import (
    Account,
    Author,
    Bistro,
    Book,
    CompositeKey,
    ConcurrentModel,
    FieldAlone,
    Page,
    Place,
    Restaurant,
    UUIDKey,
)
from threads import SomebodyElse, elsewhere, locked_elsewhere

from optilock import RecordModifiedError, lost_transactions, rollback
from optilock.retry.errors import is_conflict


@pytest.fixture(autouse=True)
def real_transactions(request, django_db_setup, django_db_blocker):
    """Real commits, without the flush of all tables that would follow each test."""
    if request.cls is not None:  # a TestCase looks after itself
        yield
        return
    with django_db_blocker.unblock():
        yield
        for using in ("default", "other"):
            for model in (Book, Author, Place, Account, Page):
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


def autocommit_turned_on_again(account):
    transaction.set_autocommit(False)
    save(account)
    transaction.set_autocommit(True)  # which commits
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


def autocommit_off_with_a_savepoint(account):
    transaction.set_autocommit(False)
    try:
        save(account)
        sid = connection.savepoint()
        save(account)
        connection.savepoint_rollback(sid)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    return 2 if sid else 3  # SQLite has none there


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
        assert account.pk == key
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
        autocommit_turned_on_again,
        marks=pytest.mark.skipif(
            connection.vendor == "postgresql",
            reason="its driver refuses to, as long as the transaction is open",
        ),
    ),
    autocommit_off_with_a_savepoint,
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
def test_delete_of_one_row_that_is_not_answered_may_have_been_carried_out():
    row = FieldAlone.objects.create()
    kill_the_connection()
    with pytest.raises(DatabaseError) as caught:
        row.delete()
    connection.close()
    assert caught.value.may_be_committed
    for note in getattr(caught.value, "__notes__", ()):  # Python 3.10 has none
        assert "The answer to delete() was lost" in note
    assert row.pk == FieldAlone.objects.get().pk


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
def test_connection_killed_before_its_commit_puts_the_number_back():
    account = Account.objects.create()
    with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
        account.save()
        kill_the_connection()
    assert (account.version, row_version(account)) == (1, 1)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
def test_connection_killed_before_a_savepoint_is_rolled_back_puts_the_number_back():
    account = Account.objects.create()
    with transaction.atomic():
        account.save()
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            account.save()
            kill_the_connection()
            undo()
    # Django lets the error of the ROLLBACK TO SAVEPOINT go, and the block, marked for
    # rollback, ends without one.
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


# Transactions that the database rolls back by itself


def swallow_an_error():
    """Fail as a program does that then goes on: the transaction is lost."""
    sql = "SELECT * FROM no_such_table"
    if connection.vendor == "sqlite":
        author = Author.objects.using("default").create(name="twice")
        sql = f"INSERT OR ROLLBACK INTO testapp_author (id) VALUES ({author.pk})"
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(sql)


def swallow_a_deadlock(mine):
    """Let InnoDB end this thread's transaction, which has written ``mine``."""
    theirs = Account.objects.create()
    more = [Account.objects.create() for _ in range(20)]
    has_locked, error = Event(), []

    def work():
        with transaction.atomic():
            for account in (*more, theirs):  # who has written less is chosen
                Account.objects.filter(pk=account.pk).update(balance=1)
            has_locked.set()
            Account.objects.filter(pk=mine.pk).update(balance=1)

    thread = SomebodyElse(work)
    # Committed: only the rows of the two transactions are fought for.
    with transaction.atomic():
        mine.save()
        thread.start()
        has_locked.wait()
        try:
            list(Account.objects.select_for_update().filter(pk=theirs.pk))
        except DatabaseError as caught:
            error.append(caught)
        thread.join()
        yield
    assert error


only_on = {
    vendor: pytest.mark.skipif(connection.vendor != vendor, reason=f"is {vendor}'s way")
    for vendor in ("sqlite", "postgresql", "mysql")
}


@pytest.mark.skipif(connection.vendor == "mysql", reason="its way is a deadlock")
def test_commit_of_a_lost_transaction_puts_the_number_back():
    account = Account.objects.create()
    with transaction.atomic():
        account.save()
        with transaction.atomic():
            account.save()
        swallow_an_error()
    assert "_optilock_log" not in vars(connections["default"])
    assert (account.version, row_version(account)) == (1, 1)
    other = Account.objects.get()
    other.save()
    with pytest.raises(RecordModifiedError):
        account.save()


@only_on["postgresql"]
def test_a_server_that_only_speaks_its_language_is_asked_as_well(monkeypatch):
    """The backends for CockroachDB and YugabyteDB have names of their own."""
    account = Account.objects.create()
    monkeypatch.setattr(connections["default"], "vendor", "cockroachdb")
    with transaction.atomic():
        account.save()
        swallow_an_error()
    assert (account.version, row_version(account)) == (1, 1)


@only_on["postgresql"]
def test_commit_of_a_transaction_that_waited_for_no_lock_puts_the_number_back():
    account, wanted = Account.objects.create(), Account.objects.create()
    with locked_elsewhere(wanted), transaction.atomic():
        account.save()
        rows = Account.objects.select_for_update(nowait=True)
        with pytest.raises(OperationalError):
            list(rows.filter(pk=wanted.pk))
    assert (account.version, row_version(account)) == (1, 1)


@only_on["postgresql"]
def test_commit_after_a_savepoint_has_saved_the_transaction_keeps_the_number():
    account = Account.objects.create()
    with transaction.atomic():
        account.save()
        with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
            account.save()
            swallow_an_error()
            Account.objects.count()
        account.save()
    assert (account.version, row_version(account)) == (3, 3)


@only_on["postgresql"]
def test_autocommit_off_and_a_commit_of_a_lost_transaction():
    account = Account.objects.create()
    transaction.set_autocommit(False)
    try:
        account.save()
        swallow_an_error()
        transaction.commit()
        assert account.version == 1
        account.save()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert (account.version, row_version(account)) == (2, 2)


@pytest.mark.skipif(
    connection.vendor == "postgresql", reason="psycopg refuses it in a transaction"
)
def test_autocommit_off_once_more_ends_nothing():
    account = Account.objects.create()
    transaction.set_autocommit(False)
    try:
        account.save()
        transaction.set_autocommit(False)
        assert account.version == 2
        transaction.rollback()
        assert account.version == 1
    finally:
        transaction.set_autocommit(True)
    assert row_version(account) == 1


@only_on["mysql"]
def test_commit_after_a_swallowed_deadlock_keeps_only_what_came_later():
    before, later = Account.objects.create(), Account.objects.create()
    for _ in swallow_a_deadlock(before):
        assert before.version == 2
        later.save()
        assert before.version == 1
    assert (before.version, later.version) == (1, 2)
    assert row_version(later) == 2


@only_on["mysql"]
def test_commit_right_after_a_swallowed_deadlock_puts_the_number_back():
    account = Account.objects.create()
    for _ in swallow_a_deadlock(account):
        pass
    assert account.version == 1


@only_on["mysql"]
def test_savepoint_after_a_swallowed_deadlock_is_one_of_another_transaction():
    before, later = Account.objects.create(), Account.objects.create()
    for _ in swallow_a_deadlock(before):
        with transaction.atomic():
            later.save()
    assert (before.version, later.version) == (1, 2)


#: MariaDB's innodb_snapshot_isolation, which newer releases switch on: a row that was
#: changed since isn't written any more, and the whole transaction is rolled back.
SNAPSHOT_ISOLATION = pytest.mark.parametrize(
    ("level", "is_on"),
    [("REPEATABLE_READ", False), ("SNAPSHOT", True)],
    ids=["off", "on"],
)


@only_on["mysql"]
@SNAPSHOT_ISOLATION
def test_a_stale_save_with_snapshot_isolation(level, is_on):
    before, wanted = Account.objects.create(), Account.objects.create()
    with connected(LEVELS[level]), transaction.atomic():
        before.save()
        stale = Account.objects.get(pk=wanted.pk)
        elsewhere(wanted.save)
        with pytest.raises(DatabaseError) as caught:
            stale.save()
    assert is_conflict(caught.value)
    assert isinstance(caught.value, RecordModifiedError) is not is_on
    assert stale.version == 1
    # Without it, the block goes on.
    assert before.version == row_version(before) == (1 if is_on else 2)


@only_on["mysql"]
@SNAPSHOT_ISOLATION
def test_a_swallowed_error_with_snapshot_isolation(level, is_on):
    """What was written before it is gone, what follows is committed."""
    before, wanted = Account.objects.create(), Account.objects.create()
    later = Account.objects.create()
    with connected(LEVELS[level]), transaction.atomic():
        before.save()
        list(Account.objects.all())  # the snapshot
        elsewhere(wanted.save)
        rows = Account.objects.select_for_update().filter(pk=wanted.pk)
        codes = []
        try:
            list(rows)
        except OperationalError as error:
            codes.append(error.args[0])
        later.save()
    assert codes == ([1020] if is_on else [])
    assert before.version == row_version(before) == (1 if is_on else 2)
    assert later.version == row_version(later) == 2


@only_on["mysql"]
def test_a_lock_that_wasn_t_obtained_in_time_costs_nothing_else():
    account, wanted = Account.objects.create(), Account.objects.create()
    with locked_elsewhere(wanted), transaction.atomic():
        account.save()
        with connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 1")
        with pytest.raises(OperationalError):
            list(Account.objects.select_for_update().filter(pk=wanted.pk))
        account.save()
    assert (account.version, row_version(account)) == (3, 3)


@only_on["mysql"]
def test_locks_that_are_not_obtained_before_the_connection_is_lost():
    """What the server's option is can't be asked for any more, and needn't be."""
    vars(connections["default"]).pop("_optilock_timeout_rolls_back", None)
    account, wanted = Account.objects.create(), Account.objects.create()

    def wait_and_be_killed():
        account.save()
        with connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 1")
        with pytest.raises(OperationalError):
            list(Account.objects.select_for_update().filter(pk=wanted.pk))
        kill_the_connection()

    with locked_elsewhere(wanted), pytest.raises(DatabaseError):
        transaction.atomic(wait_and_be_killed)()
    assert (account.version, row_version(account)) == (1, 1)


@only_on["mysql"]
def test_a_second_lock_that_is_not_obtained_is_as_the_first():
    account, wanted = Account.objects.create(), Account.objects.create()
    with locked_elsewhere(wanted), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 1")
        for _ in range(2):
            account.save()
            with pytest.raises(OperationalError):
                list(Account.objects.select_for_update().filter(pk=wanted.pk))
    assert (account.version, row_version(account)) == (3, 3)


def test_a_connection_that_is_closed_has_ended_no_transaction(tmp_path):
    settings = connections.settings["default"]
    mine = {**settings, "ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "db"}
    one = ConnectionHandler({"default": {**mine, "OPTIONS": {}}})["default"]
    one.ensure_connection()
    assert lost_transactions.has_ended(one)  # none is open
    one.connection.close()
    assert not lost_transactions.has_ended(one)


@only_on["sqlite"]
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_what_is_saved_after_a_lost_transaction_is_committed_at_once(block):
    before, later = Account.objects.create(), Account.objects.create()
    with transaction.atomic():
        before.save()
        swallow_an_error()
        with block():
            later.save()
    assert (before.version, row_version(before)) == (1, 1)
    assert (later.version, row_version(later)) == (2, 2)


def fail(execute, sql, *args):
    if sql.startswith("UPDATE"):
        sql = sql.replace("UPDATE", "UPDATE no_such_schema.", 1)
    return execute(sql, *args)


def test_touch_that_fails_marks_the_block_as_djangos_own_writes_do():
    account, touched = Account.objects.create(), Account.objects.create()
    with transaction.atomic():
        account.save()
        with connection.execute_wrapper(fail), pytest.raises(DatabaseError):
            touched.touch()
        with pytest.raises(TransactionManagementError):
            Account.objects.count()
    assert (account.version, row_version(account)) == (1, 1)


# Values and attributes of any kind


class Arrays:
    """Where ``==`` isn't a bool, as in a vector field's arrays."""

    def __eq__(self, other):
        return numpy.array([1, 2]) == numpy.array([1, 3])

    __hash__ = None


class Stubborn:
    """A descriptor of somebody's own, which can't be set when it doesn't please."""

    def __get__(self, instance, owner=None):
        return vars(instance)["stubborn"]

    def __set__(self, instance, value):
        if vars(instance).get("stubborn"):
            raise UndoError("not again")
        vars(instance)["stubborn"] = value


class Holder:
    stubborn = Stubborn()


@pytest.mark.parametrize("value", [numpy.array([1.0, 2.0]), Arrays()])
def test_values_are_compared_by_what_they_are(value):
    account, holder = Account.objects.create(), Holder()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.save()
        rollback.set_until_rollback(connections["default"], holder, "old", value)
        rollback.set_until_rollback(connections["default"], holder, "old", [value])
        rollback.set_until_rollback(connections["default"], holder, "new", value)
        undo()
    assert account.version == 1
    assert vars(holder) == {}


def test_number_that_was_read_again_goes_back_too():
    account = Account.objects.create()
    Account.objects.update(version=10**6)
    account.refresh_from_db()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.balance = 1
        account.save()
        account.refresh_from_db()
        undo()
    assert account.version == 10**6
    assert account.changed_fields() == ["balance"]


def test_number_of_a_later_save_that_was_read_goes_back_too():
    account = Account.objects.create()
    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        account.save()
        Account.objects.update(balance=1)
        account.refresh_from_db()
        assert account.version == 3
        undo()
    assert account.version == 1
    assert account.changed_fields() == ["balance"]


def test_an_attribute_that_can_t_be_set_keeps_nothing_else_from_being_put_back(caplog):
    first, last = Account.objects.create(), Account.objects.create()
    holder = Holder()
    holder.stubborn = 0
    with pytest.raises(UndoError, match=r"^$"), transaction.atomic():  # noqa: PT012
        first.save()
        rollback.set_until_rollback(connections["default"], holder, "stubborn", 7)
        last.save()
        undo()
    assert (first.version, last.version, holder.stubborn) == (1, 1, 0)
    [record] = caplog.records
    assert "Holder.stubborn" in record.getMessage()
    assert "UndoError" in record.getMessage()


class Unsettable:
    """A descriptor that nothing can be assigned to."""

    def __get__(self, instance, owner=None):
        return vars(instance).get("fixed")

    def __set__(self, instance, value):
        raise AttributeError("read only")


class Fixed:
    fixed = Unsettable()


@pytest.mark.parametrize("held", [{}, {"fixed": 1}])
def test_what_can_t_be_set_is_said_and_left_as_it_was(held):
    target = Fixed()
    vars(target).update(held)
    with pytest.raises(AttributeError, match=r"can't be set|read only"):
        rollback.set_until_rollback(connections["default"], target, "fixed", 2)
    assert vars(target) == held


# Deleted objects


def delete_by_cascade(author):
    Book.objects.create(title="a", author=author)
    author.delete()


def delete_what_has_parents(bistro):
    bistro.delete()


def delete_in_a_savepoint(account):
    with transaction.atomic():
        account.delete()


@pytest.mark.parametrize(
    ("build", "delete"),
    [
        (Account, Account.delete),
        (Account, delete_in_a_savepoint),
        (partial(ConcurrentModel, name="field alone"), ConcurrentModel.delete),
        (partial(Author, name="a"), delete_by_cascade),
        (partial(Bistro, name="a"), Bistro.delete),
        (partial(CompositeKey, tenant=1, number=2), CompositeKey.delete),
        (partial(UUIDKey, name="a"), UUIDKey.delete),
    ],
)
def test_key_of_an_object_whose_delete_was_rolled_back_comes_back(build, delete):
    instance = build()
    model = type(instance)
    instance.save()
    key = instance.pk
    try:
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            delete(instance)
            undo()
        assert (instance.pk, instance.version) == (key, 1)
        instance.save()
        [found] = model.objects.all()
        assert (found.pk, found.version) == (key, 2)
    finally:
        model.objects.all().delete()


def test_key_comes_back_when_the_savepoint_is_rolled_back():
    account = Account.objects.create()
    key = account.pk
    with transaction.atomic():
        account.save()
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            account.delete()
            undo()
        account.save()
    assert (account.pk, account.version, row_version(account)) == (key, 3, 3)


def test_key_stays_away_when_the_delete_is_committed():
    account = Account.objects.create()
    with transaction.atomic():
        account.delete()
    assert account.pk is None
    assert not Account.objects.exists()


def test_keys_of_what_a_cascade_deletes_come_back():
    author = Author.objects.create(name="a")
    for title in "ab":
        Book.objects.create(title=title, author=author)
    held = []

    def hold(instance, **kwargs):
        held.append((instance, instance.pk))

    pre_delete.connect(hold, sender=Book)
    try:
        with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
            Author.objects.all().delete()
            assert [book.pk for book, _ in held] == [None, None]
            undo()
    finally:
        pre_delete.disconnect(hold, sender=Book)
    assert len(held) == 2
    assert all(book.pk == key for book, key in held)
    for book, _ in held:
        book.save()
    assert Book.objects.count() == 2


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
        using = "other" if connection.vendor == "sqlite" else "default"
        with transaction.atomic(using=using):
            theirs.save(using=using)

    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012
        mine.save()
        elsewhere(work)
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


def traced(function):
    """Return how much memory is held at the end of the function, and at its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_saves_of_one_object_in_a_transaction_don_t_keep_its_old_values(block):
    page = Page.objects.create()

    def work():
        with transaction.atomic():
            for number in range(100):
                with block():
                    page.body = f"{number % 10}" * 100_000
                    page.save()

    _, peak = traced(work)
    assert peak < 3_000_000  # some 10 MB if all were kept


def test_what_an_iterator_has_saved_and_dropped_isn_t_kept():
    keys = [Page.objects.create(body="y" * 100_000).pk for _ in range(100)]

    def work():
        with transaction.atomic():
            for key in keys:
                page = Page.objects.get(pk=key)
                page.body = "x" * 100_000
                page.save()

    _, peak = traced(work)
    assert peak < 3_000_000  # some 20 MB if all were kept


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


def test_object_that_goes_costs_the_same_however_many_savepoints_are_open():
    def seconds(savepoints):
        connection = connections["default"]
        with transaction.atomic():
            rollback.set_until_rollback(connection, Account(), "version", 2)
            started = time.process_time()
            for number in range(savepoints):
                connection._optilock_log.begin(f"s{number}")
                rollback.set_until_rollback(connection, Account(), "version", 2)
            return time.process_time() - started

    # It was a hundred times as long when each of them was looked through.
    assert seconds(20_000) < 50 * max(seconds(2_000), 0.01)


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
