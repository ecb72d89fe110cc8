"""Many objects, touched by one statement."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from factories import AccountFactory
from testapp.models import Account, Restaurant

from optilock import RecordDeletedError, RecordModifiedError

pytestmark = pytest.mark.django_db


@pytest.fixture
def accounts():
    return AccountFactory.create_batch(3)


def versions():
    return [*Account.objects.order_by("pk").values_list("version", flat=True)]


def test_all_are_touched_by_one_statement(accounts):
    with CaptureQueriesContext(connection) as captured:
        assert Account.objects.bulk_update(iter(accounts), ["version"]) == 3
    assert sum(query["sql"].startswith("UPDATE") for query in captured) == 1
    assert not any(query["sql"].startswith("SELECT") for query in captured)
    assert versions() == [account.version for account in accounts] == [2, 2, 2]
    accounts[0].save()
    assert versions() == [3, 2, 2]


def test_none_is_touched_if_one_is_stale_and_all_of_those_are_named(accounts):
    Account.objects.get(pk=accounts[0].pk).save()
    Account.objects.filter(pk=accounts[2].pk).delete()
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(accounts, ["version"])
    found = [(row.instance, row.current_version) for row in caught.value.conflicts]
    assert found == [(accounts[0], 2), (accounts[2], None)]
    assert [account.version for account in accounts] == [1, 1, 1]
    assert versions() == [2, 1]


def test_what_was_touched_is_put_back_with_the_transaction(accounts):
    with transaction.atomic():
        Account.objects.bulk_update(accounts, ["version"])
        transaction.set_rollback(True)
    assert versions() == [account.version for account in accounts] == [1, 1, 1]


def test_what_was_changed_meanwhile_is_not_deleted(accounts):
    keys = [account.pk for account in accounts]

    def delete():
        with transaction.atomic():
            Account.objects.bulk_update(accounts, ["version"])
            Account.objects.filter(pk__in=keys).delete()

    newer = Account.objects.get(pk=keys[1])
    newer.save()
    with pytest.raises(RecordModifiedError):
        delete()
    assert Account.objects.count() == 3
    accounts[1] = newer
    delete()
    assert not Account.objects.exists()
    with pytest.raises(RecordDeletedError):
        Account.objects.bulk_update(accounts, ["version"])


def test_rows_of_several_tables_are_touched_where_the_version_is():
    restaurants = [Restaurant.objects.create(), Restaurant.objects.create()]
    Restaurant.objects.bulk_update(restaurants, ["version"])
    assert {*Restaurant.objects.values_list("version", flat=True)} == {2}
