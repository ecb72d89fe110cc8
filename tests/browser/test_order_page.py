"""The example's page that edits an order through the API, without a framework."""

from __future__ import annotations

import pytest
from django.urls import reverse
from shop.models import Order
from windows import DARK, PHONE, windows

NOTE = "Leave it with the neighbours.\r\nNot before the 24th."


@pytest.fixture
def order(transactional_db, settings):
    settings.ROOT_URLCONF = "config.urls"
    return Order.objects.create(
        number="1012", customer="Vera Sokolova", amount="20.50", note=NOTE
    )


def visit(person, order):
    with person.page.expect_response("**/api/orders/*/"):
        person.go(reverse("order", args=[order.number]))
    person.page.wait_for_function("() => document.getElementById('version').innerText")


@pytest.fixture
def opened(ann, bob, order):
    visit(ann, order)
    visit(bob, order)


def press(person, button="Save"):
    """Press a button, and return what the page says then."""
    person.page.get_by_role("button", name=button).click()
    return said(person)


def said(person):
    messages = person.page.locator("#alert:not(:empty), #status:not(:empty)")
    messages.wait_for()
    return messages.inner_text()


def role(person):
    return person.page.locator("#alert:not(:empty), #status:not(:empty)").get_attribute(
        "role"
    )


def stored(*fields):
    return Order.objects.values_list(*fields).get()


@pytest.fixture
def collision(ann, bob, opened):
    """Bob has saved a note and a price while Ann was changing both, and more."""
    bob.fill(note="Call at the gate.", amount="25", customer="V. Sokolova")
    press(bob)
    ann.fill(note="Bring it on Friday.", currency="USD", status="paid")
    press(ann)


@pytest.mark.usefixtures("opened")
class TestTheOrder:
    def test_is_saved_with_the_version_it_was_loaded_with(self, ann):
        ann.fill(note="Ring twice.")
        assert press(ann) == "Saved as version 2."
        assert role(ann) == "status"
        assert press(ann) == "Saved as version 2."
        assert stored("note", "version") == ("Ring twice.", 2)

    def test_of_several_fields_is_merged_without_a_question(self, ann, bob):
        bob.fill(customer="V. Sokolova")
        bob.page.get_by_label("Gift").check()
        press(bob)
        ann.fill(note="Ring twice.")
        said = press(ann)
        assert said == (
            "Saved as version 3. Merged: somebody else had changed Customer, Gift."
        )
        assert ann.field("customer").input_value() == "V. Sokolova"
        assert "Merged" in ann.page.inner_text("#note_customer")
        expected = ("V. Sokolova", True, "Ring twice.", 3)
        assert stored("customer", "gift", "note", "version") == expected

    def test_that_somebody_else_has_deleted_can_be_created_again(self, ann, order):
        ann.fill(note="Ring twice.")
        order.delete()
        assert "deleted" in press(ann)
        assert role(ann) == "alert"
        assert ann.field("note").input_value() == "Ring twice."
        assert press(ann, "Create it again") == "Created again."
        assert stored("note", "version") == ("Ring twice.", 1)
        ann.fill(note="Ring once.")
        assert press(ann) == "Saved as version 2."

    def test_says_which_field_the_server_refuses(self, ann):
        ann.fill(customer="", amount="")
        assert "marked" in press(ann)
        assert ann.page.evaluate("document.activeElement.name") == "customer"
        assert ann.field("customer").get_attribute("aria-invalid") == "true"
        assert "may not be blank" in ann.page.inner_text("#note_customer")
        ann.fill(customer="Vera", amount="3")
        press(ann)
        assert stored("customer") == ("Vera",)
        assert not ann.page.inner_text("#note_customer")


@pytest.fixture
def lose_answers(ann):
    """What Ann sends is stored, but she never gets the answer."""

    def cut(route):
        if route.request.method == "PATCH":
            route.fetch()
            route.abort()
        else:
            route.continue_()

    ann.page.route("**/api/**", cut)
    yield lambda: ann.page.unroute_all()
    ann.page.unroute_all()


@pytest.mark.usefixtures("opened")
class TestALostAnswer:
    def test_is_found_to_be_stored_by_pressing_once_more(self, ann, lose_answers):
        ann.fill(note="Ring twice.", amount="30")
        assert press(ann).startswith("No answer.")
        lose_answers()
        assert press(ann) == "Saved as version 2."
        assert stored("note", "version") == ("Ring twice.", 2)

    def test_is_no_change_of_somebody_elses(self, ann, bob, lose_answers, order):
        ann.fill(note="Ring twice.")
        press(ann)
        visit(bob, order)
        bob.fill(customer="V. Sokolova")
        press(bob)
        lose_answers()
        ann.fill(note="Ring once.")
        assert press(ann).endswith("somebody else had changed Customer.")
        assert stored("note", "customer") == ("Ring once.", "V. Sokolova")

    def test_does_not_hide_a_change_of_somebody_elses(self, ann, bob, lose_answers):
        ann.fill(note="Ring twice.")
        press(ann)
        Order.objects.update(note="Call at the gate.")
        lose_answers()
        assert press(ann).startswith("Not saved: both of you changed Note")
        assert stored("note") == ("Call at the gate.",)


def choose(ann, group, side):
    ann.page.get_by_role("group", name=group).get_by_label(side).check()


@pytest.mark.usefixtures("collision")
class TestACollision:
    def test_saves_nothing_and_asks(self, ann):
        assert said(ann) == "Not saved: both of you changed Amount, Currency; Note."
        assert role(ann) == "alert"
        question = ann.page.get_by_role("group", name="Note").inner_text()
        for value in NOTE.replace("\r", ""), "Call at the gate.", "Bring it on Friday.":
            assert value in question
        assert ann.field("note").input_value() == "Bring it on Friday."
        assert stored("status", "version") == ("new", 2)

    def test_is_asked_about_until_it_is_decided(self, ann):
        assert press(ann) == "Choose what to keep: Amount, Currency."
        choose(ann, "Amount, Currency", "Mine")
        assert press(ann) == "Choose what to keep: Note."
        assert stored("version") == (2,)

    @pytest.mark.smoke
    def test_is_decided_for_each_on_its_own(self, ann):
        choose(ann, "Amount, Currency", "Theirs")
        choose(ann, "Note", "Mine")
        ann.fill(note="Bring it on Monday.")
        assert "Bring it on Monday." in ann.page.inner_text("#conflict")
        assert press(ann) == "Saved as version 3."
        fields = "amount", "currency", "note", "status", "customer"
        expected = (25, "EUR", "Bring it on Monday.", "paid", "V. Sokolova")
        assert stored(*fields) == expected
        assert not ann.page.locator("#conflict").is_visible()

    def test_with_a_third_writer_is_asked_about_again(self, ann):
        Order.objects.update(note="Do not ring.")
        choose(ann, "Amount, Currency", "Mine")
        choose(ann, "Note", "Mine")
        assert press(ann) == "Not saved: both of you changed Note."
        assert "Do not ring." in ann.page.inner_text("#conflict")
        choose(ann, "Note", "Theirs")
        assert press(ann).startswith("Saved")
        fields = "amount", "currency", "note", "status"
        assert stored(*fields) == (20.5, "USD", "Do not ring.", "paid")

    def test_can_be_decided_by_keyboard(self, ann):
        assert ann.page.evaluate("document.activeElement.id") == "conflict"
        keys = ann.page.keyboard
        for key in "Tab", "Space", "Tab", "Space", "ArrowDown", "Tab", "Enter":
            keys.press(key)
        ann.page.locator("#status:not(:empty)").wait_for()
        assert stored("amount", "currency", "note") == (
            25,
            "EUR",
            "Bring it on Friday.",
        )


@windows(desktop={}, phone=PHONE, dark=DARK, dark_phone=PHONE | DARK)
def test_the_page_can_be_seen_and_read(ann, bob, order, request):
    kind = request.node.callspec.id
    visit(ann, order)
    ann.look(f"order-{kind}")
    assert ann.violations() == set()
    assert ann.is_wide_enough()
    request.getfixturevalue("collision")
    ann.look(f"order-conflict-{kind}")
    assert ann.violations() == set()
    assert ann.is_wide_enough()
