"""Somebody commits while a page of the admin is being saved."""

from __future__ import annotations

from threading import Thread

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from factories import LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.admin import OrderAdmin
from testapp.models import Line, Order

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


def in_another_connection(write):
    """Run a write in a thread, which has a connection of its own."""

    def target():
        try:
            write()
        finally:
            connection.close()

    thread = Thread(target=target)
    thread.start()
    thread.join()


@pytest.fixture
def race(monkeypatch):
    """Let somebody write just before ``save_model()`` does, once."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: nobody can commit in between")
    # Rows that are locked can't be changed; not all databases can lock them.
    monkeypatch.setattr(connection.features, "has_select_for_update", False)

    def arrange(write):
        writes = [write]
        save_model = OrderAdmin.save_model

        def racing(self, request, *args):
            self.message_user(request, "saving")
            if writes:
                in_another_connection(writes.pop())
            save_model(self, request, *args)

        monkeypatch.setattr(OrderAdmin, "save_model", racing)

    return arrange


@pytest.fixture
def order():
    return OrderFactory(number="17", note="old")


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
    assert asked.save(optilock_choice_note="mine").redirects


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
    assert "deleted" in asked.panel
    assert asked.data["note"] == "mine"


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
