"""Retries against real rivals, on every isolation level the database has."""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from django.db import (
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models import F, Sum
from factories import AccountFactory
from levels import LEVELS, VENDOR, connected
from testapp.models import Account

from optilock import retry_on_conflict
from optilock.signals import retried
from optilock.testing import no_waiting

pytestmark = [pytest.mark.race, pytest.mark.django_db(transaction=True)]


def race(count, work, options):
    """Run work(0), work(1) ... in a thread each; raise what one of them raises."""
    errors = []
    start = threading.Barrier(count)

    def run(number):
        try:
            with connected(options):
                connection.ensure_connection()
                start.wait()
                work(number)
        except BaseException as error:
            start.abort()
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    with connected(options):
        # SQLite's journal is another one from here on: to change it, many at once,
        # isn't waited for.
        connection.ensure_connection()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in errors:
        raise error


@pytest.fixture(autouse=True)
def journal():
    """Leave SQLite's file in the mode it was in."""
    yield
    if VENDOR == "sqlite3":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = delete")


@pytest.mark.parametrize("level", LEVELS)
def test_no_increment_is_lost_and_nobody_gives_up(level):
    pk = AccountFactory(balance=0).pk

    @retry_on_conflict
    def increment(pk):
        account = Account.objects.get(pk=pk)
        account.balance += 1
        account.save()

    race(8, lambda _: [increment(pk) for _ in range(50)], LEVELS[level])

    account = Account.objects.get(pk=pk)
    assert (account.balance, account.version) == (400, 401)


@pytest.mark.parametrize("level", LEVELS)
def test_transfers_in_both_directions_keep_the_total(level):
    pks = [account.pk for account in AccountFactory.create_batch(5)]
    # PostgreSQL may end whoever has read a page on which others write, and all five
    # are on one: a lock on the rows keeps nobody from that.
    is_by_page = (VENDOR, level) == ("postgresql", "SERIALIZABLE")

    @retry_on_conflict(attempts=30 if is_by_page else 10)
    def transfer(source_pk, target_pk, amount):
        source = Account.objects.get(pk=source_pk)
        target = Account.objects.get(pk=target_pk)
        source.balance -= amount
        source.save()
        target.balance += amount
        target.save()

    def work(seed):
        choose = random.Random(seed)
        for _ in range(15):
            transfer(*choose.sample(pks, 2), amount=choose.randint(1, 10))

    race(8, work, LEVELS[level])

    totals = Account.objects.aggregate(Sum("balance"), Sum("version"))
    assert totals == {"balance__sum": 500, "version__sum": 5 + 8 * 15 * 2}


@pytest.mark.skipif(VENDOR != "postgresql", reason="only PostgreSQL finds it at COMMIT")
def test_a_serialization_failure_at_commit_is_retried():
    mine, other = AccountFactory.create_batch(2)
    returned = []

    def both():
        return {account.pk: account for account in Account.objects.all()}

    def write_other():
        accounts = both()
        accounts[other.pk].balance = accounts[mine.pk].balance + 1
        accounts[other.pk].save()

    @retry_on_conflict
    def write_mine():
        accounts = both()
        accounts[mine.pk].balance = accounts[other.pk].balance + 1
        accounts[mine.pk].save()
        if not returned:
            # Has read what we wrote, as we have read what it writes.
            rival = retry_on_conflict(write_other)
            race(1, lambda _: rival(), LEVELS["SERIALIZABLE"])
        returned.append(accounts[other.pk].balance)

    with connected(LEVELS["SERIALIZABLE"]):
        write_mine()

    assert returned == [100, 101]
    assert Account.objects.get(pk=mine.pk).balance == 102


@pytest.mark.skipif(VENDOR != "postgresql", reason="only PostgreSQL finds it at COMMIT")
@pytest.mark.parametrize("attempts", [None, 10])
def test_who_loses_at_commit_is_patient_unless_told_how_often(attempts):
    """No row lock helps there, as in a cluster where each server has its own locks."""
    mine, other = AccountFactory.create_batch(2)
    calls = []

    def both():
        return {account.pk: account for account in Account.objects.all()}

    @retry_on_conflict
    def write_other():
        accounts = both()
        accounts[other.pk].balance += accounts[mine.pk].balance
        accounts[other.pk].save()

    @retry_on_conflict(attempts=attempts)
    def write_mine():
        accounts = both()
        accounts[mine.pk].balance = len(calls)
        accounts[mine.pk].save()
        calls.append(1)
        if len(calls) <= 12:
            race(1, lambda _: write_other(), LEVELS["SERIALIZABLE"])

    with connected(LEVELS["SERIALIZABLE"]), no_waiting() as waits:
        if attempts is None:
            write_mine()
        else:
            with pytest.raises(OperationalError):
                write_mine()
    assert len(calls) == (attempts or 13)
    if attempts is None:
        assert Account.objects.get(pk=mine.pk).balance == 12
        assert max(waits) > 0.1  # beyond the cap


@pytest.mark.skipif(VENDOR != "sqlite3", reason="only SQLite is busy at COMMIT")
def test_a_busy_database_at_commit_is_retried():
    pk = AccountFactory().pk
    reading = connections.create_connection("default")
    calls = []

    @retry_on_conflict
    def deposit():
        account = Account.objects.get(pk=pk)
        account.balance += 1
        account.save()
        calls.append(1)
        if len(calls) == 1:
            # Who reads keeps the journal from being written back.
            reading.cursor().execute("BEGIN")
            reading.cursor().execute("SELECT * FROM testapp_account").fetchone()
        else:
            reading.close()

    with connected({"transaction_mode": "DEFERRED", "timeout": 0.01}):
        deposit()
    assert len(calls) == 2
    assert Account.objects.get(pk=pk).balance == 101


@pytest.mark.skipif(VENDOR != "mysql", reason="a limit for waiting is MariaDB's")
def test_a_lock_not_obtained_in_time_is_retried():
    pk = AccountFactory().pk
    holding = connections.create_connection("default")
    holding.set_autocommit(False)
    holding.cursor().execute("SELECT id FROM testapp_account FOR UPDATE")
    codes = []

    def release(error, **kwargs):
        codes.append(error.args[0])
        holding.close()

    @retry_on_conflict
    def deposit():
        account = Account.objects.get(pk=pk)
        account.balance += 1
        account.save()

    retried.connect(release)
    try:
        with connected({"init_command": "SET innodb_lock_wait_timeout = 1"}):
            deposit()
    finally:
        retried.disconnect(release)
        holding.close()
    assert codes == [1205]
    assert Account.objects.get(pk=pk).balance == 101


@pytest.mark.skipif(VENDOR == "sqlite3", reason="SQLite has one lock, and no deadlocks")
@pytest.mark.parametrize("first", [0, 1])
def test_a_deadlock_is_retried(first):
    pks = [account.pk for account in AccountFactory.create_batch(2)]
    both_have_one = threading.Barrier(2)
    calls = []

    @retry_on_conflict
    def write_both(order):
        calls.append(order)
        accounts = Account.objects.in_bulk(pks)
        accounts[order[0]].balance += 1
        accounts[order[0]].save()
        if len(calls) <= 2:
            both_have_one.wait(10)
        accounts[order[1]].balance += 1
        accounts[order[1]].save()

    orders = [pks, pks[::-1]]
    race(2, lambda n: write_both(orders[n ^ first]), LEVELS["READ_COMMITTED"])
    assert len(calls) > 2
    assert [account.balance for account in Account.objects.all()] == [102, 102]


def somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
            if VENDOR == "postgresql"
            else "SELECT count(*) FROM information_schema.innodb_trx"
            " WHERE trx_state = 'LOCK WAIT'"
        )
        return cursor.fetchone()[0] > 0


@pytest.mark.skipif(VENDOR == "sqlite3", reason="SQLite has one lock, and no deadlocks")
def test_who_yields_in_a_deadlock_while_it_queues_up_has_not_used_up_an_attempt():
    first, second, *others = AccountFactory.create_batch(12)
    # PostgreSQL ends whoever looks for the deadlock first, MariaDB who wrote least.
    patient = hurried = LEVELS["READ_COMMITTED"]
    if VENDOR == "postgresql":
        hurried = {**patient, "options": "-c deadlock_timeout=500ms"}
        patient = {**patient, "options": "-c deadlock_timeout=60s"}
    has_second = threading.Event()
    calls, rivals = [], []

    def write_the_other_way_round():
        with connected(patient), transaction.atomic():
            for other in others:
                other.save()
            Account.objects.filter(pk=second.pk).update(balance=F("balance") + 10)
            has_second.set()
            while not somebody_waits_for_a_lock():
                time.sleep(0.2)  # MariaDB looks again after 0.1 s
            Account.objects.filter(pk=first.pk).update(balance=F("balance") + 10)

    def start_rival(**kwargs):
        rivals.append(threading.Thread(target=write_the_other_way_round))
        rivals[0].start()
        assert has_second.wait(10)

    @retry_on_conflict(attempts=2)
    def write_both():
        calls.append(1)
        accounts = list(Account.objects.filter(pk__in=[first.pk, second.pk]))
        for account in accounts:
            account.balance += 1
        if len(calls) == 1:
            rewrite = Account.objects.filter(pk__in=[first.pk, second.pk]).update
            race(1, lambda _: rewrite(owner="Somebody else"), hurried)
        Account.objects.bulk_update(accounts, ["balance"])

    retried.connect(start_rival)
    try:
        with connected(hurried):
            write_both()
    finally:
        retried.disconnect(start_rival)
        for rival in rivals:
            rival.join()

    assert len(calls) == 2
    assert [Account.objects.get(pk=a.pk).balance for a in (first, second)] == [111, 111]


@pytest.mark.skipif(VENDOR == "sqlite3", reason="readers make SQLite busy at COMMIT")
@pytest.mark.parametrize(
    "level", [level for level in LEVELS if level != "SERIALIZABLE"]
)
def test_the_same_row_is_not_lost_twice(level):
    # Not even where a transaction that has its snapshot reads the old row for ever.
    # At SERIALIZABLE readers of the row may make one fail as well.
    pk = AccountFactory(balance=0).pk

    @retry_on_conflict(attempts=2)
    def increment(pk):
        account = Account.objects.get(pk=pk)
        account.balance += 1
        account.save()

    race(8, lambda _: [increment(pk) for _ in range(25)], LEVELS[level])
    assert Account.objects.get(pk=pk).balance == 200


@pytest.mark.parametrize("level", LEVELS)
def test_who_passes_objects_that_were_loaded_before_pays_once(level):
    """Each has a purse of its own, all fight for one till."""
    purses = AccountFactory.create_batch(6, balance=100)
    till = AccountFactory(balance=0)

    @retry_on_conflict(attempts=50)
    def pay(purse, till_pk):
        purse.balance -= 10
        purse.save()
        till = Account.objects.get(pk=till_pk)
        till.balance += 10
        till.save()

    def work(number):
        for _ in range(5):
            pay(Account.objects.get(pk=purses[number].pk), till.pk)

    race(6, work, LEVELS[level])

    assert Account.objects.get(pk=till.pk).balance == 6 * 5 * 10
    assert [Account.objects.get(pk=purse.pk).balance for purse in purses] == [50] * 6


class Proxy:
    """Stands between a client and the server, and keeps one answer to itself."""

    def __init__(self, host, port, cut_after):
        self.server = (host, port)
        self.cut_after = re.compile(rb"\b%s\b" % cut_after)
        self.is_cut = False
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.create_connection(self.server)
                threading.Thread(
                    target=self.serve, args=(client, server), daemon=True
                ).start()

    def serve(self, client, server):
        with client, server, suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is server:
                        client.sendall(data)
                        continue
                    server.sendall(data)
                    if self.cut_after.search(data) and not self.is_cut:
                        self.is_cut = True
                        server.recv(1 << 16)  # it has done what it was told
                        return

    def close(self):
        self.listening.close()


@contextmanager
def connected_through(proxy):
    """Use a connection through the proxy, in clear text."""
    before = connections["default"]
    behind = connections.create_connection("default")
    plain = {"sslmode": "disable"} if VENDOR == "postgresql" else {}
    behind.settings_dict = {
        **behind.settings_dict,
        "HOST": "127.0.0.1",
        "PORT": proxy.port,
        "OPTIONS": {**behind.settings_dict["OPTIONS"], **plain},
    }
    connections["default"] = behind
    try:
        yield
    finally:
        behind.close()
        connections["default"] = before


@pytest.mark.skipif(VENDOR == "sqlite3", reason="SQLite has no answers to lose")
@pytest.mark.parametrize(
    ("lost", "calls"), [(b"COMMIT", 1), (b"UPDATE", 2)], ids=["COMMIT", "UPDATE"]
)
def test_a_commit_whose_answer_was_lost_is_not_done_again(lost, calls):
    pk = AccountFactory(balance=100).pk
    address = connection.settings_dict
    default = {"postgresql": 5432, "mysql": 3306}[VENDOR]
    proxy = Proxy(address["HOST"], int(address["PORT"] or default), lost)
    called = []

    @retry_on_conflict(retry_on=(OperationalError, InterfaceError))
    def deposit(pk):
        called.append(pk)
        account = Account.objects.get(pk=pk)
        account.balance += 10
        account.save()

    try:
        with connected_through(proxy):
            if lost == b"COMMIT":
                with pytest.raises((OperationalError, InterfaceError)):
                    deposit(pk)
            else:
                deposit(pk)  # the database has rolled back, and this is known
    finally:
        proxy.close()

    assert proxy.is_cut
    assert len(called) == calls
    assert Account.objects.get(pk=pk).balance == 110


WORKER = """
import json, os, sys, time
import django
from django.conf import settings

name, source, target = json.loads(sys.argv[1])
settings.DATABASES["default"]["NAME"] = name
django.setup()

from testapp.models import Account
from optilock import retry_on_conflict

@retry_on_conflict
def transfer():
    accounts = Account.objects.in_bulk([source, target])
    accounts[source].balance -= 1
    accounts[source].save()
    accounts[target].balance += 1
    accounts[target].save()

while True:
    transfer()
    os.write(1, b".")
    time.sleep(0.005)  # or SQLite, which has no queue, lets nobody else in
"""


def test_workers_that_are_killed_leave_nothing_half_done():
    pks = [account.pk for account in AccountFactory.create_batch(2, balance=0)]
    name = str(connection.settings_dict["NAME"])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
        "DJANGO_SETTINGS_MODULE": "testapp.settings",
        "PGOPTIONS": "-c deadlock_timeout=20ms",
    }
    workers = [
        subprocess.Popen(  # noqa: S603 -- this file's own code
            [sys.executable, "-c", WORKER, json.dumps([name, *order])],
            env=environment,
            stdout=subprocess.PIPE,
        )
        for order in (pks, pks, pks[::-1])
    ]
    reported = []
    for worker in workers:
        # Some way into its work, at any point of an attempt.
        reported.append(len(worker.stdout.read(random.randint(3, 8))))
        worker.send_signal(signal.SIGKILL)
    for number, worker in enumerate(workers):
        reported[number] += len(worker.stdout.read())
        assert worker.wait() == -signal.SIGKILL
        worker.stdout.close()

    @retry_on_conflict
    def deposit():
        account = Account.objects.get(pk=pks[0])
        account.balance += 0
        account.save()

    deposit()  # nobody holds a lock any more

    first, second = Account.objects.order_by("pk")
    assert first.balance + second.balance == 0
    # Who was killed may have committed a transfer it couldn't report.
    committed = second.version - 1
    assert first.version - 2 == committed
    assert sum(reported) <= committed <= sum(reported) + len(workers)
