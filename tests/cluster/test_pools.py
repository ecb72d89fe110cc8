"""Connections that are pooled, shared or kept: who has which, optilock needn't know."""

from __future__ import annotations

import time

import pytest
from django.db import close_old_connections, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from testapp.models import Account, Ledger

from cluster.aliases import databases, make_tables
from cluster.conftest import running
from cluster.entries import Entries
from optilock import RecordModifiedError, retry_on_conflict
from optilock.testing import provoke_conflicts


@pytest.fixture(scope="package")
def pgbouncer(postgresql):
    """A pool in front of the server, in transaction mode."""
    from cluster.postgresql import PgBouncer

    with running(lambda keep: keep(PgBouncer(postgresql))) as bouncer:
        yield bouncer


def django_pool(request, settings):
    pytest.importorskip("psycopg_pool", reason="psycopg-pool isn't installed")
    return {**settings, "OPTIONS": {"pool": {"min_size": 2, "max_size": 4}}}


def transaction_mode(request, settings):
    bouncer = request.getfixturevalue("pgbouncer")
    return {**bouncer.settings, "DISABLE_SERVER_SIDE_CURSORS": True}


def kept(request, settings):
    return {**settings, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


def bound_by_the_server(request, settings):
    return {**settings, "OPTIONS": {"server_side_binding": True}}


def prepared(request, settings):
    return {**settings, "OPTIONS": {"prepare_threshold": 0}}


POOLS = [django_pool, transaction_mode, kept, bound_by_the_server, prepared]


@pytest.fixture(params=POOLS, ids=lambda pool: pool.__name__)
def pooled(request, postgresql):
    """Django's default database, its connections pooled in some way."""
    settings = request.param(request, postgresql.settings)
    with databases(default=settings):
        make_tables()
        yield request.param


def test_races_lose_nothing(pooled):
    entries = Entries(Ledger.objects.create().pk)
    # What a request does at its end: the next one may get another connection.
    write = entries.write

    def write_as_a_request(entry, dice):
        write(entry, dice)
        if pooled is django_pool:
            connections["default"].close()
        close_old_connections()

    entries.write = write_as_a_request
    entries.race(4, lambda: time.sleep(3))
    entries.audit()


def test_a_number_goes_back_with_the_rollback(pooled):
    account = Account.objects.create()
    with transaction.atomic():
        account.save()
        account.save(update_fields=["balance"])
        assert account.version == 3
        transaction.set_rollback(True)
    assert account.version == 1
    connections["default"].close()  # back into the pool
    Account.objects.get().save()
    with pytest.raises(RecordModifiedError):
        account.save()


def test_a_statement_that_was_learnt_is_sent_on_another_connection(pooled):
    account = Account.objects.create()
    for version in range(2, 8):
        account.save(update_fields=["owner"])
        account.save(update_fields=["balance"])
        connections["default"].close()
        assert Account.objects.get().version == account.version == 2 * version - 1


def test_a_hot_row_is_locked_in_being_read_on_another_connection(pooled):
    account = Account.objects.create(balance=0)

    @retry_on_conflict
    def deposit(account_id):
        found = Account.objects.get(pk=account_id)
        found.balance += 1
        found.save()

    with provoke_conflicts(Account):
        deposit(account.pk)
    for balance in range(2, 5):
        connections["default"].close()
        with CaptureQueriesContext(connection) as queries:
            deposit(account.pk)
        sent = [query["sql"].split()[0] for query in queries]
        assert sent == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
        assert "UPDATE" in queries[1]["sql"]
        account.refresh_from_db()
        assert (account.balance, account.version) == (balance, balance + 1)
