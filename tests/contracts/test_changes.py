"""Packages that know what changed since an instance was loaded."""

from __future__ import annotations

import pytest
from django.db import transaction

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or "test_changes" not in CHOSEN.own:
    pytest.skip("about what changed", allow_module_level=True)

from contracts.models import MODELS  # noqa: E402 -- only where there are any

BOTH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
dirtyfields = pytest.mark.skipif(NAME != "dirtyfields", reason="django-dirtyfields")
lifecycle = pytest.mark.skipif(NAME != "django_lifecycle", reason="django-lifecycle")


@pytest.fixture
def pair(model):
    model.objects.create(name="old")
    return model.objects.get(), model.objects.get()


@dirtyfields
@BOTH
def test_what_is_dirty_is_saved_and_checked(model, pair):
    mine, theirs = pair
    mine.name = "mine"
    assert mine.get_dirty_fields() == {"name": "old"}
    mine.save_dirty_fields()
    assert mine.get_dirty_fields() == {}
    assert model.objects.values_list("name", "version").get() == ("mine", 2)
    theirs.note = "theirs"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        theirs.save_dirty_fields()
    assert theirs.get_dirty_fields() == {"note": ""}


@dirtyfields
@BOTH
def test_nothing_is_dirty_after_a_merge(model, pair):
    mine, theirs = pair
    theirs.note = "theirs"
    theirs.save()
    mine.name = "mine"
    mine.save(on_conflict="merge")
    assert not mine.is_dirty()
    assert model.objects.values_list("name", "note").get() == ("mine", "theirs")


@lifecycle
@BOTH
def test_hooks_run_for_a_save_and_not_for_a_refused_one(model, pair):
    mine, theirs = pair
    theirs.name = "theirs"
    theirs.save()
    assert (theirs.note, theirs.told) == ("was old", ["theirs"])
    mine.name = "mine"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    assert not hasattr(mine, "told")
    assert model.objects.values_list("name", "note").get() == ("theirs", "was old")


@lifecycle
@BOTH
def test_hooks_run_once_for_a_save_that_merges(model, pair):
    mine, theirs = pair
    model.objects.filter(pk=theirs.pk).update(version=5)
    mine.name = "mine"
    mine.save(on_conflict="merge")
    assert mine.told == ["mine"]
    found = model.objects.values_list("name", "note", "version").get()
    assert found == ("mine", "was old", 6)
