"""What was overwritten by mistake is put back from the page that says so."""

from __future__ import annotations

import pytest
from testapp.admin import OrderAdmin
from testapp.models import Order
from windows import with_and_without_scripts


@pytest.fixture
def overwritten(ann, bob, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_tell_overwritten", True)
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    ann.keep("mine", "optilock_decision_note")
    ann.save()
    return order


@with_and_without_scripts
def test_a_link_puts_it_back_and_the_other_is_told(ann, bob, overwritten):
    assert ann.messages[0].startswith("You have overwritten what bob had saved: Note.")
    ann.look("undo-offered")
    ann.click(".messagelist a:has-text('Put back')")
    assert ann.field("note").input_value() == "bob's"
    assert "Note: the form shows what was overwritten." in ann.messages[0]
    ann.look("undo-shown")
    ann.save()
    overwritten.refresh_from_db()
    assert overwritten.note == "bob's"
    bob.list(Order)
    assert "was overwritten by ann: Note." in bob.messages[0]
    bob.look("undo-told")
    bob.list(Order)
    assert bob.messages == []


def test_a_third_person_loses_nothing(ann, bob, overwritten, sign_in):
    carol = sign_in("carol")
    carol.change(overwritten, note="carol's")
    ann.click(".messagelist a:has-text('Put back')")
    assert not ann.violations(".messagelist")
    ann.save()
    assert ann.asked
    overwritten.refresh_from_db()
    assert overwritten.note == "carol's"
    ann.click("[data-optilock-discard]")
    assert ann.field("note").input_value() == "carol's"
