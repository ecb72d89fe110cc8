from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from factories import LineFactory, OrderFactory
from testapp.models import Parcel
from windows import NO_SCRIPTS, PHONE, windows, with_and_without_scripts

pytestmark = pytest.mark.usefixtures("opened")


@pytest.fixture
def order(transactional_db):
    order = OrderFactory(number="17", note="old", amount=10)
    for product in ("Pen", "Ink"):
        LineFactory(order=order, product=product, quantity=1)
    return order


@pytest.fixture
def parcel(order):
    return Parcel.objects.create(order=order, code="P1")


@pytest.fixture
def opened(ann, bob, parcel, order):
    """Both have the order's form before them."""
    ann.open(order)
    bob.open(order)


def products(order):
    return list(order.lines.values_list("product", "quantity"))


def mark(person, row):
    """Mark a row for deletion."""
    person.field(f"{row}-DELETE").check()


def beside(person, row):
    """What stands beside the inputs of a row: the object, as Django shows it."""
    return person.page.locator(f"#{row} .original p").inner_text().split("\n")[0]


@with_and_without_scripts
def test_a_row_nobody_but_they_touched_keeps_theirs(ann, bob, order):
    bob.fill(**{"lines-0-quantity": "5"})
    bob.save()
    ann.fill(**{"lines-1-quantity": "7"})
    ann.save()
    assert products(order) == [("Pen", 5), ("Ink", 7)]
    assert "Merged: bob had changed Pen: Quantity; that was kept." in ann.messages
    log = LogEntry.objects.first()
    assert log.get_change_message() == "Changed Quantity for line “Ink”."


def test_cells_of_one_row_are_merged(ann, bob, order):
    bob.fill(**{"lines-0-quantity": "5"})
    bob.save()
    ann.fill(**{"lines-0-comment": "blue"})
    ann.save()
    pen = order.lines.get(product="Pen")
    assert (pen.quantity, pen.comment, pen.version) == (5, "blue", 3)


@with_and_without_scripts
@pytest.mark.parametrize(("side", "quantity"), [("mine", 7), ("theirs", 5)])
def test_a_cell_both_changed_is_asked_about(ann, bob, order, side, quantity):
    bob.fill(**{"lines-0-quantity": "5"})
    bob.save()
    ann.fill(note="ann's", **{"lines-0-quantity": "7"})
    ann.save()
    assert ann.asked
    assert "Line “Pen”" in ann.panel.inner_text()
    order.refresh_from_db()
    assert order.note == "old"
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    assert ann.field("lines-0-quantity").input_value() == "7"
    ann.save()
    assert ann.asked
    ann.keep(side, "lines-0-optilock_decision_quantity")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert order.note == "ann's"
    assert products(order) == [("Pen", quantity), ("Ink", 1)]


@with_and_without_scripts
@pytest.mark.parametrize(
    ("side", "rows"), [("mine", [("Ink", 1), ("Pen", 7)]), ("theirs", [("Ink", 1)])]
)
def test_a_row_i_changed_and_they_deleted_is_asked_about(ann, bob, order, side, rows):
    mark(bob, "lines-0")
    bob.save()
    ann.fill(**{"lines-0-quantity": "7"})
    ann.save()
    assert "It was deleted, but you have changed it." in ann.panel.inner_text()
    assert products(order) == [("Ink", 1)]
    assert [beside(ann, f"lines-{n}") for n in (0, 1)] == ["Pen", "Ink"]
    ann.keep(side, "lines-0-optilock_decision_")
    ann.save()
    assert products(order) == rows


@pytest.mark.parametrize(
    ("side", "rows"), [("mine", [("Ink", 1)]), ("theirs", [("Pen", 5), ("Ink", 1)])]
)
def test_a_row_i_delete_and_they_changed_is_asked_about(ann, bob, order, side, rows):
    bob.fill(**{"lines-0-quantity": "5"})
    bob.save()
    mark(ann, "lines-0")
    ann.save()
    assert "It was changed, but you want to delete it." in ann.panel.inner_text()
    assert ann.field("lines-0-DELETE").is_checked()
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    ann.keep(side, "lines-0-optilock_decision_")
    ann.save()
    assert products(order) == rows


def test_a_row_both_delete_is_gone_without_a_question(ann, bob, order):
    for person in (bob, ann):
        mark(person, "lines-0")
        person.save()
        assert not person.asked
    assert products(order) == [("Ink", 1)]


def test_a_row_i_did_not_touch_and_they_deleted_is_gone(ann, bob, order):
    mark(bob, "lines-0")
    bob.save()
    ann.fill(**{"lines-1-quantity": "7"})
    ann.save()
    assert not ann.asked
    assert products(order) == [("Ink", 7)]


def test_new_rows_of_both_survive(ann, bob, order):
    bob.fill(**{"lines-2-product": "Nib"})
    bob.save()
    ann.page.get_by_text("Add another Line").click()
    ann.fill(**{"lines-2-product": "Cap", "lines-3-product": "Bag"})
    ann.save()
    assert [name for name, _ in products(order)] == ["Pen", "Ink", "Nib", "Cap", "Bag"]


def test_rows_added_by_the_script_survive_a_question(ann, bob, order):
    bob.fill(note="bob's")
    bob.save()
    ann.page.get_by_text("Add another Line").click()
    ann.fill(note="ann's", **{"lines-2-product": "Cap", "lines-3-product": "Bag"})
    ann.save()
    assert ann.asked
    ann.keep("theirs", "optilock_decision_note")
    ann.page.get_by_text("Add another Line").click()
    ann.fill(**{"lines-4-product": "Box"})
    ann.save()
    assert [name for name, _ in products(order)] == ["Pen", "Ink", "Cap", "Bag", "Box"]


@windows(desktop={}, phone=PHONE, no_scripts=NO_SCRIPTS)
@pytest.mark.smoke
def test_parent_and_children_are_asked_about_on_one_page(ann, bob, order, request):
    bob.fill(note="bob's", **{"lines-0-quantity": "5", "parcels-0-weight": "5"})
    bob.save()
    ann.fill(note="ann's", **{"lines-0-quantity": "7", "parcels-0-weight": "7"})
    mark(ann, "lines-1")
    ann.save()
    assert ann.panel.count() == 1
    ann.look(f"inlines-{request.node.callspec.id}")
    assert "3 fields need your choice." in ann.panel.inner_text()
    ann.keep("mine", "optilock_decision_note")
    ann.keep("theirs", "lines-0-optilock_decision_quantity")
    ann.save()
    assert ann.asked
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    ann.keep("mine", "parcels-0-optilock_decision_weight")
    ann.save()
    order.refresh_from_db()
    assert (order.note, products(order)) == ("ann's", [("Pen", 5)])
    assert order.parcels.get().weight == 7


def test_a_stacked_row_with_a_key_that_is_no_number_comes_back(ann, bob, order, parcel):
    mark(bob, "parcels-0")
    bob.save()
    ann.fill(**{"parcels-0-weight": "7"})
    ann.save()
    assert "Parcel “P1”" in ann.panel.inner_text()
    ann.keep("mine", "parcels-0-optilock_decision_")
    ann.save()
    again = order.parcels.get()
    assert (again.code, again.weight) == ("P1", 7)
    assert again.pk != parcel.pk


def test_rows_of_an_error_page_stand_beside_their_own_objects(ann, bob, order):
    mark(bob, "lines-0")
    bob.fill(**{"lines-2-product": "Nib"})
    bob.save()
    ann.fill(**{"lines-1-quantity": "-1"})
    ann.page.locator("#order_form").evaluate("form => form.noValidate = true")
    ann.save()
    for row, product in (("lines-0", "Pen"), ("lines-1", "Ink")):
        assert ann.field(f"{row}-product").input_value() == product
        assert beside(ann, row) == product
    ann.fill(**{"lines-1-quantity": "3"})
    ann.save()
    assert products(order) == [("Ink", 3), ("Nib", 1)]
