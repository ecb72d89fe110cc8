"""What django-simple-history records, and its pages that go back to that."""

from __future__ import annotations

import datetime

import pytest
from django.apps import apps
from django.core import checks
from django.utils import timezone
from pages import Page, admin_url
from testapp.models import Order

from contracts.packages import NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if NAME != "simple_history":
    pytest.skip("about django-simple-history", allow_module_level=True)


@pytest.fixture
def order(order):
    """The order, when nothing is recorded yet."""
    order.history.all().delete()
    return order


@pytest.fixture
def pages(order, ann, bob):
    return Page.change(ann, order), Page.change(bob, order)


def recorded(*names):
    """Return what the records say of fields, the oldest first."""
    records = Order.history.order_by("history_id")
    return list(records.values_list(*names, flat=len(names) == 1))


def open_record(user, order, number):
    record = Order.history.order_by("history_id")[number]
    return Page.get(user, admin_url(order, "simple_history", order.pk, record.pk))


def test_there_is_a_record_for_what_was_saved_and_for_nothing_else(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert not asked.redirects
    assert recorded("note") == ["bob's"]
    assert asked.save(optilock_decision_note="mine").redirects
    assert recorded("note", "version", "history_user__username") == [
        ("bob's", 2, "bob"),
        ("ann's", 3, "ann"),
    ]


def test_a_list_that_asks_leaves_no_record(order, ann, bob):
    mine, theirs = Page.list(ann, Order), Page.list(bob, Order)
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-amount": "30"})
    assert recorded("amount") == [20]
    asked.save(**{"form-0-optilock_decision_amount": "mine"})
    assert recorded("amount") == [20, 30]


def test_the_page_of_a_record_has_no_token(pages, order, ann):
    pages[0].save(note="first")
    page = open_record(ann, order, 0)
    assert page.response.status_code == 200
    assert not [name for name in page.data if "optilock" in name]


def test_going_back_to_a_record_works(pages, order, ann):
    pages[0].save(note="first")
    Page.change(ann, order).save(note="second")
    editing, stale = Page.change(ann, order), Order.objects.get()
    page = open_record(ann, order, 0)
    assert page.data["note"] == "first"
    assert page.save().redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("first", 4)
    assert recorded("note") == ["first", "second", "first"]
    assert editing.save(note="third").panel
    with pytest.raises(RecordModifiedError):
        stale.save()


def test_going_back_to_before_a_deletion_creates_the_object_again(pages, order, ann):
    pages[0].save(note="first")
    order.refresh_from_db()
    pk = order.pk
    order.delete()
    order.pk = pk
    assert open_record(ann, order, 0).save().redirects
    assert Order.objects.get().note == "first"


def test_a_record_keeps_the_version_it_was_made_of_and_has_none(order):
    order.save()
    record = Order.history.get()
    record.history_change_reason = "because"
    record.save()
    record.save()
    assert recorded("version", "history_change_reason") == [(2, "because")]


def test_the_system_checks_have_nothing_to_say_of_records():
    records = apps.get_app_config("contracts")
    assert checks.run_checks([records]) == []


def test_whoever_saved_outside_the_admin_is_named(order, ann, bob):
    page = Page.change(ann, order)
    order._history_user = bob
    order._history_date = timezone.now() + datetime.timedelta(seconds=1)
    order.note = "bob's"
    order.save()
    asked = page.save(note="ann's")
    assert "bob saved this order a moment ago" in asked.panel


def test_the_latest_of_all_histories_names_the_person(order, ann, bob):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    order.refresh_from_db()
    order._history_user = None
    order._history_date = timezone.now() + datetime.timedelta(seconds=1)
    order.save()
    asked = mine.save(note="ann's")
    assert "This order was changed while you were editing" in asked.panel


def test_whoever_deleted_it_outside_the_admin_is_named(order, ann, bob):
    page = Page.change(ann, order)
    order._history_user = bob
    order.delete()
    assert "bob deleted “17” a moment ago" in page.save(note="ann's").panel


def test_whoever_changed_a_row_of_an_inline_is_named(pages, order):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    saved = mine.save(note="ann's")
    assert saved.messages[0].startswith("Merged: bob had changed Pen: Quantity")


def test_whoever_changed_a_row_of_an_inline_outside_the_admin_is_named(
    pages, order, bob
):
    order.save_without_historical_record()
    line = order.lines.first()
    line._history_user = bob
    line.quantity = 5
    line.save()
    saved = pages[0].save(note="ann's")
    assert saved.messages[0].startswith("Merged: bob had changed Pen: Quantity")


def test_whoever_is_overwritten_in_a_row_of_an_inline_is_named(pages):
    mine, theirs = pages
    theirs.save(**{"lines-0-quantity": "5"})
    asked = mine.save(**{"lines-0-quantity": "7"})
    done = asked.save(**{"lines-0-optilock_decision_quantity": "mine"})
    said = "You have overwritten what bob had saved: Pen: Quantity."
    assert any(message.startswith(said) for message in done.messages)
