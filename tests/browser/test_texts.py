"""Texts that two people have changed."""

from __future__ import annotations

import pytest
from factories import OrderFactory
from windows import NO_SCRIPTS, PHONE, windows, with_and_without_scripts

CHOICE = "optilock_decision_note"
OLD = "First.\n\nSecond.\n\nThird."
ANN = "FIRST.\n\nSecond, by ann.\n\nThird."
BOB = "First.\n\nSecond, by bob.\n\nTHIRD."
LONG = "\n".join(f"Line {number} of a long text." for number in range(400))


@pytest.fixture
def order(transactional_db):
    return OrderFactory(number="17", note=OLD, amount=10)


def note(order):
    order.refresh_from_db()
    return order.note.replace("\r\n", "\n")


def collide(ann, bob, order, mine=ANN, theirs=BOB):
    ann.open(order)
    bob.change(order, note=theirs)
    ann.fill(note=mine)
    ann.save()


@with_and_without_scripts
def test_edits_of_different_paragraphs_are_merged(ann, bob, order):
    collide(ann, bob, order, OLD.replace("First", "1st"), OLD.replace("Third", "3rd"))
    assert not ann.asked
    assert "Merged: your changes and those of bob are in Note." in ann.messages
    assert note(order) == "1st.\n\nSecond.\n\n3rd."


@windows(desktop={}, phone=PHONE, no_scripts=NO_SCRIPTS)
@pytest.mark.parametrize(
    ("side", "second"), [("mine", "Second, by ann."), ("theirs", "Second, by bob.")]
)
def test_only_the_passage_both_changed_is_asked_about(
    ann, bob, order, options, side, second
):
    collide(ann, bob, order)
    asked = ann.panel.inner_text()
    assert "Second, by ann." in asked
    assert "Second, by bob." in asked
    assert "The rest of this text is merged." in asked
    assert "FIRST" not in asked
    if options != NO_SCRIPTS:  # which axe-core needs
        assert ann.violations("#optilock-conflict") == set()
        assert ann.is_wide_enough()
    ann.look(f"passages-{len(options)}")
    ann.keep(side, CHOICE)
    ann.save()
    assert note(order) == f"FIRST.\n\n{second}\n\nTHIRD."


@with_and_without_scripts
def test_both_are_edited_in_place(ann, bob, order, options):
    collide(ann, bob, order)
    text = ann.field("optilock_edited_note")
    assert text.input_value().startswith("FIRST.")
    text.fill("FIRST.\n\nSecond, by both.\n\nTHIRD.")
    both = ann.page.locator(f'[name="{CHOICE}"][value="both"]')
    if options:  # no scripts
        both.check()
    assert both.is_checked()
    ann.save()
    assert not ann.asked
    assert note(order) == "FIRST.\n\nSecond, by both.\n\nTHIRD."


def test_what_is_being_edited_survives_a_third_person(sign_in, ann, bob, order):
    collide(ann, bob, order)
    ann.field("optilock_edited_note").fill("FIRST.\n\nBoth.\n\nTHIRD.")
    eve = sign_in("eve")
    eve.change(order, note=BOB.replace("THIRD", "LAST"))
    ann.save()
    assert ann.asked
    assert "changed once more" in ann.panel.inner_text()
    proposal = ann.field("optilock_edited_note").input_value()
    assert "Both." in proposal
    assert "LAST." in proposal
    ann.keep("both", CHOICE)
    ann.save()
    assert note(order) == proposal


@with_and_without_scripts
def test_long_texts_are_compared_with_what_was_opened(ann, bob, order):
    order.note = LONG
    order.save()
    mine, theirs = (LONG.replace("Line 7 of", f"{who} of") for who in ("Ann", "Bob"))
    collide(ann, bob, order, mine, theirs)
    deleted = ann.panel.locator("del").all_inner_texts()
    inserted = ann.panel.locator("ins").all_inner_texts()
    assert deleted == ["Line 7", "Line 7"]
    assert inserted == ["Bob", "Ann"]


def test_a_text_there_is_no_room_for_says_what_it_is_compared_with(
    ann, bob, order, monkeypatch
):
    monkeypatch.setattr("optilock.forms.tokens.MOST", 10)
    order.note = LONG
    order.save()
    mine, theirs = (LONG.replace("Line 7 of", f"{who} of") for who in ("Ann", "Bob"))
    collide(ann, bob, order, mine, theirs)
    marked = ann.panel.locator(".optilock-option", has=ann.page.locator("ins"))
    assert marked.count() == 1
    assert "(compared with what is saved now)" in marked.inner_text()


def test_a_merged_text_stays_although_something_else_is_asked_about(ann, bob, order):
    ann.open(order)
    bob.change(order, note=OLD.replace("Third", "3rd"), status="paid")
    ann.fill(note=OLD.replace("First", "1st"), status="shipped")
    ann.save()
    assert ann.field("note").input_value() == "1st.\n\nSecond.\n\n3rd."
    assert "1 change was merged for you." in ann.panel.inner_text()
    ann.keep("mine", "optilock_decision_status")
    ann.save()
    assert note(order) == "1st.\n\nSecond.\n\n3rd."
