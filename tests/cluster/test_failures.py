"""Connections, servers and answers that are lost in the middle of a write."""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import django
import pytest
from django.db import Error, OperationalError, connection, models, transaction
from testapp.models import Account, AccountProxy, Daybook, Ledger
from threads import going_on

from cluster.aliases import databases, make_tables
from cluster.entries import Entries
from cluster.proxy import Proxy
from optilock import RecordModifiedError, retry_on_conflict
from optilock.retry.errors import is_conflict

IS_CARRIED_OUT = pytest.mark.parametrize(
    "is_carried_out", [True, False], ids=["carried out", "not carried out"]
)


@pytest.fixture
def proxy(server):
    """A way to each server, as Django's default database; tables on it."""
    proxy = Proxy(server.port)
    direct = server.settings
    with databases(default={**direct, "PORT": proxy.port}, direct=direct):
        make_tables()
        yield proxy
    proxy.close()


def stored(pk):
    """What the database has, seen by another way."""
    return Account.objects.using("direct").get(pk=pk)


def says_that_nobody_knows(error):
    assert error.may_be_committed
    if sys.version_info >= (3, 11):
        assert "may have been carried out" in error.__notes__[0]
    return True


@IS_CARRIED_OUT
def test_a_lost_answer_to_commit_is_told_and_the_number_goes_back(
    proxy, is_carried_out
):
    account = Account.objects.create(balance=1)

    def save():
        with transaction.atomic():
            account.balance = 2
            account.save()
            proxy.cut("COMMIT", is_delivered=is_carried_out)

    with pytest.raises(OperationalError) as caught:
        save()

    assert says_that_nobody_knows(caught.value)
    assert account.version == 1
    kept = stored(account.pk)
    assert (kept.balance, kept.version) == ((2, 2) if is_carried_out else (1, 1))
    connection.close()
    if is_carried_out:  # not done twice
        with pytest.raises(RecordModifiedError):
            account.save()
    else:
        account.save()
        assert stored(account.pk).balance == 2


@IS_CARRIED_OUT
def test_a_call_whose_commit_was_not_answered_is_not_run_again(proxy, is_carried_out):
    pk = Account.objects.create(balance=0).pk
    calls = []

    @retry_on_conflict(retry_on=OperationalError)
    def deposit(account_id):
        account = Account.objects.get(pk=account_id)
        account.balance += 1
        account.save()
        calls.append(account)
        proxy.cut("COMMIT", is_delivered=is_carried_out)

    with pytest.raises(OperationalError) as caught:
        deposit(pk)

    assert says_that_nobody_knows(caught.value)
    assert stored(pk).balance == (1 if is_carried_out else 0)
    assert [account.version for account in calls] == [1]


def upsert(rows):
    defaults = {"balance": 2}
    Account.objects.update_or_create(pk=rows.account.pk, defaults=defaults)


#: Ways to write: how, the statement that does it, and whether that is in a block.
WRITES = {
    "save": (lambda rows: rows.account.save(), "UPDATE", False),
    "save of a field": (
        lambda rows: rows.account.save(update_fields=["balance"]),
        "UPDATE",
        False,
    ),
    "save of two tables": (lambda rows: rows.daybook.save(), "UPDATE", True),
    "save by a proxy": (
        lambda rows: AccountProxy.objects.get(pk=rows.account.pk).save(),
        "UPDATE",
        False,
    ),
    "create": (lambda rows: Account.objects.create(), "INSERT", False),
    "touch": (lambda rows: rows.account.touch(), "UPDATE", False),
    "update": (lambda rows: Account.objects.update(balance=3), "UPDATE", False),
    "update of the version": (
        lambda rows: Account.objects.update(version=3),
        "UPDATE",
        False,
    ),
    "update of two tables": (
        lambda rows: Daybook.objects.update(entries="a", pages=1),
        "UPDATE",
        True,
    ),
    "update_or_create": (upsert, "UPDATE", True),
    "bulk_update": (
        lambda rows: Account.objects.bulk_update([rows.account], ["balance"]),
        "UPDATE",
        False,
    ),
    "bulk_update of two": (
        lambda rows: Account.objects.bulk_update(
            [rows.account, rows.other], ["balance"]
        ),
        "UPDATE",
        True,
    ),
    "bulk_create": (
        lambda rows: Account.objects.bulk_create([Account()]),
        "INSERT",
        django.VERSION < (6, 1),
    ),
    "delete": (lambda rows: rows.account.delete(), "DELETE", False),
    "delete of two tables": (lambda rows: rows.daybook.delete(), "DELETE", True),
    "Django's own delete": (
        lambda rows: models.Model.delete(rows.account),
        "DELETE",
        False,
    ),
    "delete of a queryset": (
        lambda rows: Account.objects.all().delete(),
        "DELETE",
        True,
    ),
}


@pytest.fixture
def rows(proxy):
    """Objects, each of them changed."""
    rows = SimpleNamespace(
        account=Account.objects.create(balance=1),
        other=Account.objects.create(balance=1),
        daybook=Daybook.objects.create(),
    )
    rows.account.balance = rows.other.balance = 2
    rows.daybook.entries = "a"
    return rows


def all_stored():
    return [
        [*model.objects.using("direct").order_by("pk").values_list()]
        for model in (Account, Ledger, Daybook)
    ]


def is_as_loaded(rows):
    return all(row.pk and row.version == 1 for row in vars(rows).values())


@IS_CARRIED_OUT
@pytest.mark.parametrize("way", WRITES)
def test_a_lost_answer_to_a_write_without_a_block_is_told(
    proxy, rows, way, is_carried_out
):
    write, statement, has_block = WRITES[way]
    before = all_stored()
    proxy.cut("COMMIT" if has_block else statement, is_delivered=is_carried_out)

    with pytest.raises(OperationalError) as caught:
        write(rows)

    assert says_that_nobody_knows(caught.value)
    if sys.version_info >= (3, 11):
        assert len(caught.value.__notes__) == 1
    assert is_as_loaded(rows)
    assert (all_stored() != before) is is_carried_out


@pytest.mark.parametrize("way", WRITES)
def test_a_write_whose_answer_is_lost_in_a_block_is_known_to_be_undone(
    proxy, rows, way
):
    write, statement, _ = WRITES[way]
    before = all_stored()

    def write_in_a_block():
        with transaction.atomic():
            proxy.cut(statement, is_delivered=True)
            write(rows)

    with pytest.raises(OperationalError) as caught:
        write_in_a_block()

    assert not hasattr(caught.value, "may_be_committed")
    assert is_as_loaded(rows)
    assert all_stored() == before


def test_a_connection_lost_before_commit_leaves_nothing_unknown(proxy):
    account = Account.objects.create(balance=1)

    def save():
        with transaction.atomic():
            account.save()
            proxy.cut("SELECT", is_delivered=True)
            Account.objects.get()

    with pytest.raises(OperationalError) as caught:
        save()

    assert not hasattr(caught.value, "may_be_committed")
    assert (account.version, stored(account.pk).version) == (1, 1)


def test_a_connection_known_to_be_lost_leaves_nothing_unknown(proxy):
    """Swallowed, the loss is noticed when COMMIT can't be sent."""
    account = Account.objects.create(balance=1)

    def save():
        with transaction.atomic():
            account.save()
            proxy.cut("SELECT", is_delivered=True)
            with pytest.raises(OperationalError):
                Account.objects.get()

    with pytest.raises(Error) as caught:
        save()

    if connection.vendor == "postgresql":  # MySQL's drivers don't tell
        assert not hasattr(caught.value, "may_be_committed")
    assert (account.version, stored(account.pk).version) == (1, 1)


def test_a_conflict_at_commit_is_not_unknown(postgresql):
    from psycopg import IsolationLevel

    serializable = {"isolation_level": IsolationLevel.SERIALIZABLE}
    settings = {**postgresql.settings, "OPTIONS": serializable}
    with databases(default=settings, other=settings):
        make_tables()
        for _ in range(2):
            Account.objects.create(balance=1)

        def skew():
            with transaction.atomic(), transaction.atomic(using="other"):
                for alias in ("default", "other"):
                    sum(row.balance for row in Account.objects.using(alias).all())
                Account.objects.using("default").first().save()
                Account.objects.using("other").last().save(using="other")

        with pytest.raises(OperationalError) as caught:
            skew()

    assert is_conflict(caught.value)
    assert not hasattr(caught.value, "may_be_committed")


@pytest.fixture
def entries(proxy):
    return Entries(Ledger.objects.create().pk)


def kill_a_connection(server, dice):
    """End one of the connections to Django's database."""
    others, kill = {
        "PostgreSQL": (
            "SELECT pid FROM pg_stat_activity WHERE datname = 'optilock'",
            "SELECT pg_terminate_backend({})",
        ),
        "MariaDB": (
            "SELECT id FROM information_schema.processlist WHERE db = 'optilock'",
            "KILL {}",
        ),
    }[type(server).__name__]
    if numbers := sorted(number for [number] in server.execute(others)):
        with suppress(Exception):  # it has gone by itself
            server.execute(kill.format(dice.choice(numbers)))


def test_killed_connections_lose_nothing_and_do_nothing_twice(server, entries):
    dice = random.Random(1)

    def kill():
        for _ in going_on(5, lambda: len(entries.lost) > 20):
            time.sleep(dice.uniform(0, 0.05))
            kill_a_connection(server, dice)

    entries.race(6, kill)
    entries.audit()
    assert len(entries.lost) > 20


def test_answers_lost_at_any_time_lose_nothing_and_do_nothing_twice(proxy, entries):
    dice = random.Random(1)

    def cut():
        for _ in going_on(5, lambda: len(entries.unknown) > 20):
            time.sleep(dice.uniform(0, 0.05))
            word = dice.choice(["COMMIT", "AUTOCOMMIT", "UPDATE", "SAVEPOINT"])
            proxy.cut(word, is_delivered=dice.random() < 0.5)

    entries.race(6, cut)
    entries.audit()
    assert len(entries.unknown) > 20


def test_a_server_that_is_restarted_loses_nothing(server, entries):
    def restart():
        for end in server.stop, server.kill:
            time.sleep(1)
            end()
            time.sleep(0.2)
            server.start()
        time.sleep(1)

    entries.race(6, restart)
    entries.audit()
    assert entries.lost


def test_a_standby_takes_over_and_nothing_is_lost(replicated_at_once):
    primary, standby = replicated_at_once
    proxy = Proxy(primary.port)
    settings = {**primary.settings, "PORT": proxy.port}
    with databases(default=settings, standby=standby.settings):
        make_tables()
        entries = Entries(Ledger.objects.create().pk)

        def fail_over():
            time.sleep(2)
            primary.kill()
            standby.promote()
            proxy.target = standby.port
            time.sleep(2)

        entries.race(6, fail_over)
        entries.audit("standby")
    proxy.close()
    assert entries.lost
