"""Rows that django-safedelete and django-model-utils only mark as deleted."""

from __future__ import annotations

import pytest
from django.db import transaction
from pages import Page

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or "test_soft_deletes" not in CHOSEN.own:
    pytest.skip("about soft deletes", allow_module_level=True)

from contracts.models import MODELS  # noqa: E402 -- only where there are any

BOTH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
GONE = "deleted" if NAME == "safedelete" else "is_removed"


@pytest.fixture
def row(model):
    return model.objects.create(name="old")


@BOTH
def test_a_deleted_row_is_hidden_from_objects_only(model, row):
    row.delete()
    assert not model.objects.exists()
    found = model.all_objects.get()
    assert getattr(found, GONE)
    assert found.version >= 2


@BOTH
def test_whoever_holds_the_row_cannot_bring_it_back(model, row):
    mine = model.objects.get()
    row.delete()
    mine.name = "mine"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    found = model.all_objects.get()
    assert (found.name, bool(getattr(found, GONE))) == ("old", True)


@BOTH
def test_a_queryset_that_deletes_makes_holders_stale(model, row):
    mine = model.objects.get()
    model.objects.all().delete()
    assert not model.objects.exists()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    assert not model.objects.exists()


@BOTH
def test_a_row_can_be_brought_back(model, row):
    row.delete()
    if NAME == "safedelete":
        model.deleted_objects.get().undelete()
    else:
        model.all_objects.update(is_removed=False)
    assert model.objects.get().version >= 3


@BOTH
def test_a_row_can_really_be_deleted(model, row):
    stale = model.objects.get()
    row.save()
    if NAME == "safedelete":
        from safedelete import HARD_DELETE

        hard = {"force_policy": HARD_DELETE}
    else:
        hard = {"soft": False}
    with pytest.raises(RecordModifiedError), transaction.atomic():
        stale.delete(**hard)
    row.delete(**hard)
    assert not model.all_objects.exists()


@BOTH
def test_its_other_managers_show_what_they_always_do(model, row):
    model.objects.create(name="here")
    row.delete()
    assert model.all_objects.count() == 2
    if NAME == "safedelete":
        assert [one.name for one in model.deleted_objects.all()] == ["old"]
    else:
        assert [one.name for one in model.available_objects.all()] == ["here"]


safedelete = pytest.mark.skipif(NAME != "safedelete", reason="django-safedelete")


@safedelete
@BOTH
@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_the_admin_asks_before_it_brings_a_row_back(model, row, ann, choice):
    page = Page.change(ann, row)
    model.objects.get().delete()
    version = model.all_objects.get().version
    asked = page.save(name="mine")
    assert not asked.redirects
    assert "Deleted" in asked.panel
    assert model.all_objects.get().version == version
    assert not asked.save().redirects
    assert asked.save(optilock_decision_deleted=choice).redirects
    found = model.all_objects.get()
    if choice == "mine":
        assert (found.name, found.deleted) == ("mine", None)
    else:
        assert (found.name, found.version) == ("old", version)
        assert found.deleted


@safedelete
@BOTH
def test_the_admin_asks_nothing_if_the_row_is_as_it_was(model, row, ann, bob):
    mine, theirs = Page.change(ann, row), Page.change(bob, row)
    assert theirs.save(note="theirs").redirects
    assert mine.save(name="mine").redirects
    found = model.objects.get()
    assert (found.name, found.note) == ("mine", "theirs")
