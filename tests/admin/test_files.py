"""Files, which a browser lets no page keep: they are asked for again."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from pages import Page
from testapp.models import Assorted, Order, Scan

pytestmark = pytest.mark.django_db


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def attached(order):
    order.refresh_from_db()
    with order.attachment.open() as file:
        return file.read()


def upload(name):
    return ContentFile(name.encode(), name=name)


ASKED = "You had chosen ben.txt: choose it again, or keep the stored file."
EMPTY = "You had chosen ben.txt: choose it again, or save without it."


@pytest.fixture
def lost(ann, bob, order):
    """The page that asks for a file once more, which nobody else has touched."""
    order.attachment.save("old.txt", upload("old.txt"))
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", attachment=upload("ben.txt"))
    assert asked.text.count(ASKED) == 1
    assert "attachment" not in asked.panel
    return asked


def test_an_upload_is_asked_for_until_it_is_there(order, lost):
    again = lost.save(optilock_decision_note="mine")
    for _ in range(2):
        assert not again.redirects
        assert again.text.count(ASKED) == 1
        assert "orders/old" not in again.panel
        again = again.save(optilock_decision_note="mine")
    again = again.save(optilock_decision_note="mine", attachment=upload("ben.txt"))
    assert again.redirects
    assert attached(order) == b"ben.txt"


def test_an_upload_can_be_given_up(order, lost):
    decided = {
        "optilock_decision_note": "mine",
        "optilock_decision_attachment": "theirs",
    }
    assert lost.save(**decided).redirects
    assert attached(order) == b"old.txt"
    assert fresh(order).note == "ann's"


def test_a_choice_for_everything_gives_up_no_upload(order, lost):
    assert not lost.save(optilock_decision_for_all="theirs").redirects


def test_an_upload_of_a_row_that_had_no_file_is_asked_for(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", attachment=upload("ben.txt"))
    assert EMPTY in asked.text
    decided = {"optilock_decision_note": "mine"}
    assert EMPTY in asked.save(**decided).text
    assert asked.save(**decided, optilock_decision_attachment="theirs").redirects
    assert not fresh(order).attachment


def test_an_upload_over_theirs_asks_and_stays_mine(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(attachment=upload("bob.txt"))
    asked = mine.save(attachment=upload("ben.txt"))
    for _ in range(2):
        assert not asked.redirects
        assert "ben.txt" in asked.panel
        assert "orders/bob" in asked.panel
        assert ASKED in asked.text
        assert 'type="checkbox" name="optilock_decision_attachment"' not in asked.text
        asked = asked.save(optilock_decision_attachment="mine")
    decided = {"optilock_decision_attachment": "mine"}
    assert asked.save(**decided, attachment=upload("ben.txt")).redirects
    assert attached(order) == b"ben.txt"


def test_an_upload_over_theirs_can_be_given_up(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(attachment=upload("bob.txt"))
    asked = mine.save(attachment=upload("ben.txt"))
    assert asked.save(optilock_decision_attachment="theirs").redirects
    assert attached(order) == b"bob.txt"


def test_a_file_that_they_stored_while_mine_is_asked_for_is_a_question(ann, bob, lost):
    theirs = Page.change(bob, fresh(Order.objects.get()))
    theirs.save(attachment=upload("bob.txt"))
    asked = lost.save(optilock_decision_note="mine")
    assert "ben.txt" in asked.panel
    assert "orders/bob" in asked.panel


def test_a_file_that_nobody_touched_is_no_question(ann, bob, order):
    order.attachment.save("old.txt", upload("old.txt"))
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert "orders/old" not in asked.panel
    assert "You had chosen" not in asked.text
    assert asked.save(optilock_decision_note="mine").redirects


@pytest.fixture
def lost_in_a_new_row(ann, bob):
    kinds = Assorted.objects.create(line="old")
    mine, theirs = Page.change(ann, kinds), Page.change(bob, kinds)
    theirs.save(line="bob's")
    asked = mine.save(line="ann's", **{"scan_set-0-file": upload("ben.txt")})
    assert asked.text.count(EMPTY) == 1
    return asked


def test_a_file_in_a_new_row_is_asked_for_until_it_is_there(lost_in_a_new_row):
    asked = lost_in_a_new_row.save(optilock_decision_line="mine")
    assert not asked.redirects
    assert asked.text.count(EMPTY) == 1
    file = {"scan_set-0-file": upload("ben.txt")}
    assert asked.save(optilock_decision_line="mine", **file).redirects
    with Scan.objects.get().file.open() as stored:
        assert stored.read() == b"ben.txt"


def test_a_file_in_a_new_row_can_be_given_up(lost_in_a_new_row):
    given_up = {"scan_set-0-optilock_decision_file": "theirs"}
    titled = {"scan_set-0-title": "empty"}
    page = lost_in_a_new_row
    assert page.save(optilock_decision_line="mine", **given_up, **titled).redirects
    assert Scan.objects.get().file == ""


def test_a_file_in_a_row_that_is_there_is_asked_for(ann, bob):
    kinds = Assorted.objects.create(line="old")
    scan = Scan.objects.create(assorted=kinds, title="old")
    scan.file.save("old.txt", upload("old.txt"))
    mine, theirs = Page.change(ann, kinds), Page.change(bob, kinds)
    theirs.save(**{"scan_set-0-title": "bob's"})
    typed = {"scan_set-0-title": "ann's", "scan_set-0-file": upload("ben.txt")}
    asked = mine.save(**typed)
    decided = {"scan_set-0-optilock_decision_title": "mine"}
    for _ in range(2):
        assert not asked.redirects
        assert asked.text.count(ASKED) == 1
        asked = asked.save(**decided)
    assert asked.save(**decided, **{"scan_set-0-file": upload("ben.txt")}).redirects
    with fresh(scan).file.open() as stored:
        assert stored.read() == b"ben.txt"
    assert fresh(scan).title == "ann's"
