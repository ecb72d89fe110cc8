from __future__ import annotations

import pytest
from django.contrib.admin import options as admin_options
from django.urls import reverse
from factories import OrderFactory
from testapp.admin import site
from testapp.models import Order
from windows import DARK, PHONE, windows, with_and_without_scripts


@pytest.fixture
def orders(transactional_db):
    """Three rows; the list shows the newest first."""
    return [OrderFactory(number=n, amount=10) for n in ("1", "2", "3")]


@pytest.fixture
def opened(ann, orders):
    ann.list(Order)


@pytest.fixture
def changed(opened, bob, orders):
    """Ann sees the list as it was before Bob changed the second order."""
    bob.open(orders[1])
    bob.fill(note="bob's")
    bob.save()


def statuses():
    return list(Order.objects.order_by("number").values_list("status", flat=True))


def tick(person, *orders):
    for order in orders:
        person.page.locator(f'[name="_selected_action"][value="{order.pk}"]').check()


def run(person, action, *orders):
    tick(person, *orders)
    person.field("action").first.select_option(action)
    person.click('[name="index"]')


def answer(person, text):
    with person.page.expect_navigation():
        person.panel.get_by_text(text).click()


@pytest.mark.usefixtures("changed")
class TestRowsChangedSinceTheListWasShown:
    @with_and_without_scripts
    @pytest.mark.parametrize(
        ("text", "result"),
        [
            ("Mark paid: only the 1 unchanged", ["paid", "open", "open"]),
            ("Mark paid: all 2", ["paid", "paid", "open"]),
            ("Cancel", ["open", "open", "open"]),
        ],
    )
    def test_are_listed_and_asked_about(self, ann, orders, text, result):
        run(ann, "mark_paid", *orders[:2])
        [listed] = ann.panel.locator("li").all_inner_texts()
        told = "bob changed “2” a moment ago, after you opened this page. Changed Note."
        assert listed.startswith(told)
        assert statuses() == ["open", "open", "open"]
        answer(ann, text)
        ann.page.wait_for_selector("#result_list")
        assert statuses() == result

    def test_are_asked_about_again_after_a_third_writer(self, ann, bob, orders):
        run(ann, "mark_paid", *orders[:2])
        bob.open(orders[0])
        bob.fill(note="bob's")
        bob.save()
        answer(ann, "Mark paid: all 2")
        assert "bob changed “1”" in ann.panel.inner_text()
        assert statuses() == ["open", "open", "open"]

    def test_do_not_matter_to_an_action_that_is_not_declared(self, ann, orders):
        run(ann, "do_nothing", *orders)
        assert ann.messages == ["Nothing was done."]

    @with_and_without_scripts
    @pytest.mark.smoke
    def test_are_told_before_the_confirmation_of_delete_selected(self, ann, orders):
        run(ann, "delete_selected", *orders[:2])
        assert "bob changed “2”" in ann.panel.inner_text()
        answer(ann, "only the 1 unchanged")
        assert "Are you sure" in ann.page.inner_text("#content")
        ann.click("#content [type=submit]")
        assert set(Order.objects.all()) == set(orders[1:])

    def test_are_told_of_when_all_rows_of_all_pages_are_selected(
        self, ann, orders, monkeypatch
    ):
        monkeypatch.setattr(site._registry[Order], "list_per_page", 2)
        orders[1].refresh_from_db()
        ann.list(Order)  # the third and the second
        Order.objects.filter(number="2").update(note="again")
        ann.page.locator("#action-toggle").check()
        ann.page.get_by_text("Select all 3 orders").click()
        run(ann, "mark_paid")
        assert "“2” was changed" in ann.panel.inner_text()
        assert "Rows on other pages are used as they are now." in (
            ann.panel.inner_text()
        )
        answer(ann, "Mark paid: all but the changed")
        assert statuses() == ["paid", "open", "paid"]

    @windows(desktop={}, phone=PHONE, dark=DARK, dark_phone=PHONE | DARK)
    def test_are_shown_on_a_page_that_can_be_seen_and_read(self, ann, orders, request):
        ann.go(reverse("admin:password_change"))
        djangos = ann.violations()  # the link in the line that says where one is
        ann.list(Order)
        Order.objects.filter(number="2").update(note="again")
        run(ann, "mark_paid", *orders[:2])
        ann.look(f"action-{request.node.callspec.id}")
        assert ann.violations() <= djangos
        assert ann.is_wide_enough()

    def test_can_be_decided_about_with_the_keyboard(self, ann, orders):
        run(ann, "mark_paid", *orders[:2])
        ann.page.get_by_text("only the 1 unchanged").focus()
        ann.page.keyboard.press("Tab")
        with ann.page.expect_navigation():
            ann.page.keyboard.press("Enter")
        assert statuses() == ["paid", "paid", "open"]

    def test_can_be_left_alone_after_the_confirmation(self, ann, orders):
        run(ann, "delete_selected", *orders[:2])
        answer(ann, "only the 1 unchanged")
        ann.click("text=No, take me back")
        ann.look("action-back")
        assert ann.page.locator("#result_list").count()

    def test_stay_selected_for_who_cancels(self, ann, orders):
        run(ann, "mark_paid", *orders[:2])
        answer(ann, "Cancel")
        ticked = ann.page.locator("[name=_selected_action]:checked")
        assert ticked.count() == 2


@with_and_without_scripts
def test_rows_that_nobody_changed_are_not_asked_about(ann, opened, orders):
    run(ann, "mark_paid", *orders[:2])
    assert not ann.asked
    assert statuses() == ["paid", "paid", "open"]


@with_and_without_scripts
def test_rows_changed_after_the_confirmation_are_not_deleted_with_it(
    ann, bob, opened, orders
):
    run(ann, "delete_selected", *orders[:2])
    bob.open(orders[1])
    bob.fill(note="bob's")
    bob.save()
    ann.click("#content [type=submit]")
    assert "bob changed “2”" in ann.panel.inner_text()
    assert Order.objects.count() == 3
    answer(ann, "all 2")
    ann.click("#content [type=submit]")
    assert Order.objects.get() == orders[2]


@pytest.mark.skipif(
    not hasattr(admin_options, "ActionLocation"),
    reason="actions on the change form came with Django 6.1",
)
def test_an_action_of_the_change_form_asks_too(ann, bob, orders):
    for person in (ann, bob):
        person.open(orders[0])
    bob.fill(note="bob's")
    bob.save()
    ann.field("CHANGE_FORM-action").select_option("mark_paid")
    ann.click('[name="CHANGE_FORM-index"], .actions button')
    assert "bob changed “1”" in ann.panel.inner_text()
    assert statuses()[0] == "open"
    answer(ann, "all")
    assert statuses()[0] == "paid"
