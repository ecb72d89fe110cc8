"""What people write stays text, wherever optilock shows it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from factories import LineFactory, MemoFactory, OrderFactory, UserFactory
from pages import Page, Script
from testapp.admin import OrderAdmin
from testapp.models import Order

pytestmark = pytest.mark.django_db

EVIL = "\"'><b onclick=x>&lt;"
HEBREW = "שלום עולם"
LONG = "<i> word & " * 1000 + "!"


class Text(HTMLParser):
    """The text of a page, and the names of all attributes in it."""

    def __init__(self, html):
        super().__init__()
        self.text, self.attributes = "", set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def order():
    return OrderFactory(number=EVIL, note="old")


@pytest.fixture
def ann():
    return UserFactory(username=f"Ann{EVIL}")


@pytest.fixture
def bob():
    return UserFactory(username=f"Bob{EVIL}")


def text_of(page):
    parsed = Text(page.text)
    assert "onclick" not in parsed.attributes
    return parsed.text


def after(page):
    """Return the page that tells what was done."""
    assert page.redirects
    url = page.response.url
    return Page(page.client, url, page.client.get(url))


@pytest.mark.parametrize("written", [EVIL, HEBREW, LONG])
def test_on_the_conflict_page_and_in_what_is_told_after_it(ann, bob, order, written):
    for name in ("changed", "deleted"):
        LineFactory(order=order, product=f"{name}{EVIL}")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(
        note=f"theirs {written}",
        **{
            "lines-0-comment": written[:100],
            "lines-1-DELETE": "on",
            "lines-2-product": f"added{EVIL}",
        },
    )
    asked = mine.save(note=f"mine {written}", **{"lines-0-comment": EVIL[::-1]})
    shown = Text(asked.panel)
    for text in (f"Bob{EVIL}", f"theirs {written}", f"mine {written}", EVIL[::-1]):
        assert text in shown.text.replace("\r\n", "\n")
    for name in ("changed", "deleted", "added"):
        assert f"Line “{name}{EVIL}”" in shown.text
    assert 'class="optilock-value" dir="auto"' in asked.panel
    assert asked.data["note"] == f"mine {written}".strip()
    text_of(asked)
    keep = {name: "mine" for name in asked.inputs.radios if "decision" in name}
    said = text_of(after(asked.save(**keep)))
    assert f"You have overwritten what Bob{EVIL} had saved" in said


def test_in_what_is_told_of_a_merge(ann, bob, order):
    LineFactory(order=order, product=EVIL)
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    changes = {"lines-0-DELETE": "on", "lines-1-product": EVIL, "note": "new"}
    theirs.save(**changes)
    said = text_of(after(mine.save(status="paid")))
    assert f"Bob{EVIL} had changed Note" in said
    assert f"Bob{EVIL} had deleted Line “{EVIL}”" in said
    assert f"Bob{EVIL} had added Line “{EVIL}”" in said


@pytest.mark.parametrize("written", [EVIL, HEBREW, LONG])
def test_in_the_cells_of_a_list(ann, bob, order, written, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "list_display", ["number", "note"])
    monkeypatch.setattr(OrderAdmin, "list_editable", ["note"])
    mine, theirs = Page.list(ann, Order), Page.list(bob, Order)
    theirs.save(**{"form-0-note": f"theirs {written}"})
    asked = mine.save(**{"form-0-note": f"mine {written}"})
    shown = text_of(asked)
    assert f"Bob{EVIL}’s: theirs {written[:50]}" in shown
    assert f"theirs {written}" in shown  # the whole of it, folded
    assert asked.data["form-0-note"] == f"mine {written}".strip()
    text_of(after(asked.save(**{"form-0-optilock_decision_note": "mine"})))


def test_on_the_page_before_an_action(ann, bob, order):
    page = Page.list(ann, Order)
    Page.change(bob, order).save(note="new")
    chosen = {"index": "0", "_selected_action": order.pk}
    asked = page.post(action="mark_paid", **chosen)
    assert f"Bob{EVIL} changed “{EVIL}”" in text_of(asked)


def test_on_the_confirmation_of_a_delete_and_when_it_is_gone(ann, bob, order):
    page = Page.delete(ann, order)
    Page.change(bob, order).save(note="new")
    again = after(page.post(post="yes"))
    assert f"Bob{EVIL} changed “{EVIL}”" in text_of(again)
    Page.delete(bob, order).post(post="yes")
    said = text_of(after(again.post(post="yes")))
    assert f"was deleted already, by Bob{EVIL}." in said


def test_on_the_page_of_what_was_deleted(ann, bob, order):
    page = Page.change(ann, order)
    Page.delete(bob, order).post(post="yes")
    refused = page.save(note=EVIL)
    assert f"Bob{EVIL} deleted “{EVIL}”" in text_of(refused)
    assert refused.data["note"] == EVIL


def test_in_the_answer_to_an_open_form(ann, bob):
    memo = MemoFactory(subject=EVIL)
    page = Page.change(bob, memo)
    page.save(body="new")
    script = Script(Page.change(bob, memo))
    response = script.ask(optilock_token=page.data["optilock_token"])
    assert response.headers["Content-Type"] == "application/json"
    # The script makes it the text of an element, never HTML.
    assert response.json()["text"].startswith("You changed “" + EVIL)
