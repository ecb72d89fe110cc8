from __future__ import annotations

import random
import time
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
from testapp.models import Account, CompositeKey, StringKey, Unlocked, UUIDKey

from optilock import RecordModifiedError
from optilock.retry.locking import LostRow, _sorted_keys, lock_rows, lost_rows


def row(pk):
    return LostRow("default", Account, pk)


needs_row_locks = pytest.mark.skipif(
    "not __import__('django.db').db.connection.features.has_select_for_update",
    reason="the database has no row locks",
)


def locks(rows):
    """Return the statements that lock the rows, and the seconds of CPU they take."""
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        before = time.process_time()
        lock_rows(rows)
        seconds = time.process_time() - before
    return [query["sql"] for query in queries], seconds


@needs_row_locks
@pytest.mark.django_db
@pytest.mark.parametrize("model", [Account, CompositeKey])
def test_ten_thousand_rows_are_locked_quickly_and_in_order(model):
    keys = range(1, 10_001)
    if model is CompositeKey:
        model.objects.bulk_create(
            [model(tenant=key % 3, number=key, name="") for key in keys]
        )
        keys = [(key % 3, key) for key in keys]
    else:
        model.objects.bulk_create([model(pk=key) for key in keys])
    keys = list(keys)
    random.shuffle(keys)
    statements, seconds = locks({LostRow("default", model, key) for key in keys})
    assert seconds < 5  # 0.1 s, and three times that on a busy machine
    assert len(statements) == 10
    if model is Account:
        first = [statement.split(" IN (")[1].split(",")[0] for statement in statements]
        assert first == [str(1 + 1000 * number) for number in range(10)]


@needs_row_locks
@pytest.mark.django_db
def test_more_rows_than_that_are_not_locked():
    statements, _ = locks({row(pk) for pk in range(10_001)})
    assert statements == []


@needs_row_locks
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (Account, [7, "7", 8]),
        (UUIDKey, [UUID(int=1), str(UUID(int=1)), UUID(int=2)]),
        (StringKey, ["a", "a", "b"]),
        (CompositeKey, [(1, 2), (1, "2"), (2, 1)]),
    ],
)
def test_a_row_is_locked_once_whatever_its_key_is_made_of(model, keys):
    [statement], _ = locks([LostRow("default", model, key) for key in keys])
    found = statement.split(" IN ")[1].split(" ORDER BY ")[0]
    assert found.count(",") == (3 if model is CompositeKey else 1)


def test_an_error_about_a_row_without_a_version_names_none_to_lock():
    error = RecordModifiedError(
        instance=Unlocked(pk=7),
        using="default",
        expected_version=1,
        current_version=2,
    )
    assert lost_rows(error) == set()


class Mixed(models.Field):
    """A key whose values have no order among themselves."""

    def to_python(self, value):
        return value


@isolate_apps("testapp")
def test_keys_without_an_order_are_locked_in_one_all_the_same():
    class Keyed(models.Model):
        key = Mixed(primary_key=True)

        class Meta:
            app_label = "testapp"

    rows = [LostRow("default", Keyed, key) for key in (2, "a", None)]
    orders = [_sorted_keys(some)[1] for some in (rows, rows[::-1])]
    assert orders[0] == orders[1]
    assert set(orders[0]) == {(2,), ("a",), (None,)}
