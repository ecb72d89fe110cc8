"""The change form, with its inlines."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from pages import Page

from contracts.where import form_around

pytestmark = pytest.mark.django_db


@pytest.fixture
def pages(order, ann, bob):
    """Ann's page and Bob's, opened at the same time."""
    return Page.change(ann, order), Page.change(bob, order)


def test_the_tokens_are_in_the_form(pages):
    form = form_around(pages[0].text, 'name="note"')
    for token in ("optilock_token", "lines-optilock_token", "parcels-optilock_token"):
        assert form_around(pages[0].text, f'name="{token}"') == form


def test_what_others_changed_elsewhere_on_the_form_is_merged(pages, order):
    mine, theirs = pages
    assert theirs.save(note="bob's").redirects
    saved = mine.save(status="paid")
    assert saved.redirects
    order.refresh_from_db()
    assert (order.note, order.status, order.version) == ("bob's", "paid", 3)
    assert saved.messages[0] == "Merged: bob had changed Note; that was kept."


@pytest.mark.parametrize(
    ("choice", "note", "version"),
    # Who keeps all that the other has saved has nothing to save.
    [("mine", "ann's", 3), ("theirs", "bob's", 2)],
)
def test_a_conflict_is_shown_and_resolved_and_saved(
    pages, order, choice, note, version
):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert not asked.redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("bob's", 2)
    assert LogEntry.objects.count() == 1
    assert "bob saved this order" in asked.panel
    assert asked.data["note"] == "ann's"
    form = form_around(asked.text, 'name="note"')
    assert form_around(asked.text, 'name="optilock_decision_note"') == form
    assert not asked.save().redirects
    assert asked.save(optilock_decision_note=choice).redirects
    order.refresh_from_db()
    assert (order.note, order.version) == (note, version)


def test_the_conflict_page_brings_its_own_style_and_script(pages):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert "optilock/conflict.css" in asked.text
    assert "optilock/conflict.js" in asked.text


@pytest.mark.parametrize(("choice", "quantity"), [("mine", 7), ("theirs", 5)])
def test_a_row_of_an_inline_that_both_changed_is_asked_about(
    pages, order, choice, quantity
):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7", "lines-1-quantity": "8"})
    assert not asked.redirects
    assert "Line “Pen”" in asked.panel
    assert list(order.lines.values_list("quantity", flat=True)) == [5, 1]
    assert asked.save(**{"lines-0-optilock_decision_quantity": choice}).redirects
    assert list(order.lines.values_list("quantity", flat=True)) == [quantity, 8]


def test_a_row_of_an_inline_that_only_they_changed_keeps_theirs(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    assert mine.save(note="ann's").redirects
    assert list(order.lines.values_list("quantity", flat=True)) == [5, 1]
