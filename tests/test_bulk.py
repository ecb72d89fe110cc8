from __future__ import annotations

import pytest
from factories import AccountFactory
from testapp.models import Account

pytestmark = pytest.mark.django_db


def test_bulk_update_writes_and_raises():
    accounts = AccountFactory.create_batch(3)
    for a in accounts:
        a.balance = a.pk
    assert Account.objects.bulk_update(accounts, ["balance", "owner"]) == 3
    assert [a.version for a in accounts] == [2, 2, 2]
    assert list(Account.objects.values_list("balance", "version").order_by("pk")) == [
        (a.pk, 2) for a in accounts
    ]
