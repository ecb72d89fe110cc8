"""What was typed into a page belongs to that page, wherever a browser puts it."""

from __future__ import annotations

from random import Random
from string import ascii_lowercase

from factories import OrderFactory
from testapp.models import Order


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


def test_where_storage_is_nearly_full_the_last_pages_are_remembered(ann, bob):
    chance = Random(7)
    long = " ".join(
        "".join(chance.choices(ascii_lowercase, k=9)) for _ in range(12_000)
    )
    one, two = (OrderFactory(note=long, number=number) for number in "12")
    ann.go("/")
    ann.page.evaluate(
        """() => {
            for (let size = 1 << 22; size > 200; size >>= 1) {
                try {
                    sessionStorage.setItem(`full${size}`, 'x'.repeat(size));
                } catch {
                    continue;
                }
            }
            sessionStorage.removeItem('full131072');
            sessionStorage.removeItem('full65536');
        }"""
    )
    ann.open(one)
    ann.open(two)
    ann.fill(note="ann's")
    ann.list(Order)
    bob.change(two, note="bob's")
    ann.page.go_back()
    ann.save()
    assert ann.asked
    ann.page.evaluate("() => sessionStorage.clear()")


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
    assert ann.page.get_by_text("bob’s:").count()


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


def test_a_page_with_an_error_that_is_reloaded_is_sent_again(ann, order):
    """As without a version, where a browser asks whether to send it once more."""
    ann.open(order)
    ann.fill(amount="", note="ann's")
    ann.save()
    ann.page.reload()
    assert ann.field("note").input_value() == "ann's"


def test_a_page_that_asked_is_asking_still_when_it_is_reloaded(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    ann.page.reload()
    assert ann.asked
    assert ann.field("note").input_value() == "ann's"


def test_a_page_that_was_sent_once_more_knows_what_has_changed_since(ann, bob, order):
    ann.open(order)
    ann.fill(amount="")
    ann.save()
    bob.change(order, note="bob's")
    ann.page.reload()
    ann.fill(amount="12")
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.amount) == ("bob's", 12)
