"""What was typed into a page belongs to that page, wherever a browser puts it."""

from __future__ import annotations

import pytest
from factories import OrderFactory
from testapp.models import Order


@pytest.fixture
def order(transactional_db):
    return OrderFactory(number="17", note="old", amount=10)


def test_text_that_is_put_back_into_a_new_page_overwrites_nothing(ann, bob, order):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    bob.change(order, note="bob's")
    ann.page.go_back()
    assert ann.field("note").input_value() == "ann's"
    ann.save()
    assert ann.asked
    order.refresh_from_db()
    assert order.note == "bob's"


def test_going_back_to_a_form_that_was_left_untouched_asks_nothing(ann, bob, order):
    ann.open(order)
    ann.list(Order)
    bob.change(order, note="bob's")
    ann.page.go_back()
    assert ann.field("note").input_value() == "bob's"
    ann.fill(note="ann's")
    ann.save()
    assert not ann.asked
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 3)


def test_going_back_twice_is_no_different(ann, bob, order):
    ann.open(order)
    ann.fill(note="ann's")
    for _ in range(2):
        ann.list(Order)
        ann.page.go_back()
    bob.change(order, note="bob's")
    ann.save()
    assert ann.asked


def test_a_cell_that_is_put_back_into_a_new_list_overwrites_nothing(ann, bob, order):
    ann.list(Order)
    ann.fill(**{"form-0-amount": "30"})
    ann.open(order)
    bob.change(order, amount="20")
    ann.page.go_back()
    assert ann.field("form-0-amount").input_value() == "30"
    ann.save()
    order.refresh_from_db()
    assert order.amount == 20
    assert ann.page.get_by_text("bob has saved").count()


def test_ticked_rows_that_are_put_back_into_a_new_list_are_asked_about(ann, bob, order):
    ann.list(Order)
    ann.page.locator(".action-select").check()
    ann.open(order)
    bob.change(order, amount="20")
    ann.page.go_back()
    assert ann.page.locator(".action-select").is_checked()
    ann.page.select_option('[name="action"]', "mark_paid")
    ann.click('[name="index"]')
    assert ann.asked
    order.refresh_from_db()
    assert order.status == "open"
