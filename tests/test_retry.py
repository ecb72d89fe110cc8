from __future__ import annotations

import pytest
from factories import AccountFactory
from testapp.models import Account

from optilock import RecordModifiedError, retry_on_conflict
from optilock.retry import skipped_waits


@pytest.fixture
def waits():
    token = skipped_waits.set([])
    yield skipped_waits.get()
    skipped_waits.reset(token)


def collide(account):
    """Somebody else is faster."""
    Account.objects.filter(pk=account.pk).update(owner="somebody else")


@pytest.mark.django_db(transaction=True)
def test_a_conflict_is_retried(waits):
    pk = AccountFactory().pk
    calls = []

    @retry_on_conflict
    def deposit(amount):
        account = Account.objects.get(pk=pk)
        calls.append(amount)
        if len(calls) < 3:
            collide(account)
        account.balance += amount
        account.save()
        return account.balance

    assert deposit(5) == 105
    assert len(calls) == 3
    assert len(waits) == 2


@pytest.mark.django_db(transaction=True)
def test_the_last_conflict_is_raised(waits):
    account = AccountFactory()
    collide(account)
    calls = []

    @retry_on_conflict(attempts=4)
    def deposit():
        calls.append(1)
        account.save()

    with pytest.raises(RecordModifiedError) as caught:
        deposit()
    assert len(calls) == 4
    assert len(waits) == 3
    assert caught.value.retry_history.attempts == 4
