"""A schema of PostgreSQL for each tenant: django-tenants sets the search path."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "django_tenants":
    pytest.skip("about django-tenants", allow_module_level=True)

from contracts.models import Item  # noqa: E402 -- only where it is


@contextmanager
def tenant(name):
    connection.set_schema(name)
    try:
        yield
    finally:
        connection.set_schema_to_public()


@pytest.fixture(autouse=True)
def tenants():
    with connection.cursor() as cursor:
        for name in ("one", "two"):
            cursor.execute(f"CREATE SCHEMA {name}")
            cursor.execute(
                f"CREATE TABLE {name}.contracts_item "
                f"(LIKE public.contracts_item INCLUDING ALL)"
            )


def make(number):
    for name in ("one", "two"):
        with tenant(name):
            Item.objects.create(pk=1, name=name, number=number)


def rows():
    found = []
    for name in ("one", "two"):
        with tenant(name):
            found.append(Item.objects.values_list("name", "number", "version").get())
    return found


@pytest.mark.parametrize("times", [1, 2])
def test_a_save_goes_to_the_tenants_own_row(times):
    make(0)
    for _ in range(times):  # the second one's text is known already
        for name in ("one", "two", "two"):
            with tenant(name):
                item = Item.objects.get()
                item.number += 1
                item.save()
    assert rows() == [("one", times, 1 + times), ("two", 2 * times, 1 + 2 * times)]


def test_a_stale_instance_is_refused_in_its_own_schema():
    make(0)
    with tenant("one"):
        stale = Item.objects.get()
        Item.objects.update(number=5)
        with pytest.raises(RecordModifiedError) as info, transaction.atomic():
            stale.save()
        assert info.value.conflict["number"].theirs == 5
    assert rows() == [("one", 5, 2), ("two", 0, 1)]


def test_many_at_once_and_upserts_too():
    make(0)
    with tenant("two"):
        item = Item.objects.get()
        item.number = 3
        Item.objects.bulk_update([item], ["number"])
        Item.objects.bulk_create(
            [Item(pk=1, name="two", number=4)],
            update_conflicts=True,
            update_fields=["number"],
            unique_fields=["pk"],
        )
    assert rows() == [("one", 0, 1), ("two", 4, 3)]
