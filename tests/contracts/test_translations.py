"""Names in several languages: a column for each, or rows of their own."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.utils.translation import override
from pages import Page

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or "test_translations" not in CHOSEN.own:
    pytest.skip("about translations", allow_module_level=True)

from contracts.models import MODELS  # noqa: E402 -- only where there are any

BOTH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
parler = pytest.mark.skipif(NAME != "parler", reason="django-parler")
columns = pytest.mark.skipif(NAME == "parler", reason="django-modeltranslation")


@pytest.fixture
def row(model):
    if NAME == "parler":
        row = model.objects.create(name="row", title="old")
        row.set_current_language("de")
        row.title = "alt"
        row.save()
        return model.objects.get()
    return model.objects.create(name_en="old", name_de="alt")


def titles(model):
    found = model.objects.get()
    if NAME == "parler":
        rows = found.translations.order_by("language_code")
        return list(rows.values_list("title", flat=True))
    return [found.name_de, found.name_en]


@columns
@BOTH
def test_two_languages_are_merged_and_one_collides(model, row):
    mine, theirs = model.objects.get(), model.objects.get()
    with override("de"):
        theirs.name = "ihres"
        theirs.save()
    with override("en"):
        mine.name = "mine"
        mine.save(on_conflict="merge")
    assert titles(model) == ["ihres", "mine"]
    theirs.name_de = "neu"
    theirs.note = "theirs"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        theirs.save()
    theirs.save(on_conflict="merge")
    assert titles(model) == ["neu", "mine"]


@columns
@BOTH
def test_updates_in_a_language_bump(model, row):
    with override("de"):
        assert model.objects.filter(name="alt").update(name="neu") == 1
    assert titles(model) == ["neu", "old"]
    with pytest.raises(RecordModifiedError):
        model.objects.bulk_update([row], ["name_en"])


@parler
@BOTH
def test_a_stale_object_overwrites_no_translation(model, row):
    mine, theirs = model.objects.get(), model.objects.get()
    for one, title in ((theirs, "theirs"), (mine, "mine")):
        one.set_current_language("en")
        one.title = title
    theirs.save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    assert titles(model) == ["alt", "theirs"]


@parler
@BOTH
def test_its_querysets_know_translations_and_bump(model, row):
    found = model.objects.translated("de", title="alt")
    assert found.update(note="new") == 1
    with pytest.raises(RecordModifiedError), transaction.atomic():
        row.save()
    assert model.objects.active_translations("en").get().title == "old"


@BOTH
def test_the_admin_keeps_what_they_translated(model, row, ann, bob):
    field = "title" if NAME == "parler" else "name_en"
    mine, theirs = Page.change(ann, row), Page.change(bob, row)
    assert theirs.save(**{field: "theirs"}).redirects
    assert mine.save(note="mine").redirects
    assert titles(model) == ["alt", "theirs"]
    assert model.objects.get().note == "mine"


@BOTH
def test_the_admin_asks_about_what_both_translated(model, row, ann, bob):
    field = "title" if NAME == "parler" else "name_en"
    mine, theirs = Page.change(ann, row), Page.change(bob, row)
    assert theirs.save(**{field: "theirs"}).redirects
    asked = mine.save(**{field: "mine"})
    assert not asked.redirects
    assert titles(model) == ["alt", "theirs"]
    assert asked.save(**{f"optilock_decision_{field}": "mine"}).redirects
    assert titles(model) == ["alt", "mine"]
