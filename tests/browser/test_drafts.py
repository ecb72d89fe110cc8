"""What somebody typed is kept until it is saved, or thrown away on purpose."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import reverse
from factories import LineFactory, MemoFactory
from pages import admin_url
from testapp.admin import LineInline, OrderAdmin
from testapp.models import Colour, Line, Memo, Order
from testapp.views import MemoUpdate
from windows import DARK, NO_SCRIPTS, PHONE, windows


class Draft:
    """The offer to put back what was typed."""

    def __init__(self, person):
        self.person = person
        self.banner = person.page.locator(".optilock-draft")

    @property
    def text(self):
        return self.banner.locator("p").inner_text()

    @property
    def is_offered(self):
        return self.banner.count() > 0

    def put_back(self):
        self.banner.get_by_role("button", name="Put it back").press("Enter")

    def discard(self):
        self.banner.get_by_role("button", name="Discard it").press("Enter")


@pytest.fixture
def draft(ann):
    return Draft(ann)


def kept(person):
    stored = person.page.evaluate("() => sessionStorage['optilock-drafts']")
    return json.loads(stored or "[]")


def end_session(person):
    person.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)


def log_in(person):
    """Log in on the page that asks for it."""
    user = get_user_model().objects.get(username=person.user.username)
    user.set_password(user.username)
    user.save()
    person.fill(username=user.username, password=user.username)
    person.click('[type="submit"]')


@pytest.fixture
def questions(ann):
    """What the browser has asked before it left a page; the answer was yes."""
    asked = []

    def answer(dialog):
        asked.append(dialog.type)
        dialog.accept()

    ann.page.on("dialog", answer)
    yield asked
    ann.page.remove_listener("dialog", answer)


def test_a_session_that_has_ended_loses_nothing(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's", status="paid")
    end_session(ann)
    ann.save()
    log_in(ann)
    assert ann.field("note").input_value() == "old"
    assert draft.text.startswith("You typed this at ")
    assert "it was not saved: Status and Note." in draft.text
    assert not ann.violations(".optilock-draft")
    ann.look("draft")
    draft.put_back()
    assert not draft.is_offered
    assert ann.field("note").input_value() == "ann's"
    assert ann.field("status").input_value() == "paid"
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.status) == ("ann's", "paid")
    ann.open(order)
    assert not draft.is_offered
    assert kept(ann) == []


def test_a_page_that_was_refused_as_forged_loses_nothing(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.page.evaluate(
        "document.getElementsByName('csrfmiddlewaretoken').forEach(i => i.value = 'x')"
    )
    ann.save()
    assert "Forbidden" in ann.page.content()
    ann.complaints.clear()  # Django's own page has a style that is inline
    ann.open(order)
    draft.put_back()
    assert ann.field("note").input_value() == "ann's"


def test_a_draft_is_compared_with_what_it_was_typed_over(ann, bob, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    bob.change(order, note="bob's")
    ann.open(order)
    assert ann.field("note").input_value() == "bob's"
    draft.put_back()
    ann.save()
    assert ann.asked
    order.refresh_from_db()
    assert order.note == "bob's"
    ann.keep("mine", "optilock_decision_note")
    ann.save()
    order.refresh_from_db()
    assert order.note == "ann's"
    ann.open(order)
    assert not draft.is_offered


def test_a_draft_that_was_put_back_keeps_its_token_when_one_comes_back(
    ann, bob, order, draft
):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    bob.change(order, note="bob's")
    ann.open(order)
    draft.put_back()
    ann.list(Order)
    ann.page.go_back()
    ann.save()
    assert ann.asked


def test_what_is_discarded_is_gone(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    ann.open(order)
    draft.discard()
    assert not draft.is_offered
    assert ann.field("note").input_value() == "old"
    ann.open(order)
    assert not draft.is_offered


def test_a_conflict_that_is_discarded_leaves_no_draft_and_asks_nothing(
    ann, bob, order, draft, questions
):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    ann.click("[data-optilock-discard]")
    assert questions == []
    assert not draft.is_offered
    assert ann.field("note").input_value() == "bob's"


def test_a_conflict_page_that_is_left_loses_nothing(ann, bob, order, draft):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's", amount="12")
    ann.save()
    assert ann.asked
    assert not draft.is_offered
    ann.open(order)
    draft.put_back()
    ann.save()
    assert ann.asked
    assert ann.field("note").input_value() == "ann's"
    assert ann.field("amount").input_value() == "12"


def test_leaving_asks_only_where_something_was_typed(ann, order, questions):
    ann.open(order)
    ann.page.locator("[name=note]").click()
    ann.list(Order)
    assert questions == []
    ann.open(order)
    ann.page.locator("[name=note]").press_sequentially("ann's")
    ann.save("_continue")
    assert questions == []
    ann.page.locator("[name=note]").press_sequentially("ann's")
    ann.list(Order)
    assert questions == ["beforeunload"]


def test_what_is_secret_is_not_kept(ann, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_secret_fields", ["note"])
    monkeypatch.setattr(LineInline, "optilock_secret_fields", ["comment"])
    ann.open(order)
    ann.page.evaluate("document.querySelector('[name=currency]').type = 'password'")
    ann.fill(note="secret", amount="12", currency="USD")
    ann.fill(**{"lines-0-comment": "secret"})
    ann.page.set_input_files('[name="attachment"]', __file__)
    ann.page.wait_for_function("() => sessionStorage['optilock-drafts']")
    ann.save()
    assert "secret" not in str(kept(ann))
    [draft] = kept(ann) or [{"pieces": [{"label": "Amount"}]}]
    assert [piece["label"] for piece in draft["pieces"]] == ["Amount"]


def test_another_user_of_the_same_tab_is_offered_nothing(ann, bob, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    end_session(ann)
    ann.save()
    ann.user = bob.user
    log_in(ann)
    assert ann.field("note").input_value() == "old"
    assert not draft.is_offered


def test_who_logs_out_leaves_nothing_behind(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.page.wait_for_function("() => sessionStorage['optilock-drafts']")
    ann.click("#logout-form button")
    assert kept(ann) == []


def test_new_rows_and_old_ones_find_their_places(ann, bob, order, draft):
    pen, _, cap = (LineFactory(order=order, product=p) for p in ("pen", "ink", "cap"))
    ann.open(order)
    ann.fill(**{"lines-1-quantity": "7", "lines-2-comment": "blue"})
    ann.page.locator("#lines-group .add-row a").click()
    ann.fill(**{"lines-3-product": "nib", "lines-4-product": "box"})
    ann.list(Order)
    pen.delete()
    cap.delete()
    ann.open(order)
    draft.put_back()
    assert ann.field("lines-0-quantity").input_value() == "7"
    assert ann.field("lines-1-product").input_value() == "nib"
    assert ann.field("lines-2-product").input_value() == "box"
    assert draft.banner.locator("li").all_inner_texts() == ["Comment: blue"]
    assert not ann.violations(".optilock-draft")
    draft.discard()
    ann.save()
    lines = set(Line.objects.values_list("product", "quantity"))
    assert lines == {("ink", 7), ("nib", 1), ("box", 1)}


def test_what_was_chosen_in_djangos_widget_with_two_boxes_is_kept(
    ann, order, draft, monkeypatch
):
    monkeypatch.setattr(OrderAdmin, "filter_horizontal", ["tags"])
    for name in ("red", "blue", "green"):
        order.tags.add(Colour.objects.create(name=name))
    order.tags.remove(Colour.objects.get(name="red"))
    ann.open(order)
    ann.page.select_option("#id_tags_from", label="red")
    ann.page.click("#id_tags_add")
    ann.page.select_option("#id_tags_to", label="blue")
    ann.page.click("#id_tags_remove")
    ann.list(Order)
    ann.open(order)
    draft.put_back()
    ann.save()
    assert {colour.name for colour in order.tags.all()} == {"red", "green"}
    ann.open(order)
    assert not draft.is_offered


def test_a_draft_that_is_left_alone_is_offered_again(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    ann.open(order)
    ann.fill(amount="12")
    ann.save()
    ann.open(order)
    assert "Note." in draft.text
    draft.put_back()
    assert ann.field("note").input_value() == "ann's"
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.amount) == ("ann's", 12)


def test_a_new_object_that_was_not_saved_is_kept(ann, draft):
    ann.go(admin_url(Order, "add"))
    ann.fill(number="18", note="ann's")
    ann.list(Order)
    ann.go(admin_url(Order, "add"))
    draft.put_back()
    ann.save()
    assert Order.objects.get(number="18").note == "ann's"
    ann.go(admin_url(Order, "add"))
    assert not draft.is_offered


def test_the_cells_of_a_list_are_kept_and_gone_once_saved(ann, order, draft):
    ann.list(Order)
    ann.fill(**{"form-0-amount": "30"})
    ann.open(order)
    ann.list(Order)
    draft.put_back()
    ann.save()
    order.refresh_from_db()
    assert order.amount == 30
    assert not draft.is_offered
    ann.list(Order)
    assert not draft.is_offered


def test_it_is_off_by_one_attribute(ann, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_drafts", False)
    ann.open(order)
    assert "draft.js" not in ann.page.content()
    ann.list(Order)
    assert "draft.js" not in ann.page.content()


@windows(phone={**PHONE, **DARK})
def test_a_draft_on_a_phone(ann, order, draft):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    ann.open(order)
    assert ann.is_wide_enough()
    assert not ann.violations(".optilock-draft")
    ann.look("draft-phone")


@windows(no_scripts=NO_SCRIPTS)
def test_without_scripts_nothing_is_different(ann, order):
    ann.open(order)
    ann.fill(note="ann's")
    ann.list(Order)
    ann.open(order)
    assert ann.field("note").input_value() == "old"
    ann.fill(note="ann's")
    ann.save()
    order.refresh_from_db()
    assert order.note == "ann's"


def test_a_view_outside_the_admin_keeps_drafts_if_it_says_so(
    ann, transactional_db, draft, monkeypatch
):
    memo = MemoFactory(subject="old", body="old")
    url = reverse("memo", args=[memo.pk])
    ann.go(url)
    assert "draft.js" not in ann.page.content()
    monkeypatch.setattr(MemoUpdate, "keep_drafts", True)
    ann.go(url)
    ann.fill(subject="ann's")
    ann.go("/done/")
    ann.go(url)
    draft.put_back()
    ann.click("form > button")
    assert Memo.objects.get().subject == "ann's"
    ann.go(url)
    assert not draft.is_offered
