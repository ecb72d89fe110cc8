from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from factories import LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.models import Line, Parcel, Plain, PlainChild

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    return OrderFactory(number="17", note="old", amount=10)


@pytest.fixture
def pen(order):
    return LineFactory(order=order, product="Pen", quantity=1)


@pytest.fixture
def ink(order, pen):
    return LineFactory(order=order, product="Ink", quantity=1)


@pytest.fixture
def pages(order, pen, ink):
    """Ann's page and Bob's, opened at the same time."""
    ann, bob = UserFactory(username="ann"), UserFactory(username="bob")
    return Page.change(ann, order), Page.change(bob, order)


def products(order):
    return list(order.lines.values_list("product", "quantity"))


def test_a_row_i_did_not_touch_keeps_theirs(pages, order):
    mine, theirs = pages
    assert theirs.save(**{"lines-0-quantity": "5"}).redirects
    saved = mine.save(**{"lines-1-quantity": "7"})
    assert saved.redirects
    assert products(order) == [("Pen", 5), ("Ink", 7)]
    message = LogEntry.objects.first().get_change_message()
    assert message == "Changed Quantity for line “Ink”."
    assert saved.messages[0] == "Merged: bob had changed Pen: Quantity; that was kept."


def test_cells_of_one_row_are_merged(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    assert mine.save(**{"lines-0-comment": "blue"}).redirects
    pen = order.lines.get(product="Pen")
    assert (pen.quantity, pen.comment, pen.version) == (5, "blue", 3)


@pytest.mark.parametrize(("choice", "quantity"), [("mine", 7), ("theirs", 5)])
def test_a_row_both_changed_asks_and_nothing_is_saved_until_then(
    pages, order, choice, quantity
):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7", "note": "new"})
    assert not asked.redirects
    order.refresh_from_db()
    assert order.note == "old"
    assert products(order)[0] == ("Pen", 5)
    assert "Line “Pen”" in asked.panel
    assert not asked.save().redirects
    done = asked.save(**{"lines-0-optilock_choice_quantity": choice})
    assert done.redirects
    order.refresh_from_db()
    assert order.note == "new"
    assert products(order)[0] == ("Pen", quantity)


def test_a_row_they_deleted_and_i_did_not_touch_stays_deleted(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on"})
    assert mine.save(**{"lines-1-quantity": "7"}).redirects
    assert products(order) == [("Ink", 7)]


@pytest.mark.parametrize(
    ("choice", "rows"), [("mine", [("Ink", 1), ("Pen", 7)]), ("theirs", [("Ink", 1)])]
)
def test_a_row_they_deleted_and_i_changed_asks(pages, order, choice, rows):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    assert not asked.redirects
    assert asked.data["lines-0-product"] == "Pen"
    assert asked.data["lines-1-product"] == "Ink"
    assert "Was deleted, and you have changed it." in asked.panel
    assert products(order) == [("Ink", 1)]
    assert not asked.save().redirects
    assert asked.save(**{"lines-0-optilock_choice_": choice}).redirects
    assert products(order) == rows


@pytest.mark.parametrize(
    ("choice", "rows"), [("mine", [("Ink", 1)]), ("theirs", [("Pen", 5), ("Ink", 1)])]
)
def test_a_row_i_delete_and_they_changed_asks(pages, order, choice, rows):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-DELETE": "on"})
    assert not asked.redirects
    assert "Was changed, and you want to delete it." in asked.panel
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    again = asked.save(**{"lines-0-DELETE": "on"})
    assert not again.redirects
    done = again.save(**{"lines-0-DELETE": "on", "lines-0-optilock_choice_": choice})
    assert done.redirects
    assert products(order) == rows


def test_a_row_both_delete_is_gone(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on"})
    assert mine.save(**{"lines-0-DELETE": "on"}).redirects
    assert products(order) == [("Ink", 1)]


def test_a_row_i_delete_is_deleted(pages, order):
    assert pages[0].save(**{"lines-0-DELETE": "on"}).redirects
    assert products(order) == [("Ink", 1)]


def test_new_rows_of_both_survive(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-2-product": "Nib"})
    assert mine.save(**{"lines-2-product": "Cap"}).redirects
    assert products(order) == [("Pen", 1), ("Ink", 1), ("Nib", 1), ("Cap", 1)]


def test_my_new_row_survives_a_conflict_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", **{"lines-2-product": "Cap"})
    assert asked.data["lines-2-product"] == "Cap"
    assert asked.save(optilock_choice_note="theirs").redirects
    assert products(order)[-1] == ("Cap", 1)


def test_parent_and_children_are_asked_about_on_one_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's", **{"lines-0-quantity": "5"})
    asked = mine.save(note="ann's", **{"lines-0-quantity": "7"})
    assert asked.text.count('<section class="optilock-conflict"') == 1
    assert {"optilock_choice_note", "lines-0-optilock_choice_quantity"} < set(
        asked.inputs.radios
    )
    assert not asked.save(optilock_choice_note="mine").redirects
    assert asked.save(optilock_choice_for_all="mine").redirects
    order.refresh_from_db()
    assert (order.note, products(order)[0]) == ("ann's", ("Pen", 7))


def test_a_decision_does_not_count_for_what_a_third_writer_saved(pages, order):
    mine, theirs = pages
    third = Page.change(UserFactory(), order)
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    again = third.save(**{"lines-0-quantity": "6"})
    again.save(**{"lines-0-optilock_choice_quantity": "mine"})
    assert products(order)[0] == ("Pen", 6)
    again = asked.save(**{"lines-0-optilock_choice_quantity": "mine"})
    assert not again.redirects
    assert products(order)[0] == ("Pen", 6)
    assert again.save(**{"lines-0-optilock_choice_quantity": "mine"}).redirects
    assert products(order)[0] == ("Pen", 7)


def test_without_the_rows_token_nothing_is_saved(pages, order):
    page = pages[0].save(without=["lines-optilock_token"], note="new")
    assert not page.redirects
    order.refresh_from_db()
    assert order.note == "old"
    assert "too old" in page.panel
    assert page.save().redirects


def test_rows_beside_an_error_keep_their_places(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on", "lines-2-product": "Nib"})
    page = mine.save(**{"lines-1-quantity": "-1"})
    assert not page.redirects
    assert page.data["lines-1-product"] == "Ink"
    assert page.data["lines-0-product"] == "Pen"
    fixed = page.save(**{"lines-1-quantity": "3"})
    assert fixed.redirects
    assert products(order) == [("Ink", 3), ("Nib", 1)]


def test_inlines_with_a_uuid_key_are_asked_about_too(order):
    parcel = Parcel.objects.create(order=order, code="P1")
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(**{"parcels-0-weight": "5"})
    asked = mine.save(**{"parcels-0-weight": "7"})
    assert not asked.redirects
    assert asked.save(**{"parcels-0-optilock_choice_weight": "mine"}).redirects
    parcel.refresh_from_db()
    assert parcel.weight == 7


def test_a_restored_row_with_a_uuid_gets_a_new_key(order):
    parcel = Parcel.objects.create(order=order, code="P1")
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(**{"parcels-0-DELETE": "on"})
    asked = mine.save(**{"parcels-0-weight": "7"})
    assert asked.save(**{"parcels-0-optilock_choice_": "mine"}).redirects
    restored = Parcel.objects.get()
    assert (restored.code, restored.weight) == ("P1", 7)
    assert restored.pk != parcel.pk


def test_versioned_children_of_a_plain_parent_are_asked_about():
    parent = Plain.objects.create(name="P")
    child = PlainChild.objects.create(parent=parent, name="old")
    mine, theirs = (Page.change(UserFactory(), parent) for _ in range(2))
    theirs.save(**{"plainchild_set-0-name": "theirs"})
    asked = mine.save(**{"plainchild_set-0-name": "mine"})
    assert "Plain child “" in asked.panel
    asked.save(**{"plainchild_set-0-optilock_choice_name": "mine"})
    child.refresh_from_db()
    assert child.name == "mine"


def test_save_as_new_copies_the_rows_of_a_stale_page(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    assert mine.save("_saveasnew", number="18", **{"lines-0-quantity": "7"}).redirects
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    copy = Line.objects.filter(order__number="18")
    assert list(copy.values_list("product", "quantity")) == [("Pen", 7), ("Ink", 1)]
