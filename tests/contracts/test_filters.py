"""django-filter: a set of filters over a versioned queryset."""

from __future__ import annotations

import pytest

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError, VersionedQuerySet

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "django_filters":
    pytest.skip("about django-filter", allow_module_level=True)

import django_filters  # noqa: E402 -- only where it is

from contracts.models import Item  # noqa: E402


class ItemFilter(django_filters.FilterSet):
    class Meta:
        model = Item
        fields = ["name", "number"]


def test_what_is_filtered_is_still_versioned():
    for number in range(3):
        Item.objects.create(name="a", number=number)
    found = ItemFilter({"name": "a", "number": 1}, queryset=Item.objects.all()).qs
    assert isinstance(found, VersionedQuerySet)
    item = Item.objects.get(number=1)
    assert found.update(name="b") == 1
    with pytest.raises(RecordModifiedError):
        item.save()


def test_the_version_is_no_filter_unless_it_is_named():
    assert "version" not in ItemFilter.base_filters

    class All(django_filters.FilterSet):
        class Meta:
            model = Item
            fields = ["version"]

    Item.objects.create(name="a", version=7)
    assert All({"version": 7}, queryset=Item.objects.all()).qs.count() == 1
