"""The change list: what is edited in it, and actions."""

from __future__ import annotations

import pytest
from factories import OrderFactory
from pages import Page
from testapp.models import Order

from contracts.where import form_around

pytestmark = pytest.mark.django_db


@pytest.fixture
def orders():
    """Two rows; the list shows the newest first."""
    return [OrderFactory(number=n, amount=10) for n in ("1", "2")]


@pytest.fixture
def pages(orders, ann, bob):
    return Page.list(ann, Order), Page.list(bob, Order)


def rows():
    return list(
        Order.objects.order_by("number").values_list("number", "status", "amount")
    )


def select(page, name, orders):
    return page.post(action=name, index="0", _selected_action=[o.pk for o in orders])


def answer(page, run=None):
    data = page.inputs.data | ({"optilock_run": [run]} if run else {})
    return Page(page.client, page.url, page.client.post(page.url, data))


def test_the_tokens_are_in_the_form(pages):
    form = form_around(pages[0].text, 'name="form-0-amount"')
    assert form_around(pages[0].text, 'name="form-optilock_token"') == form
    form = form_around(pages[0].text, 'name="action"')
    assert form_around(pages[0].text, 'name="optilock_token"') == form


def test_only_cells_i_changed_are_saved(pages):
    mine, theirs = pages
    assert theirs.save(**{"form-0-amount": "20"}).redirects
    assert mine.save(**{"form-0-status": "paid", "form-1-amount": "30"}).redirects
    assert rows() == [("1", "open", 30), ("2", "paid", 20)]


@pytest.mark.parametrize(("choice", "amount"), [("mine", 30), ("theirs", 20)])
def test_a_cell_both_changed_asks_and_nothing_is_saved_until_then(
    pages, choice, amount
):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-amount": "30", "form-1-amount": "40"})
    assert not asked.redirects
    assert rows() == [("1", "open", 10), ("2", "open", 20)]
    assert "bob’s:" in asked.text
    assert asked.data["form-0-amount"] == "30"
    form = form_around(asked.text, 'name="form-0-amount"')
    assert form_around(asked.text, 'name="form-0-optilock_decision_amount"') == form
    assert not asked.save().redirects
    assert asked.save(**{"form-0-optilock_decision_amount": choice}).redirects
    assert rows() == [("1", "open", 40), ("2", "open", amount)]


@pytest.mark.parametrize(
    ("run", "statuses"), [("unchanged", ["paid", "open"]), ("all", ["paid", "paid"])]
)
def test_an_action_asks_about_rows_changed_since_the_list_was_shown(
    pages, orders, run, statuses
):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = select(mine, "mark_paid", orders)
    assert "bob changed “2”" in asked.text
    assert [row[1] for row in rows()] == ["open", "open"]
    assert answer(asked, run).redirects
    assert [row[1] for row in rows()] == statuses


def test_deleting_the_selected_asks_about_rows_changed_before_the_confirmation(
    pages, orders
):
    pages[1].save(**{"form-0-amount": "20"})
    asked = select(pages[0], "delete_selected", orders)
    assert "bob changed “2”" in asked.text
    assert answer(answer(asked, "unchanged")).redirects
    assert rows() == [("2", "open", 20)]


def test_deleting_the_selected_asks_about_rows_changed_after_the_confirmation(
    pages, orders
):
    confirm = select(pages[0], "delete_selected", orders)
    pages[1].save(**{"form-0-amount": "20"})
    asked = answer(confirm)
    assert "bob changed “2”" in asked.text
    assert len(rows()) == 2
    assert answer(answer(asked, "all")).redirects
    assert rows() == []
