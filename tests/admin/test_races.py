"""Somebody commits while a page of the admin is being saved."""

from __future__ import annotations

from threading import Thread

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from factories import LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.admin import OrderAdmin
from testapp.models import Line, Order
from threads import elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


@pytest.fixture
def race(monkeypatch):
    """Let somebody write just before a method of the admin does, once."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: nobody can commit in between")
    # Rows that are locked can't be changed; not all databases can lock them.
    monkeypatch.setattr(connection.features, "has_select_for_update", False)

    def arrange(write, method="save_model"):
        writes = [write]
        original = getattr(OrderAdmin, method)

        def racing(self, request, *args, **kwargs):
            self.message_user(request, "saving")
            if writes:
                elsewhere(writes.pop())
            original(self, request, *args, **kwargs)

        monkeypatch.setattr(OrderAdmin, method, racing)

    return arrange


def test_a_late_collision_shows_the_conflict_page_and_writes_nothing(order, race):
    page = Page.change(UserFactory(), order)
    race(lambda: Order.objects.filter(pk=order.pk).update(note="theirs"))
    asked = page.save(note="mine", **{"lines-0-product": "Pen"})
    assert asked.panel
    assert asked.data["note"] == "mine"
    order.refresh_from_db()
    assert (order.note, order.version) == ("theirs", 2)
    assert not Line.objects.exists()
    assert not LogEntry.objects.exists()
    assert asked.messages == []
    assert asked.save(optilock_decision_note="mine").redirects


def test_a_late_change_of_another_field_is_merged(order, race):
    page = Page.change(UserFactory(), order)
    race(lambda: Order.objects.filter(pk=order.pk).update(note="theirs"))
    saved = page.save(status="paid")
    assert saved.redirects
    order.refresh_from_db()
    assert (order.note, order.status, order.version) == ("theirs", "paid", 3)
    assert len([m for m in saved.messages if m == "saving"]) == 1
    assert LogEntry.objects.count() == 1


def test_a_late_deletion_shows_what_was_typed(order, race):
    page = Page.change(UserFactory(), order)
    race(lambda: Order.objects.filter(pk=order.pk).delete())
    asked = page.save(note="mine")
    assert "not there any more" in asked.panel
    assert asked.data["note"] == "mine"


def test_a_late_collision_in_a_row_shows_the_conflict_page(order, race):
    line = LineFactory(order=order, quantity=1)
    page = Page.change(UserFactory(), order)
    race(lambda: Line.objects.filter(pk=line.pk).update(quantity=5), "save_formset")
    asked = page.save(note="mine", **{"lines-0-quantity": "7"})
    assert "Quantity" in asked.panel
    assert asked.data["note"] == "mine"
    order.refresh_from_db()
    line.refresh_from_db()
    assert (order.note, order.version) == ("old", 1)
    assert (line.quantity, line.version) == (5, 2)
    assert not LogEntry.objects.exists()
    assert asked.messages == []
    assert asked.save(**{"lines-0-optilock_decision_quantity": "mine"}).redirects
    line.refresh_from_db()
    assert line.quantity == 7


def test_a_row_that_is_deleted_late_asks(order, race):
    line = LineFactory(order=order, quantity=1)
    page = Page.change(UserFactory(), order)
    race(lambda: Line.objects.filter(pk=line.pk).delete(), "save_formset")
    asked = page.save(note="mine", **{"lines-0-quantity": "7"})
    assert "It was deleted, but you have changed it." in asked.panel
    order.refresh_from_db()
    assert (order.note, asked.messages) == ("old", [])
    assert not LogEntry.objects.exists()


def test_a_late_collision_in_the_list_asks_at_the_cell(order, race):
    other = OrderFactory(number="18")
    page = Page.list(UserFactory(), Order)  # the newest first
    race(lambda: Order.objects.filter(pk=order.pk).update(amount=5))
    asked = page.save(**{"form-0-amount": "6", "form-1-amount": "7"})
    assert not asked.redirects
    assert "saved now:" in asked.text
    assert asked.data["form-1-amount"] == "7"
    order.refresh_from_db()
    other.refresh_from_db()
    assert (order.amount, order.version) == (5, 2)
    assert (other.amount, other.version) == (0, 1)
    assert not LogEntry.objects.exists()
    assert asked.messages == []
    assert asked.save(**{"form-1-optilock_decision_amount": "mine"}).redirects


def test_what_is_changed_late_is_not_deleted_but_confirmed_again(order, race):
    page = Page.delete(UserFactory(), order)
    race(
        lambda: Order.objects.filter(pk=order.pk).update(note="theirs"), "delete_model"
    )
    refused = page.post(post="yes")
    [message] = refused.messages
    assert message.startswith("“17” was changed")
    assert Order.objects.get().note == "theirs"
    assert not LogEntry.objects.exists()


def test_what_is_deleted_late_is_no_error(order, race):
    page = Page.delete(UserFactory(), order)
    race(lambda: Order.objects.filter(pk=order.pk).delete(), "delete_model")
    assert page.post(post="yes").messages == ["The order was deleted already."]
    assert not LogEntry.objects.exists()


def test_an_action_that_saves_a_row_changed_late_asks(order, race, monkeypatch):
    other = OrderFactory(number="18")

    def mark_paid(self, request, queryset):
        for row in queryset.order_by("-number"):
            row.status = "paid"
            self.save_model(request, row, None, True)
            self.log_change(request, row, "Paid.")

    monkeypatch.setattr(OrderAdmin, "mark_paid", mark_paid)
    page = Page.list(UserFactory(), Order)
    race(lambda: Order.objects.filter(pk=order.pk).update(note="theirs"))
    selected = [order.pk, other.pk]
    asked = page.post(action="mark_paid", index="0", _selected_action=selected)
    assert "“17” was changed" in asked.panel
    assert asked.messages == []
    assert not Order.objects.filter(status="paid").exists()
    assert not LogEntry.objects.exists()
    done = Page(
        asked.client,
        asked.url,
        asked.client.post(asked.url, asked.inputs.data | {"optilock_run": "all"}),
    )
    assert done.redirects
    assert Order.objects.filter(status="paid").count() == 2


ROUNDS = 8


def save_lists(query, field, values):
    """Edit all rows of the list, in the order it shows them in."""
    page = Page.list(UserFactory(), Order, query)
    for value in values:
        count = int(page.data["form-INITIAL_FORMS"])
        yield page.save(**{f"form-{i}-{field}": value for i in range(count)})
        page = Page.list(UserFactory(), Order, query)


def save_forms(orders, field, values):
    """Edit an order, and all of its lines."""
    for value in values:
        for order in orders:
            page = Page.change(UserFactory(), order)
            count = int(page.data["lines-INITIAL_FORMS"])
            lines = {f"lines-{i}-{field}": value for i in range(count)}
            note = {"note": value} if field == "comment" else {}
            yield page.save(**note, **lines)


def test_people_who_save_the_same_rows_in_other_orders_do_not_lock_each_other_out():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite locks no rows, but the whole database")
    orders = OrderFactory.create_batch(3)
    for order in orders:
        LineFactory.create_batch(2, order=order)
    numbers = range(1, ROUNDS + 1)
    statuses = ["paid", "open"] * (ROUNDS // 2)
    work = [
        save_lists("?o=1", "amount", numbers),
        save_lists("?o=-1", "status", statuses),
        save_forms(orders, "quantity", numbers),
        save_forms(orders[::-1], "comment", numbers),
    ]
    outcomes = []

    def run(pages):
        try:
            outcomes.extend(page.redirects for page in pages)
        except Exception as error:  # a deadlock is one
            outcomes.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(pages,)) for pages in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * (2 * ROUNDS + 2 * ROUNDS * len(orders))
    rows = Order.objects.values_list("amount", "status", "note")
    assert set(rows) == {(ROUNDS, "open", str(ROUNDS))}
    assert set(Line.objects.values_list("quantity", "comment")) == {
        (ROUNDS, str(ROUNDS))
    }


@pytest.mark.parametrize("place", ["list", "lines", "action"])
def test_rows_are_locked_in_the_order_of_their_keys(order, place):
    if not connection.features.has_select_for_update:
        pytest.skip(f"{connection.vendor} locks no rows")
    LineFactory.create_batch(2, order=order)
    other, user = OrderFactory(), UserFactory()
    model = Line if place == "lines" else Order
    page = (
        Page.change(user, order)
        if place == "lines"
        else Page.list(user, Order, "?o=-1")
    )
    with CaptureQueriesContext(connection) as queries:
        if place == "action":
            selected = {"_selected_action": [other.pk, order.pk]}
            page.post(action="mark_paid", index="0", **selected)
        else:
            page.save(**{"form-0-amount": 3, "lines-0-quantity": 3})
    quote = connection.ops.quote_name
    key = f"{quote(model._meta.db_table)}.{quote('id')} ASC"
    locks = [q["sql"] for q in queries if "FOR UPDATE" in q["sql"]]
    assert [sql for sql in locks if f"ORDER BY {key}" in sql]


def test_two_people_saving_one_page_at_once_do_not_lock_each_other_out(order):
    lines = LineFactory.create_batch(3, order=order)
    pages = [Page.change(UserFactory(), order) for _ in range(2)]
    saved = []

    def save(page, field):
        try:
            rows = {f"lines-{i}-{field}": 7 + i for i in range(len(lines))}
            saved.append(page.save(**rows))
        finally:
            connection.close()

    threads = [
        Thread(target=save, args=(page, field))
        for page, field in zip(pages, ("quantity", "comment"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [page.redirects for page in saved] == [True, True]
    assert list(order.lines.values_list("quantity", "comment")) == [
        (7, "7"),
        (8, "8"),
        (9, "9"),
    ]
