from __future__ import annotations

import re

import pytest
from django.contrib.admin import options
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from factories import CustomerFactory, OrderFactory, StaffFactory, UserFactory
from pages import Inputs, Page, admin_url
from testapp.admin import OrderAdmin, PlainAdmin
from testapp.models import Branch, Customer, Order, Parcel, Plain

from optilock.admin.actions import MANY_ROWS
from optilock.forms import form
from optilock.panel import Author

pytestmark = pytest.mark.django_db


@pytest.fixture
def orders():
    """Two rows; the list shows the newest first."""
    return [OrderFactory(number=n, amount=10) for n in ("1", "2")]


@pytest.fixture
def pages(ann, bob, orders):
    return Page.list(ann, Order), Page.list(bob, Order)


def rows():
    return list(
        Order.objects.order_by("number").values_list("number", "status", "amount")
    )


def test_only_rows_i_changed_are_saved(pages):
    mine, theirs = pages
    assert theirs.save(**{"form-0-amount": "20"}).redirects
    saved = mine.save(**{"form-1-amount": "30"})
    assert saved.redirects
    assert rows() == [("1", "open", 30), ("2", "open", 20)]
    assert LogEntry.objects.first().get_change_message() == "Changed Amount."
    assert LogEntry.objects.count() == 2


def test_cells_of_one_row_are_merged(pages):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    saved = mine.save(**{"form-0-status": "paid"})
    assert saved.redirects
    assert rows()[1] == ("2", "paid", 20)
    assert saved.messages[0].startswith("Merged: bob had changed 2: Amount")
    assert LogEntry.objects.first().get_change_message() == "Changed Status."


def test_only_rows_that_are_not_as_they_were_shown_are_compared(pages, monkeypatch):
    """To compare one takes longer than all else that is done with it."""
    compared = []

    class Noted(form.FormConflict):
        def __init__(self, one):
            compared.append(one.instance.number)
            super().__init__(one)

    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    monkeypatch.setattr(form, "FormConflict", Noted)
    assert mine.save(**{"form-1-amount": "30"}).redirects
    assert compared == ["2"]


@pytest.mark.parametrize("cell", ["amount", "status"])
def test_a_change_that_bumped_no_version_is_not_overwritten(pages, orders, cell):
    mine, _ = pages
    QuerySet(Order).filter(number="2").update(amount=20)
    saved = mine.save(**{f"form-0-{cell}": {"amount": "30", "status": "paid"}[cell]})
    assert saved.redirects == (cell == "status")
    assert rows()[1][2] == 20


def test_asking_always_asks_about_cells_that_do_not_overlap(pages, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_ask_always", True)
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-status": "paid"})
    assert not asked.redirects
    assert rows()[1] == ("2", "open", 20)
    assert "bob’s:" in asked.text
    assert "Save again to go on." in asked.text
    assert (asked.data["form-0-amount"], asked.data["form-0-status"]) == (
        "20.00",
        "paid",
    )
    assert not any("optilock" in name for name in asked.inputs.radios)
    assert asked.save().redirects
    assert rows()[1] == ("2", "paid", 20)


def test_asking_always_does_not_ask_about_rows_i_did_not_touch(pages, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_ask_always", True)
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    assert mine.save(**{"form-1-status": "paid"}).redirects
    assert rows() == [("1", "paid", 10), ("2", "open", 20)]


def test_cells_of_a_group_count_as_one(pages, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_merge_together", [("status", "amount")])
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-status": "paid"})
    assert not asked.redirects
    assert asked.save(**{"form-0-optilock_decision_status": "theirs"}).redirects
    assert rows()[1] == ("2", "open", 20)


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
    assert not asked.save().redirects
    assert LogEntry.objects.count() == 1  # bob's
    done = asked.save(**{"form-0-optilock_decision_amount": choice})
    assert done.redirects
    assert rows() == [("1", "open", 40), ("2", "open", amount)]
    mine = LogEntry.objects.filter(user__username="ann").order_by("object_repr")
    assert [(e.object_repr, e.get_change_message()) for e in mine] == (
        [("1", "Changed Amount."), ("2", "Changed Amount.")]
        if choice == "mine"
        else [("1", "Changed Amount.")]
    )


def test_a_row_they_deleted_and_i_did_not_touch_does_not_matter(pages, orders):
    orders[1].delete()
    assert pages[0].save(**{"form-1-amount": "30"}).redirects
    assert rows() == [("1", "open", 30)]


def test_a_row_they_deleted_and_i_changed_asks(pages, orders):
    orders[1].delete()
    asked = pages[0].save(**{"form-0-amount": "30", "form-1-amount": "40"})
    assert not asked.redirects
    assert "This row was deleted." in asked.text
    assert asked.data["form-0-amount"] == "30"
    assert not asked.save().redirects
    assert asked.save(**{"form-0-optilock_decision_": "theirs"}).redirects
    assert rows() == [("1", "open", 40)]


def test_a_deleted_row_is_named_because_its_cells_are_empty(pages, orders):
    confirmation = Page.delete(UserFactory(username="carol"), orders[1])
    confirmation.post(post="yes")
    asked = pages[0].save(**{"form-0-amount": "30"})
    assert "carol deleted “2” a moment ago." in asked.text


def test_the_confirmation_of_a_page_that_was_posted_leads_to_the_list(pages, orders):
    """A browser can't go back to it, which Django's own script would do."""
    pages[1].save(**{"form-0-amount": "20"})
    asked = select(pages[0], "delete_selected", orders)
    assert "admin/js/cancel.js" in asked.text
    confirm = answer(asked, "all")
    assert "optilock/leave.js" in confirm.text
    Order.objects.filter(number="1").update(amount=1)
    data = confirm.inputs.data
    again = Page(confirm.client, confirm.url, confirm.client.post(confirm.url, data))
    assert "admin/js/cancel.js" not in again.text


def test_values_stand_beside_their_own_rows_when_rows_come_meanwhile(pages):
    OrderFactory(number="3")
    page = pages[0].save(**{"form-0-amount": "x"})
    assert not page.redirects
    assert "/3/change/" not in page.text
    assert page.save(**{"form-0-amount": "30"}).redirects
    assert rows()[1] == ("2", "open", 30)


@pytest.mark.parametrize("wrong", [None, "x", "", "a:b:c", "another model's"])
def test_without_a_token_nothing_is_saved(pages, wrong):
    token = wrong
    if wrong == "another model's":
        parcel = Parcel.objects.create(code="P")
        token = Page.change(UserFactory(), parcel).data["optilock_token"]
    page = pages[0].save(**{"form-optilock_token": token, "form-0-amount": "30"})
    assert not page.redirects
    assert "too old" in page.text
    assert page.data["form-0-amount"] == "30"
    assert rows()[1] == ("2", "open", 10)
    assert page.save(**{"form-0-optilock_decision_amount": "mine"}).redirects
    assert rows()[1] == ("2", "open", 30)


def test_a_token_of_other_rows_saves_nothing_unasked(pages):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    token = Page.list(UserFactory(), Order, "?q=1").data["form-optilock_token"]
    asked = mine.save(**{"form-optilock_token": token})
    assert not asked.redirects
    assert rows()[1] == ("2", "open", 20)


def test_the_list_costs_one_query_more_when_it_is_saved(orders):
    user = UserFactory()

    def count(name):
        client = Client()
        client.force_login(user)
        url = reverse(f"{name}:testapp_order_changelist")
        client.get(url)
        with CaptureQueriesContext(connection) as get:
            response = client.get(url)
        data = Inputs(response.content.decode()).data | {"_save": "1"}
        for number in range(len(orders)):
            data[f"form-{number}-amount"] = len(name)
        with CaptureQueriesContext(connection) as post:
            assert client.post(url, data).status_code == 302
        return len(get), len([q for q in post if "SAVEPOINT" not in q["sql"]])

    count("plain")  # content types are kept once they are read
    get, post = count("plain")
    assert count("admin") == (get, post + 1)


def test_enter_presses_no_action_and_drops_nothing(pages):
    mine, theirs = pages
    assert mine.inputs.data["action"] == [""]
    held = mine.post(index="0", **{"form-0-amount": "30"})  # the first button
    assert "No action was chosen" in held.text
    assert held.data["form-0-amount"] == "30"
    theirs.save(**{"form-0-amount": "20"})
    asked = held.post(index="0")
    assert "bob’s:" in asked.text
    again = asked.post(index="0", **{"form-0-optilock_decision_amount": "mine"})
    assert again.data["form-0-optilock_decision_amount"] == "mine"
    assert rows()[1] == ("2", "open", 20)
    assert again.save().redirects
    assert rows()[1] == ("2", "open", 30)


def test_an_action_runs_on_unchanged_rows(pages, orders):
    page = pages[0].post(action="mark_paid", index="0", _selected_action=orders[0].pk)
    assert page.redirects
    assert rows() == [("1", "paid", 10), ("2", "open", 10)]


def select(page, name, orders, **more):
    return page.post(
        action=name, index="0", _selected_action=[o.pk for o in orders], **more
    )


def answer(page, run):
    data = page.inputs.data | {"optilock_run": [run]}
    return Page(page.client, page.url, page.client.post(page.url, data))


@pytest.mark.parametrize(
    ("run", "statuses"), [("unchanged", ["paid", "open"]), ("all", ["paid", "paid"])]
)
def test_an_action_asks_about_rows_changed_since_the_list_was_shown(
    pages, orders, run, statuses
):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = select(mine, "mark_paid", orders)
    assert not asked.redirects
    assert "bob changed “2”" in asked.panel
    assert re.search("Amount</a>: .*10.00.*→.*20.00", asked.panel)
    assert f'href="{admin_url(Order, "change", orders[1].pk)}#id_amount"' in asked.panel
    assert [row[1] for row in rows()] == ["open", "open"]
    assert answer(asked, run).redirects
    assert [row[1] for row in rows()] == statuses


def test_of_what_the_list_does_not_show_the_history_tells(pages, orders, bob):
    Page.change(bob, orders[1]).save(note="bob's")
    asked = select(pages[0], "mark_paid", orders)
    assert (
        "bob changed “2” a moment ago, after you opened this page. Changed Note."
        in (asked.panel)
    )
    assert f'href="{admin_url(Order, "change", orders[1].pk)}"' in asked.panel


def test_who_may_not_look_at_a_row_gets_no_link_to_it(orders, monkeypatch):
    user = StaffFactory(permissions=["view_order", "change_order"])
    page = Page.list(user, Order)
    Order.objects.filter(number="2").update(amount=20)
    monkeypatch.setattr(
        OrderAdmin, "has_view_or_change_permission", lambda *args: len(args) == 2
    )
    asked = select(page, "mark_paid", orders)
    assert "“2” was changed" in asked.panel
    assert "Amount" in asked.panel
    assert "href" not in asked.panel.split("</ul>")[0]


def test_what_a_list_shows_at_length_is_told_without_what_it_was(
    pages, orders, monkeypatch, ann
):
    monkeypatch.setattr(OrderAdmin, "list_display", ["number", "note", "customer"])
    monkeypatch.setattr(OrderAdmin, "list_editable", [])
    Order.objects.filter(number="2").update(note="long " * 100)
    page = Page.list(ann, Order)
    assert all("long long" not in token for token in page.tokens)
    customer = CustomerFactory(name="Smith")
    Order.objects.filter(number="2").update(note="short", customer=customer)
    panel = select(page, "mark_paid", orders).panel
    assert re.search("Note</a>: [^→]*short", panel)
    assert re.search("Customer</a>: [^→]*Smith", panel)


def test_an_action_asks_again_after_a_third_writer(pages, orders):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = select(mine, "mark_paid", orders)
    Order.objects.filter(number="1").update(amount=1)
    again = answer(asked, "all")
    assert not again.redirects
    assert "“1” was changed" in again.text


def test_an_action_that_is_not_declared_runs_as_in_django(pages, orders):
    pages[1].save(**{"form-0-amount": "20"})
    page = select(pages[0], "do_nothing", orders)
    assert page.messages == ["Nothing was done."]


@pytest.mark.parametrize("wrong", [None, "", "x", "another model's"])
def test_an_action_without_a_token_asks(pages, orders, wrong):
    token = wrong
    if wrong == "another model's":
        CustomerFactory()
        token = Page.list(UserFactory(), Customer).data["optilock_token"]
    asked = select(pages[0], "mark_paid", orders, optilock_token=token)
    assert not asked.redirects
    assert rows() == [("1", "open", 10), ("2", "open", 10)]
    assert "2 of the selected rows were changed" in asked.text


def test_an_action_on_all_rows_tells_what_changed_on_this_page(pages, orders):
    pages[1].save(**{"form-0-amount": "20"})
    asked = select(pages[0], "mark_paid", orders[:1], select_across="1")
    assert "bob changed “2”" in asked.text
    answer(asked, "unchanged")
    assert [row[1] for row in rows()] == ["paid", "open"]


def test_delete_selected_deletes_what_was_confirmed(pages, orders):
    confirm = select(pages[0], "delete_selected", orders)
    assert "optilock:" in confirm.text
    data = confirm.inputs.data
    done = confirm.client.post(confirm.url, data)
    assert done.status_code == 302
    assert rows() == []


def test_an_action_may_delete_what_has_gone_along_with_another_row(ann):
    root = Branch.objects.create()
    chosen = [root, Branch.objects.create(parent=root)]
    assert select(Page.list(ann, Branch), "fell", chosen).redirects
    assert not Branch.objects.exists()


def test_delete_selected_without_the_confirmations_token_asks(pages, orders):
    confirm = select(pages[0], "delete_selected", orders)
    data = confirm.inputs.data
    data["_selected_action"] = [order.pk for order in orders]
    asked = Page(confirm.client, confirm.url, confirm.client.post(confirm.url, data))
    assert "2 of the selected rows were changed" in asked.text
    assert len(rows()) == 2


def test_delete_selected_asks_about_rows_changed_before_the_confirmation(pages, orders):
    pages[1].save(**{"form-0-amount": "20"})
    asked = select(pages[0], "delete_selected", orders)
    assert "bob changed “2”" in asked.text
    confirm = answer(asked, "unchanged")
    assert "Are you sure" in confirm.text
    confirm.client.post(confirm.url, confirm.inputs.data)
    assert rows() == [("2", "open", 20)]


def test_delete_selected_asks_about_rows_changed_after_the_confirmation(pages, orders):
    confirm = select(pages[0], "delete_selected", orders)
    pages[1].save(**{"form-0-amount": "20"})
    asked = Page(
        confirm.client,
        confirm.url,
        confirm.client.post(confirm.url, confirm.inputs.data),
    )
    assert "bob changed “2”" in asked.text
    assert len(rows()) == 2
    confirm = answer(asked, "all")
    confirm.client.post(confirm.url, confirm.inputs.data)
    assert rows() == []


def test_selected_rows_that_are_gone_are_told(pages, orders):
    Order.objects.filter(number="2").delete()
    page = select(pages[0], "mark_paid", orders)
    assert page.messages == ["1 of the selected rows is not there any more."]
    assert rows() == [("1", "paid", 10)]


def test_an_action_of_a_change_form_asks_too(orders):
    if not hasattr(options, "ActionLocation"):
        pytest.skip("actions on the change form came with Django 6.1")
    ann, bob = UserFactory(), UserFactory(username="bob")
    mine, theirs = Page.change(ann, orders[0]), Page.change(bob, orders[0])
    theirs.save(note="bob's")
    asked = mine.post(**{"CHANGE_FORM-action": "mark_paid"})
    assert "bob changed “1”" in asked.text
    assert rows()[0][1] == "open"
    answer(asked, "all")
    assert rows()[0][1] == "paid"


def test_a_row_that_may_not_be_seen_any_more_is_not_told_about(
    pages, orders, monkeypatch
):
    original = OrderAdmin.get_queryset
    monkeypatch.setattr(
        OrderAdmin,
        "get_queryset",
        lambda self, request: original(self, request).exclude(number="hush"),
    )
    mine, _ = pages
    Page.change(UserFactory(username="cat"), orders[1]).save(number="hush")
    asked = mine.save(**{"form-0-amount": "5"})
    assert "not there any more, or not visible to you" in asked.text
    for word in ("hush", "deleted", "cat has"):
        assert word not in asked.text


def test_of_many_changed_rows_the_rest_is_counted(ann):
    many = [OrderFactory(number=str(n)) for n in range(MANY_ROWS + 2)]
    page = Page.list(ann, Order)
    Order.objects.update(amount=20)
    asked = select(page, "mark_paid", many)
    assert asked.panel.count("was changed") == MANY_ROWS
    assert "and 2 more" in asked.panel


def test_a_column_that_the_list_has_not_read_is_told_without_what_it_was(
    ann, orders, monkeypatch
):
    original = OrderAdmin.get_queryset
    monkeypatch.setattr(
        OrderAdmin, "get_queryset", lambda *args: original(*args).defer("amount")
    )
    monkeypatch.setattr(OrderAdmin, "list_editable", [])
    page = Page.list(ann, Order)
    Order.objects.filter(number="2").update(amount=20)
    asked = select(page, "mark_paid", orders)
    assert "“2” was changed" in asked.panel
    assert "→" not in asked.panel


def test_cells_of_what_has_no_version_are_saved_as_in_django(ann, monkeypatch):
    monkeypatch.setattr(PlainAdmin, "list_display", ["id", "name"])
    monkeypatch.setattr(PlainAdmin, "list_editable", ["name"])
    Plain.objects.create(name="P")
    page = Page.list(ann, Plain)
    Plain.objects.update(name="theirs")
    assert page.save(**{"form-0-name": "mine"}).redirects
    assert Plain.objects.get().name == "mine"


def test_a_deleted_row_that_nobody_can_name_is_told_with_who_did_it(
    pages, orders, monkeypatch
):
    monkeypatch.setattr(
        OrderAdmin, "get_conflict_author", lambda *args: Author("carol")
    )
    orders[1].delete()
    asked = pages[0].save(**{"form-0-amount": "30"})
    assert "carol deleted this row." in asked.text


def test_a_row_that_is_decided_waits_for_the_others(pages):
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20", "form-1-amount": "21"})
    asked = mine.save(**{"form-0-amount": "30", "form-1-amount": "31"})
    again = asked.save(**{"form-0-optilock_decision_amount": "mine"})
    assert not again.redirects
    assert again.data["form-0-optilock_decision_amount"] == "mine"
    assert rows() == [("1", "open", 21), ("2", "open", 20)]
    assert again.save(**{"form-1-optilock_decision_amount": "theirs"}).redirects
    assert rows() == [("1", "open", 21), ("2", "open", 30)]


def test_what_else_is_wrong_with_a_row_is_told_beside_the_question(pages, monkeypatch):
    def clean(self):
        if self.status == "shipped":
            raise ValidationError("Nobody ships from here.")

    monkeypatch.setattr(Order, "clean", clean)
    mine, theirs = pages
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-amount": "30", "form-0-status": "shipped"})
    assert "form-0-optilock_decision_amount" in asked.inputs.radios
    assert asked.text.count("Nobody ships from here.") == 1
    decided = {"form-0-optilock_decision_amount": "mine"}
    assert not asked.save(**decided).redirects
    assert asked.save(**decided, **{"form-0-status": "paid"}).redirects
    assert rows()[1] == ("2", "paid", 30)
