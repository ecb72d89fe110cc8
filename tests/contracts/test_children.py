"""django-polymorphic: rows as instances of their own classes."""

from __future__ import annotations

import pytest
from django.db import transaction

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "polymorphic":
    pytest.skip("about django-polymorphic", allow_module_level=True)

from contracts.models import Child, First, Last  # noqa: E402 -- only where they are


@pytest.fixture
def child():
    return Child.objects.create(name="old", number=1)


def test_the_managers_return_instances_of_the_childs_class(child):
    Last.objects.create(name="parent")
    assert [type(one) for one in Last.objects.order_by("pk")] == [Child, Last]
    assert Last.objects.instance_of(Child).get() == child
    First.objects.create(name="first")
    assert type(First.objects.get()) is First


def test_a_stale_child_overwrites_nothing(child):
    mine, theirs = Last.objects.get(), Last.objects.get()
    theirs.number = 2
    theirs.save()
    mine.number = 3
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    found = Child.objects.get()
    assert (found.number, found.version) == (2, 2)


def test_parent_and_child_are_one_row(child):
    Last.objects.non_polymorphic().get().save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        child.save()


def test_a_child_is_merged(child):
    mine, theirs = Last.objects.get(), Last.objects.get()
    theirs.name = "theirs"
    theirs.save()
    mine.number = 3
    mine.save(on_conflict="merge")
    found = Last.objects.get()
    assert (found.name, found.number, found.version) == ("theirs", 3, 3)


def test_updates_of_children_bump(child):
    Child.objects.update(number=7)
    with pytest.raises(RecordModifiedError), transaction.atomic():
        child.save()
    held = Child.objects.get()
    Last.objects.update(name="new")
    with pytest.raises(RecordModifiedError), transaction.atomic():
        held.delete()
    Child.objects.get().delete()
    assert not Last.objects.exists()


def test_only_and_defer_keep_the_version(child):
    for rows in (Last.objects.only("name"), Last.objects.defer("name", "version")):
        found = rows.get()
        found.note = "new"
        found.save()
