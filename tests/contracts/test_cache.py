"""django-cachalot: what is cached is never older than what was written."""

from __future__ import annotations

import pytest
from django.db import connection

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

if not CHOSEN or NAME != "cachalot":
    pytest.skip("about django-cachalot", allow_module_level=True)

from contracts.models import Item

# It caches nothing in a transaction that has written.
pytestmark = pytest.mark.django_db(transaction=True)


def cached():
    return list(Item.objects.order_by("pk").values_list("name", "version"))


def save(item):
    item.name = "new"
    item.save()


def save_update_fields(item):
    item.name = "new"
    item.save(update_fields=["name"])


def merge(item):
    item.name = "new"
    item.save(on_conflict="merge")


def touch(item):
    item.touch()


def delete(item):
    item.delete()


def update(item):
    Item.objects.update(name="new")


def bulk_update(item):
    item.name = "new"
    Item.objects.bulk_update([item], ["name"])


def update_or_create(item):
    Item.objects.update_or_create(pk=item.pk, defaults={"name": "new"})


def upsert(item):
    target = {}
    if connection.features.supports_update_conflicts_with_target:
        target["unique_fields"] = ["pk"]
    new = Item(pk=item.pk, name="new")
    Item.objects.bulk_create(
        [new], update_conflicts=True, update_fields=["name"], **target
    )


@pytest.mark.parametrize(
    "write",
    [
        save,
        save_update_fields,
        merge,
        touch,
        delete,
        update,
        bulk_update,
        update_or_create,
        upsert,
    ],
)
def test_a_write_is_seen_at_once(write, django_assert_num_queries):
    item = Item.objects.create(name="old")
    assert cached() == [("old", 1)]
    with django_assert_num_queries(0):
        assert cached() == [("old", 1)]
    write(Item.objects.get())
    name = "old" if write is touch else "new"
    assert cached() == ([] if write is delete else [(name, 2)])
    if write is not delete:
        with pytest.raises(RecordModifiedError):
            item.save()
    assert cached() == ([] if write is delete else [(name, 2)])


def test_a_conflict_tells_what_is_in_the_row():
    item, same = Item.objects.create(name="old"), Item.objects.get()
    same.number = 5
    same.save()
    item.name = "mine"
    with pytest.raises(RecordModifiedError) as info:
        item.save()
    assert info.value.current_version == 2
    assert info.value.conflict["number"].theirs == 5
