"""A standby that is behind, and a router that reads there."""

from __future__ import annotations

import time

import pytest
from django.db import transaction
from replicas import ReadsElsewhere
from testapp.models import Account

from cluster.aliases import databases, make_tables
from optilock import RecordModifiedError, retry_on_conflict
from optilock.signals import retried

LAG = 0.3


@pytest.fixture
def account(replicated):
    """A row that the standby has, too."""
    primary, standby = replicated
    with databases(
        ReadsElsewhere("replica"), default=primary.settings, replica=standby.settings
    ):
        make_tables()
        account = Account.objects.create(balance=0)
        standby.wait_for(primary)
        yield account


@retry_on_conflict
def deposit(account_id, amount):
    """The function of the README."""
    account = Account.objects.get(pk=account_id)
    account.balance += amount
    account.save()


def test_an_attempt_reads_where_it_writes(account):
    """Or it would lose to its own caller until the standby has caught up."""
    lost = []

    def note(error, **kwargs):
        lost.append(error)

    retried.connect(note, sender=deposit)
    for _ in range(20):
        deposit(account.pk, 1)
    assert Account.objects.using("default").get().balance == 20
    assert lost == []


def test_reading_from_the_replica_loses_nothing(account):
    """What was read there is checked where it is written."""
    reported = 0
    for _ in range(20):
        row = Account.objects.get(pk=account.pk)
        assert row._state.db == "replica"
        row.balance += 1
        try:
            row.save()
        except RecordModifiedError:
            time.sleep(LAG / 10)
        else:
            reported += 1
    assert 0 < reported < 20
    assert Account.objects.using("default").get().balance == reported


def test_a_conflict_says_that_the_row_was_read_from_the_replica(account):
    Account.objects.using("default").get().touch()
    late = Account.objects.get()
    with pytest.raises(RecordModifiedError, match="'replica'") as caught:
        late.save()
    assert "'default'" in str(caught.value)


def test_what_was_written_can_be_read_in_the_same_attempt(account):
    @retry_on_conflict
    def twice(pk):
        for _ in range(2):
            row = Account.objects.get(pk=pk)
            row.balance += 1
            row.save()

    for _ in range(5):
        twice(account.pk)
    assert Account.objects.using("default").get().balance == 10


def test_refresh_from_db_reads_where_the_attempt_writes(account):
    late = Account.objects.get()
    Account.objects.using("default").update(balance=5)

    @retry_on_conflict(attempts=1)
    def deposit_to(row):
        row.refresh_from_db()
        row.balance += 1
        row.save()

    deposit_to(late)
    assert Account.objects.using("default").get().balance == 6


def test_using_still_means_what_it_says(account):
    @retry_on_conflict
    def read_both():
        return [
            Account.objects.using(alias).get().balance
            for alias in ("replica", "default")
        ]

    Account.objects.using("default").update(balance=7)
    assert read_both() == [0, 7]


def test_outside_an_attempt_the_router_decides(account):
    deposit(account.pk, 1)
    assert Account.objects.all().db == "replica"
    with transaction.atomic():
        assert Account.objects.all().db == "replica"
