"""django-pghistory, whose triggers record what a row was."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import transaction

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError
from optilock.checks import check_versioned_models

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "pghistory":
    pytest.skip("about django-pghistory", allow_module_level=True)

from contracts.models import Item  # noqa: E402 -- only where it is


@pytest.fixture(scope="module", autouse=True)
def triggers(django_db_setup, django_db_blocker):
    import pgtrigger

    with django_db_blocker.unblock():
        pgtrigger.install()


def events():
    model = apps.get_model("contracts", "ItemEvent")
    rows = model.objects.order_by("pgh_id")
    return list(rows.values_list("pgh_label", "name", "version"))


def test_each_write_is_recorded_once_with_its_version():
    item = Item.objects.create(name="old")
    item.name = "new"
    item.save()
    Item.objects.update(name="newer")
    assert events() == [
        ("insert", "old", 1),
        ("update", "new", 2),
        ("update", "newer", 3),
    ]


def test_a_refused_write_records_nothing():
    item = Item.objects.create(name="old")
    Item.objects.update(name="theirs")
    with pytest.raises(RecordModifiedError), transaction.atomic():
        item.save()
    with pytest.raises(RecordModifiedError):
        Item.objects.bulk_update([item], ["name"])
    assert [version for *_, version in events()] == [1, 2]


def test_many_at_once_are_recorded_one_by_one():
    items = Item.objects.bulk_create(Item(name=name) for name in "ab")
    Item.objects.bulk_update(items, ["name"])
    Item.objects.bulk_create(
        [Item(pk=items[0].pk, name="c")],
        update_conflicts=True,
        update_fields=["name"],
        unique_fields=["pk"],
    )
    assert sorted(events()) == [
        ("insert", "a", 1),
        ("insert", "b", 1),
        ("update", "a", 2),
        ("update", "b", 2),
        ("update", "c", 3),
    ]


def test_the_versions_in_the_record_are_plain_numbers():
    assert check_versioned_models(app_configs=[apps.get_app_config("contracts")]) == []
    event = apps.get_model("contracts", "ItemEvent")
    assert type(event._meta.get_field("version")).__name__ == "BigIntegerField"
