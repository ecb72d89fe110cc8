from __future__ import annotations

import pytest
from testapp.models import Order
from windows import DARK, PHONE, windows, with_and_without_scripts


def confirm(person):
    person.click("#content [type=submit]")


@with_and_without_scripts
@pytest.mark.smoke
def test_what_was_changed_after_the_confirmation_is_confirmed_again(ann, bob, order):
    ann.delete(order)
    bob.open(order)
    bob.fill(note="bob's")
    bob.save()
    confirm(ann)
    assert Order.objects.get().note == "bob's"
    assert ann.messages[0].casefold().startswith("bob changed “17” a moment ago")
    assert "Are you sure" in ann.page.inner_text("#content")
    confirm(ann)
    assert not Order.objects.exists()


@with_and_without_scripts
def test_what_is_gone_already_is_no_error(ann, bob, order):
    for person in (ann, bob):
        person.delete(order)
    confirm(bob)
    confirm(ann)
    assert ann.messages == ["The order was deleted already, by bob."]
    assert ann.page.locator("#changelist").count()


@windows(desktop={}, phone=PHONE, dark=DARK)
def test_the_confirmation_that_is_shown_again_can_be_read(ann, bob, order, request):
    ann.delete(order)
    before = ann.violations()
    bob.open(order)
    bob.fill(note="bob's")
    bob.save()
    confirm(ann)
    ann.look(f"delete-{request.node.callspec.id}")
    assert ann.violations() == before  # links among text, which are Django's
    assert ann.is_wide_enough()
