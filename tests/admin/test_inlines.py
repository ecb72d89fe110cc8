from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from factories import LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.admin import LineInline, OrderAdmin, PlainLineInline
from testapp.models import Line, Parcel, Plain, PlainChild

pytestmark = pytest.mark.django_db


@pytest.fixture
def pen(order):
    return LineFactory(order=order, product="Pen", quantity=1)


@pytest.fixture
def ink(order, pen):
    return LineFactory(order=order, product="Ink", quantity=1)


@pytest.fixture
def pages(ann, bob, order, pen, ink):
    """Ann's page and Bob's, opened at the same time."""
    return Page.change(ann, order), Page.change(bob, order)


def products(order):
    return list(order.lines.values_list("product", "quantity"))


def logged():
    return LogEntry.objects.first().get_change_message()


def test_a_row_i_did_not_touch_keeps_theirs(pages, order):
    mine, theirs = pages
    assert theirs.save(**{"lines-0-quantity": "5"}).redirects
    saved = mine.save(**{"lines-1-quantity": "7"})
    assert saved.redirects
    assert products(order) == [("Pen", 5), ("Ink", 7)]
    assert logged() == "Changed Quantity for line “Ink”."
    assert saved.messages[0] == "Merged: bob had changed Pen: Quantity; that was kept."


def test_cells_of_one_row_are_merged(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    assert mine.save(**{"lines-0-comment": "blue"}).redirects
    pen = order.lines.get(product="Pen")
    assert (pen.quantity, pen.comment, pen.version) == (5, "blue", 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lines-0-quantity": "5"}, "<strong>Quantity</strong>"),
        ({"lines-0-DELETE": "on"}, "Line “Pen” was deleted."),
        ({"lines-2-product": "Nib"}, "Line “Nib” was added."),
    ],
)
def test_asking_always_asks_about_rows_that_do_not_overlap(
    pages, order, monkeypatch, change, told
):
    monkeypatch.setattr(LineInline, "optilock_ask_always", True)
    mine, theirs = pages
    theirs.save(**change)
    before = products(order)
    asked = mine.save(note="new")
    assert told in asked.panel
    assert "1 change was merged for you." in asked.panel
    assert "bob saved this order" in asked.panel
    order.refresh_from_db()
    assert order.note == "old"
    assert asked.save().redirects
    assert products(order) == before


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
    assert LogEntry.objects.count() == 1  # bob's
    done = asked.save(**{"lines-0-optilock_decision_quantity": choice})
    assert done.redirects
    order.refresh_from_db()
    assert order.note == "new"
    assert products(order)[0] == ("Pen", quantity)
    row = " Changed Quantity for line “Pen”." if choice == "mine" else ""
    assert logged() == f"Changed Note.{row}"


def test_overwriting_a_row_names_who_had_saved_it(pages):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    done = asked.save(**{"lines-0-optilock_decision_quantity": "mine"})
    said = "You have overwritten what bob had saved: Pen: Quantity."
    assert any(message.startswith(said) for message in done.messages)


def test_a_row_they_deleted_and_i_did_not_touch_stays_deleted(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on"})
    saved = mine.save(**{"lines-1-quantity": "7"})
    assert saved.redirects
    assert products(order) == [("Ink", 7)]
    assert saved.messages[0] == "Merged: bob had deleted Line “Pen”; that was kept."
    assert logged() == "Changed Quantity for line “Ink”."


def test_a_row_that_is_gone_for_a_reason_nobody_knows_is_told_too(pages, order, pen):
    pen.delete()
    saved = pages[0].save()
    deleted = "Merged: somebody else had deleted Line “Pen”; that was kept."
    assert saved.messages[0] == deleted


def test_a_row_that_cannot_be_named_any_more_is_told_by_its_key(
    pages, order, pen, monkeypatch
):
    # As when __str__() follows a relation that isn't on the form.
    monkeypatch.setattr(LineInline, "exclude", ["comment"])
    monkeypatch.setattr(Line, "__str__", lambda line: line.comment[0] + line.product)
    Line.objects.update(comment="x")
    page = Page.change(UserFactory(), order)
    pen.refresh_from_db()
    Line.objects.filter(pk=pen.pk).delete()
    saved = page.save(note="new")
    assert f"Line “#{pen.pk}”" in saved.messages[0]


def test_a_row_they_deleted_is_told_on_the_conflict_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's", **{"lines-0-DELETE": "on"})
    asked = mine.save(note="ann's")
    assert "Line “Pen” was deleted." in asked.panel
    assert "1 field needs your choice." in asked.panel
    assert "1 change was merged for you." in asked.panel
    assert asked.data["lines-0-product"] == "Pen"
    saved = asked.save(optilock_decision_note="theirs")
    assert saved.redirects
    assert "Pen" not in "".join(saved.messages)
    assert products(order) == [("Ink", 1)]


def test_a_row_that_is_told_as_deleted_can_still_be_wanted_back(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's", **{"lines-0-DELETE": "on"})
    asked = mine.save(note="ann's")
    wanted = {"lines-0-quantity": "7", "optilock_decision_note": "mine"}
    again = asked.save(**wanted, **{"lines-0-optilock_decision_": "mine"})
    assert "It was deleted, but you have changed it." in again.panel
    assert again.save(**{"lines-0-optilock_decision_": "mine"}).redirects
    assert products(order) == [("Ink", 1), ("Pen", 7)]


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
    assert "It was deleted, but you have changed it." in asked.panel
    assert products(order) == [("Ink", 1)]
    assert not asked.save().redirects
    done = asked.save(**{"lines-0-optilock_decision_": choice})
    assert done.redirects
    assert products(order) == rows
    warning = "You have added again what bob had deleted: Line “Pen”."
    assert (warning in done.messages) == (choice == "mine")
    added = "Added line “Pen”."
    assert logged() == (added if choice == "mine" else "No fields changed.")


@pytest.mark.parametrize(
    ("choice", "rows"), [("mine", [("Ink", 1)]), ("theirs", [("Pen", 5), ("Ink", 1)])]
)
def test_a_row_i_delete_and_they_changed_asks(pages, order, choice, rows):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-DELETE": "on"})
    assert not asked.redirects
    assert "It was changed, but you want to delete it." in asked.panel
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    again = asked.save(**{"lines-0-DELETE": "on"})
    assert not again.redirects
    done = again.save(**{"lines-0-DELETE": "on", "lines-0-optilock_decision_": choice})
    assert done.redirects
    assert products(order) == rows
    deleted = "Deleted line “Pen”."
    assert logged() == (deleted if choice == "mine" else "No fields changed.")
    warning = "You have deleted what bob had changed: Line “Pen”."
    assert (warning in done.messages) == (choice == "mine")


def test_a_row_both_delete_is_gone(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-DELETE": "on"})
    saved = mine.save(**{"lines-0-DELETE": "on"})
    assert saved.redirects
    assert products(order) == [("Ink", 1)]
    assert "Pen" not in saved.messages[0]
    assert logged() == "No fields changed."


def test_a_row_i_delete_is_deleted(pages, order):
    assert pages[0].save(**{"lines-0-DELETE": "on"}).redirects
    assert products(order) == [("Ink", 1)]


def test_new_rows_of_both_survive(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-2-product": "Nib"})
    saved = mine.save(**{"lines-2-product": "Cap"})
    assert saved.redirects
    assert products(order) == [("Pen", 1), ("Ink", 1), ("Nib", 1), ("Cap", 1)]
    assert saved.messages[0] == "Merged: bob had added Line “Nib”; that was kept."


def test_rows_they_added_are_told_on_the_conflict_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's", **{"lines-2-product": "<b>Nib"})
    asked = mine.save(note="ann's")
    assert "Line “&lt;b&gt;Nib” was added." in asked.panel
    assert [asked.data[f"lines-{i}-product"] for i in (0, 1, 2)] == ["Pen", "Ink", ""]
    saved = asked.save(optilock_decision_note="theirs")
    assert saved.redirects
    assert "Nib" not in "".join(saved.messages)
    assert len(products(order)) == 3


def test_of_many_added_rows_only_some_are_told_by_name(pages, order):
    for number in range(13):
        LineFactory(order=order, product=f"P{number}")
    [merged, _] = pages[0].save(note="new").messages
    assert "“P9” and 3 more" in merged


def test_a_row_added_where_there_was_none_is_told(order):
    page = Page.change(UserFactory(), order)
    LineFactory(order=order, product="Nib")
    saved = page.save(note="new")
    added = "Merged: somebody else had added Line “Nib”; that was kept."
    assert saved.messages[0] == added


def test_my_new_row_survives_a_conflict_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", **{"lines-2-product": "Cap"})
    assert asked.data["lines-2-product"] == "Cap"
    assert asked.save(optilock_decision_note="theirs").redirects
    assert products(order)[-1] == ("Cap", 1)


def test_parent_and_children_are_asked_about_on_one_page(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's", **{"lines-0-quantity": "5"})
    asked = mine.save(note="ann's", **{"lines-0-quantity": "7"})
    assert asked.text.count('<section class="optilock-conflict"') == 1
    assert {"optilock_decision_note", "lines-0-optilock_decision_quantity"} < set(
        asked.inputs.radios
    )
    assert not asked.save(optilock_decision_note="mine").redirects
    assert asked.save(optilock_decision_for_all="mine").redirects
    order.refresh_from_db()
    assert (order.note, products(order)[0]) == ("ann's", ("Pen", 7))


def test_a_decision_does_not_count_for_what_a_third_writer_saved(pages, order):
    mine, theirs = pages
    third = Page.change(UserFactory(), order)
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    again = third.save(**{"lines-0-quantity": "6"})
    again.save(**{"lines-0-optilock_decision_quantity": "mine"})
    assert products(order)[0] == ("Pen", 6)
    again = asked.save(**{"lines-0-optilock_decision_quantity": "mine"})
    assert not again.redirects
    assert products(order)[0] == ("Pen", 6)
    assert again.save(**{"lines-0-optilock_decision_quantity": "mine"}).redirects
    assert products(order)[0] == ("Pen", 7)


@pytest.mark.parametrize("wrong", [None, "", "x", "a:b:c", "another model's"])
def test_without_the_rows_token_nothing_is_saved(pages, order, wrong):
    token = wrong
    if wrong == "another model's":
        token = pages[0].data["optilock_token"]
    changes = {"lines-optilock_token": token, "lines-0-quantity": "7"}
    page = pages[0].save(note="new", **changes)
    assert not page.redirects
    order.refresh_from_db()
    assert (order.note, products(order)[0]) == ("old", ("Pen", 1))
    assert "too old" in page.panel
    assert page.data["lines-0-quantity"] == "7"
    assert page.save(**{"lines-0-optilock_decision_quantity": "mine"}).redirects
    assert products(order)[0] == ("Pen", 7)


def test_a_token_of_other_rows_does_not_let_theirs_be_overwritten(pages, order):
    mine, theirs = pages
    other = LineFactory().order
    token = Page.change(UserFactory(), other).data["lines-optilock_token"]
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-optilock_token": token})
    assert asked.panel
    assert products(order)[0] == ("Pen", 5)


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
    assert asked.save(**{"parcels-0-optilock_decision_weight": "mine"}).redirects
    parcel.refresh_from_db()
    assert parcel.weight == 7


def test_a_restored_row_with_a_uuid_gets_a_new_key(order):
    parcel = Parcel.objects.create(order=order, code="P1")
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(**{"parcels-0-DELETE": "on"})
    asked = mine.save(**{"parcels-0-weight": "7"})
    assert asked.save(**{"parcels-0-optilock_decision_": "mine"}).redirects
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
    asked.save(**{"plainchild_set-0-optilock_decision_name": "mine"})
    child.refresh_from_db()
    assert child.name == "mine"


def test_save_as_new_copies_the_rows_of_a_stale_page(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    assert mine.save("_saveasnew", number="18", **{"lines-0-quantity": "7"}).redirects
    assert products(order) == [("Pen", 5), ("Ink", 1)]
    copy = Line.objects.filter(order__number="18")
    assert list(copy.values_list("product", "quantity")) == [("Pen", 7), ("Ink", 1)]


def test_a_conflict_is_told_once_above_the_rows(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    assert asked.panel
    assert asked.text.count("Somebody else changed this while you were editing") == 1


def test_a_row_that_moved_to_another_parent_is_not_told_as_deleted(pages, order, pen):
    mine, _ = pages
    Line.objects.filter(pk=pen.pk).update(order=OrderFactory(), product="hush")
    asked = mine.save(**{"lines-0-quantity": "7"})
    assert "not there any more, or not visible to you" in asked.panel
    for word in ("hush", "deleted", "bob"):
        assert word not in asked.panel
    assert asked.save(**{"lines-0-optilock_decision_": "theirs"}).redirects
    pen.refresh_from_db()
    assert (pen.product, pen.quantity) == ("hush", 1)


# --- the second round knows what the first one knew ----------------------------


def test_who_it_was_is_still_told_if_only_rows_collide(pages):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    for page in (asked, asked.save(), asked.save().save()):
        assert "bob saved this order" in page.panel


def test_rows_that_were_deleted_or_added_are_still_told_in_the_second_round(pages):
    mine, theirs = pages
    theirs.save(note="theirs", **{"lines-0-DELETE": "on", "lines-2-product": "Nib"})
    asked = mine.save(note="mine")
    again = asked.save()
    for page in (asked, again, again.save()):
        assert "Line “Pen” was deleted." in page.panel
        assert "Line “Nib” was added." in page.panel
        assert "2 changes were merged for you." in page.panel
    done = again.save(optilock_decision_note="theirs")
    assert "Merged" not in "".join(done.messages)


def test_rows_of_djangos_own_inline_are_saved_as_in_django(
    ann, bob, order, pen, monkeypatch
):
    monkeypatch.setattr(OrderAdmin, "inlines", [PlainLineInline])
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    saved = mine.save(status="paid", **{"lines-0-quantity": "7"})
    assert saved.messages[0] == "Merged: bob had changed Note; that was kept."
    assert products(order) == [("Pen", 7)]
