"""Forms outside the admin."""

from __future__ import annotations

import pytest
from django.urls import reverse
from factories import MemoFactory
from testapp.models import Memo
from windows import DARK, PHONE, windows, with_and_without_scripts


@pytest.fixture
def memo(transactional_db):
    return MemoFactory(subject="old", body="old")


def visit(person, view, memo):
    person.go(reverse(view, args=[memo.pk]))


def send(person):
    person.click("form button")


def values():
    return Memo.objects.values_list("subject", "body", "version").get()


@pytest.fixture
def collision(ann, bob, memo):
    """Bob has saved another text while Ann was writing hers."""
    for person in (ann, bob):
        visit(person, "memo", memo)
    bob.fill(body="bob's")
    send(bob)
    ann.fill(body="ann's")
    send(ann)


@with_and_without_scripts
@pytest.mark.parametrize(("side", "body"), [("mine", "ann's"), ("theirs", "bob's")])
@pytest.mark.smoke
def test_a_collision_is_asked_about(ann, collision, side, body):
    assert "bob saved this memo a moment ago" in ann.panel.inner_text()
    assert values() == ("old", "bob's", 2)
    assert ann.field("body").input_value() == "ann's"
    send(ann)
    assert ann.asked
    ann.keep(side, "optilock_decision_body")
    send(ann)
    assert values()[:2] == ("old", body)


@windows(desktop={}, phone=PHONE, dark=DARK, forced={"forced_colors": "active"})
def test_the_page_that_asks_can_be_read(ann, collision, request):
    ann.look(f"view-{request.node.callspec.id}")
    assert ann.violations() == set()
    assert ann.is_wide_enough()


@with_and_without_scripts
def test_what_was_changed_after_the_confirmation_is_confirmed_again(ann, bob, memo):
    visit(ann, "delete", memo)
    visit(bob, "memo", memo)
    bob.fill(subject="bob's")
    send(bob)
    send(ann)
    assert "“bob's” was changed" in ann.page.inner_text("body")
    assert Memo.objects.exists()
    send(ann)
    assert not Memo.objects.exists()
