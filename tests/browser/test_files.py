"""Files, which no page can keep: they are asked for again."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from testapp.models import Assorted, Scan
from windows import with_and_without_scripts


def choose(person, name, file="ben.txt"):
    chosen = {"name": file, "mimeType": "text/plain", "buffer": file.encode()}
    person.field(name).set_input_files(chosen)


def decide(person, field):
    person.keep("mine", f"optilock_decision_{field}")
    person.save()


def content(row, name="attachment"):
    row.refresh_from_db()
    with getattr(row, name).open() as file:
        return file.read()


def asks_for(person, name):
    """Whether an input says which file was chosen before."""
    beside = person.field(name).locator("xpath=ancestor::*[.//ul][1]")
    return "You had chosen ben.txt: choose it again, or" in beside.inner_text()


def both_change(ann, bob, row, field):
    """Bob saves a field of the page that Ann has open, and has changed there, too."""
    ann.open(row)
    bob.change(row, **{field: "bob's"})
    ann.fill(**{field: "ann's"})


@pytest.fixture
def lost(ann, bob, order):
    """Ann had chosen a file, and has to decide about something else."""
    order.attachment.save("old.txt", ContentFile(b"old.txt"))
    both_change(ann, bob, order, "note")
    choose(ann, "attachment")
    ann.save()
    assert ann.asked
    return order


@with_and_without_scripts
def test_a_file_nobody_else_touched_is_no_question_and_isnt_forgotten(ann, lost):
    assert asks_for(ann, "attachment")
    for _ in range(2):
        assert ann.panel.locator(".optilock-question").count() == 1
        decide(ann, "note")  # without the file
        assert asks_for(ann, "attachment")
    choose(ann, "attachment")
    decide(ann, "note")
    assert content(lost) == b"ben.txt"
    ann.change(lost, status="paid")
    assert content(lost) == b"ben.txt"


@with_and_without_scripts
def test_the_stored_file_can_be_kept(ann, lost):
    ann.keep("mine", "optilock_decision_note")
    ann.page.get_by_label("Keep the stored file").check()
    ann.save()
    assert not ann.asked
    assert content(lost) == b"old.txt"
    assert lost.note == "ann's"


def test_in_a_collision_of_files_mine_stays_mine(ann, bob, order):
    ann.open(order)
    # Django 6.1 has a legend for the input, and no label.
    djangos = ann.violations(".field-attachment")
    bob.open(order)
    choose(bob, "attachment", "bob.txt")
    bob.save()
    choose(ann, "attachment")
    ann.save()
    for _ in range(2):
        asked = ann.panel.locator(".optilock-question").inner_text()
        assert "mine: ben.txt" in asked
        assert "orders/bob" in asked
        assert asks_for(ann, "attachment")
        decide(ann, "attachment")
    assert ann.violations(".field-attachment") - djangos == set()
    choose(ann, "attachment")
    ann.save()
    assert content(order) == b"ben.txt"


@pytest.fixture
def kinds(transactional_db):
    return Assorted.objects.create(line="old")


@pytest.fixture
def new_row(ann, bob, kinds):
    """Ann had chosen files in new rows, and has to decide about something else."""
    both_change(ann, bob, kinds, "line")
    choose(ann, "scan_set-0-file")
    ann.save()
    assert ann.asked
    return kinds


@with_and_without_scripts
def test_a_file_in_a_new_row_is_not_forgotten(ann, new_row):
    assert asks_for(ann, "scan_set-0-file")
    decide(ann, "line")
    assert not Scan.objects.exists()
    assert asks_for(ann, "scan_set-0-file")
    choose(ann, "scan_set-0-file")
    decide(ann, "line")
    assert content(Scan.objects.get(), "file") == b"ben.txt"
    new_row.refresh_from_db()
    assert new_row.line == "ann's"


@with_and_without_scripts
def test_a_file_in_a_new_row_can_be_left_out(ann, new_row):
    ann.keep("mine", "optilock_decision_line")
    ann.page.get_by_label("Save without this file").check()
    ann.save()
    new_row.refresh_from_db()
    assert new_row.line == "ann's"
    assert not Scan.objects.exists()


def test_a_row_that_is_removed_takes_its_file_along(ann, bob, kinds):
    both_change(ann, bob, kinds, "line")
    choose(ann, "scan_set-0-file", "other.txt")
    ann.page.get_by_text("Add another Scan").click()
    choose(ann, "scan_set-1-file")
    ann.save()
    ann.page.locator("#scan_set-0 .inline-deletelink").click()
    decide(ann, "line")
    assert ann.field("scan_set-1-file").count() == 0
    assert asks_for(ann, "scan_set-0-file")
