"""Two people and one change form, with scripts and without."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from factories import LineFactory
from testapp.models import Colour, Order


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def options(request):
    return {"java_script_enabled": request.param}


def changes():
    """Return what the history says, the latest first."""
    return [
        (entry.user.username, entry.get_change_message())
        for entry in LogEntry.objects.select_related("user")
    ]


def test_who_is_alone_notices_nothing(ann, order):
    ann.open(order)
    ann.fill(note="ann's")
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 2)
    assert len(ann.messages) == 1


@pytest.mark.smoke
def test_changes_of_different_fields_are_merged(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(status="paid")
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.status, order.version) == ("bob's", "paid", 3)
    assert "Merged: bob had changed Note; that was kept." in ann.messages
    assert changes()[0] == ("ann", "Changed Status.")


@pytest.mark.smoke
def test_changes_of_the_same_field_ask(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    assert ann.asked
    order.refresh_from_db()
    assert (order.note, order.version) == ("bob's", 2)
    assert changes() == [("bob", "Changed Note.")]
    assert ann.field("note").input_value() == "ann's"
    ann.look("conflict")
    ann.keep("mine", "optilock_decision_note")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 3)
    assert any("overwritten what bob had saved" in text for text in ann.messages)
    assert changes()[0] == ("ann", "Changed Note.")


def test_the_same_value_from_both_is_no_question(ann, bob, order):
    ann.open(order)
    bob.change(order, note="new")
    ann.fill(note="new", status="paid")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert (order.note, order.status) == ("new", "paid")
    assert changes()[0] == ("ann", "Changed Status.")


def test_a_third_writer_is_asked_about_once_more_and_then_it_ends(
    sign_in, options, ann, bob, order
):
    cat = sign_in("cat", **options)
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    cat.change(order, note="cat's")
    ann.keep("mine", "optilock_decision_note")
    ann.save()
    assert "cat saved this order" in ann.panel.inner_text()
    order.refresh_from_db()
    assert order.note == "cat's"
    ann.keep("mine", "optilock_decision_note")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 4)


def test_discarding_shows_what_is_saved_and_saves_nothing(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's", status="paid")
    ann.save()
    ann.click("text=Discard mine and reload")
    assert not ann.asked
    assert ann.field("note").input_value() == "bob's"
    assert ann.field("status").input_value() == "open"
    order.refresh_from_db()
    assert (order.note, order.version) == ("bob's", 2)
    assert changes() == [("bob", "Changed Note.")]


@pytest.mark.parametrize(
    ("side", "expected"),
    [("mine", ("ann's", "paid")), ("theirs", ("bob's", "shipped"))],
)
def test_one_choice_can_be_made_for_everything(ann, bob, order, side, expected):
    ann.open(order)
    bob.change(order, note="bob's", status="shipped")
    ann.fill(note="ann's", status="paid")
    ann.save()
    ann.keep(side, "optilock_decision_for_all")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert (order.note, order.status) == expected


def test_what_is_invalid_and_what_collides_are_shown_together(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's", amount="1.234")
    ann.save()
    assert ann.asked
    errors = " ".join(ann.page.locator(".field-amount .errorlist").all_inner_texts())
    assert "no more than 2 decimal places" in errors
    ann.keep("theirs", "optilock_decision_note")
    ann.save()  # still wrong
    ann.fill(amount="12")
    chosen = '[name="optilock_decision_note"][value="theirs"]'
    assert ann.page.locator(chosen).is_checked()
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.amount) == ("bob's", 12)


def test_what_is_merged_is_validated_as_one(ann, bob, order):
    ann.open(order)
    bob.change(order, status="shipped")
    ann.fill(amount="0")
    ann.save()
    assert "What is shipped has a price." in ann.page.inner_text("#content")
    assert ann.messages[0].startswith("Merged: bob had changed Status; that was kept.")
    order.refresh_from_db()
    assert (order.amount, order.status) == (10, "shipped")
    ann.fill(amount="5")
    ann.save()
    order.refresh_from_db()
    assert (order.amount, order.status) == (5, "shipped")


@pytest.fixture
def deleted(ann, bob, order):
    """Ann has typed into an order that bob has deleted."""
    LineFactory(order=order, product="Pen")
    ann.open(order)
    bob.delete(order)
    bob.click('#content [type="submit"]')
    ann.fill(note="ann's")
    ann.save()
    assert "bob deleted “17”" in ann.panel.inner_text()
    assert ann.field("note").input_value() == "ann's"
    assert not Order.objects.exists()


def test_what_was_deleted_can_be_created_again(ann, deleted):
    ann.page.get_by_label("Create it again").check()
    ann.save()
    order = Order.objects.get()
    assert (order.note, order.lines.get().product) == ("ann's", "Pen")
    assert changes()[0] == ("ann", "Added.")


def test_what_was_typed_into_something_deleted_can_be_discarded(ann, deleted):
    ann.click("text=Discard what I typed")
    assert not Order.objects.exists()
    assert any("Perhaps it was deleted?" in text for text in ann.messages)


def test_many_to_many_fields_are_merged(ann, bob, order):
    red, blue = (Colour.objects.create(name=name) for name in ("red", "blue"))
    ann.open(order)
    bob.change(order, tags=[str(red.pk)])
    ann.fill(tags=[str(blue.pk)])
    ann.save()
    assert not ann.asked
    assert "Merged: your changes and those of bob are in Tags." in ann.messages
    assert set(order.tags.all()) == {red, blue}
