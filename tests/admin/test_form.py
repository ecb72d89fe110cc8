from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from django.contrib.admin import options
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from factories import (
    CustomerFactory,
    LineFactory,
    MemoFactory,
    OrderFactory,
    StaffFactory,
    UserFactory,
)
from pages import Inputs, Page, admin_url
from testapp.admin import LineInline, OrderAdmin
from testapp.models import Assorted, Colour, Line, Order, Parcel

from optilock.forms import VersionedModelForm, tokens

pytestmark = pytest.mark.django_db


def test_saving_an_unchanged_order_saves(ann, order):
    page = Page.change(ann, order)
    assert page.save(note="new").redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("new", 2)


def test_changes_of_different_fields_are_merged(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    assert theirs.save(note="bob's").redirects
    saved = mine.save(status="paid")
    assert saved.redirects
    order.refresh_from_db()
    assert (order.note, order.status, order.version) == ("bob's", "paid", 3)
    assert saved.messages[0] == "Merged: bob had changed Note; that was kept."
    assert LogEntry.objects.first().get_change_message() == "Changed Status."


def test_changes_of_the_same_field_ask(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert not asked.redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("bob's", 2)
    assert "bob saved this order" in asked.text
    assert asked.data["note"] == "ann's"
    again = asked.save()
    assert not again.redirects
    assert LogEntry.objects.get().user == bob
    done = again.save(optilock_decision_note="mine")
    assert done.redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 3)


def test_a_field_both_change_to_the_same_is_no_question(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="same")
    assert mine.save(note="same").redirects


def test_a_double_click_is_no_conflict_with_oneself(ann, order):
    page = Page.change(ann, order)
    assert page.save(note="new").redirects
    assert page.save(note="new").redirects


def test_fields_of_a_group_count_as_one(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(currency="USD")
    asked = mine.save(amount="11")
    assert not asked.redirects
    assert "Amount, Currency" in asked.panel
    assert asked.save(optilock_decision_amount="theirs").redirects
    order.refresh_from_db()
    assert (order.amount, order.currency) == (10, "USD")


def test_the_change_message_and_log_of_an_overwrite(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    assert "1 field needs your choice." in asked.panel
    assert "1 change was merged for you." in asked.panel
    done = asked.save(optilock_decision_note="mine")
    assert done.messages[0].startswith("You have overwritten what bob had saved: Note.")
    assert LogEntry.objects.first().get_change_message() == "Changed Note."
    order.refresh_from_db()
    assert (order.note, order.status) == ("ann's", "paid")


def test_choosing_theirs_logs_no_change_of_the_field(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", status="paid")
    assert asked.save(optilock_decision_note="theirs").redirects
    assert LogEntry.objects.first().get_change_message() == "Changed Status."
    order.refresh_from_db()
    assert (order.note, order.status) == ("bob's", "paid")


def test_giving_up_all_of_mine_is_logged_as_no_change(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert asked.save(optilock_decision_note="theirs").redirects
    assert LogEntry.objects.first().get_change_message() == "No fields changed."


def test_nothing_is_preselected(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert "optilock_decision_note" in asked.inputs.radios
    assert "optilock_decision_note" not in asked.inputs.data


def test_what_is_decided_is_not_asked_once_more_where_an_error_is_in_the_way(
    ann, bob, order
):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    again = asked.save(optilock_decision_note="mine", amount="")
    assert not again.redirects
    assert "Your choices are kept: please correct the errors below" in again.panel
    assert "your choice." not in again.panel
    assert again.save(amount="12").redirects
    order.refresh_from_db()
    assert (order.note, order.amount) == ("ann's", 12)


def test_a_validation_error_and_a_conflict_are_shown_together(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's", amount="x")
    assert asked.panel
    assert "Enter a number." in asked.text
    again = asked.save(optilock_decision_note="mine")
    assert not again.redirects
    assert again.data["optilock_decision_note"] == "mine"
    assert again.save(amount="12").redirects
    order.refresh_from_db()
    assert (order.note, order.amount) == ("ann's", 12)


def test_the_forms_own_clean_sees_the_merged_values(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(amount="0")
    refused = mine.save(status="shipped")
    assert not refused.redirects
    assert "What is shipped has a price." in refused.text
    assert not refused.panel
    assert refused.data["amount"] == "0.00"
    assert "Merged: bob had changed Amount; that was kept." in refused.text


def test_a_third_writer_starts_a_new_round(ann, bob, order):
    third = Page.change(UserFactory(username="cat"), order)
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    third.save(note="cat's").save(note="cat's", optilock_decision_note="mine")
    again = asked.save(optilock_decision_note="mine")
    assert not again.redirects
    order.refresh_from_db()
    assert order.note == "cat's"
    assert "cat saved" in again.panel
    assert again.save(optilock_decision_note="mine").redirects


def test_what_was_merged_on_the_page_does_not_collide_with_a_third_writer(
    ann, bob, order
):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    assert asked.data["status"] == "paid"
    Page.change(bob, order).save(status="shipped")
    assert asked.save(optilock_decision_note="mine").redirects
    order.refresh_from_db()
    assert (order.note, order.status) == ("ann's", "shipped")


WRONG_TOKENS = {
    "missing": lambda token: None,
    "empty": lambda token: "",
    "garbled": lambda token: "x",
    "like a token": lambda token: "a:b:c",
    "not even text": lambda token: "\x00é:a:b",
    "truncated": lambda token: token[:-10],
    "another signature": lambda token: token[:-1] + ("B" if token[-1] != "B" else "C"),
    "another payload": lambda token: (
        signing.b64_encode(b'{"f":1,"t":0,"r":{}}').decode() + token[token.index(":") :]
    ),
    "another row's": lambda token: token_of(OrderFactory()),
    "another model's": lambda token: token_of(CustomerFactory()),
}


def token_of(obj):
    return Page.change(UserFactory(), obj).data["optilock_token"]


@pytest.mark.parametrize("wrong", WRONG_TOKENS)
def test_without_a_valid_token_nothing_is_saved_and_nothing_typed_is_lost(
    ann, order, wrong
):
    page = Page.change(ann, order)
    Order.objects.filter(pk=order.pk).update(amount=11)
    token = WRONG_TOKENS[wrong](page.data["optilock_token"])
    refused = page.save(optilock_token=token, note="new")
    assert refused.response.status_code == 200
    order.refresh_from_db()
    assert (order.note, order.version) == ("old", 2)
    assert "too old" in refused.panel
    assert refused.data["note"] == "new"
    assert not refused.save().redirects
    half = refused.save(optilock_decision_note="mine")
    assert not half.redirects
    assert half.save(optilock_decision_amount="theirs").redirects
    order.refresh_from_db()
    assert (order.note, order.amount) == ("new", 11)


def test_a_token_signed_with_the_previous_key_counts(ann, order, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    page = Page.change(ann, order)
    settings.SECRET_KEY = "new"  # noqa: S105 -- for this test
    assert page.save(note="new").redirects


def test_a_key_that_was_changed_without_a_fallback_loses_nothing_typed(
    ann, order, settings
):
    page = Page.change(ann, order)
    settings.SECRET_KEY = "new"  # noqa: S105 -- for this test
    page.client.force_login(ann)  # the change has logged her out
    refused = page.save(note="new")
    assert refused.response.status_code == 200
    assert "too old" in refused.panel
    assert refused.data["note"] == "new"
    order.refresh_from_db()
    assert order.note == "old"
    assert refused.save(optilock_decision_note="mine").redirects


def test_hidden_fields_are_neither_in_the_tokens_nor_on_the_page(
    ann, bob, order, monkeypatch
):
    monkeypatch.setattr(OrderAdmin, "readonly_fields", ["amount"])
    monkeypatch.setattr(OrderAdmin, "list_editable", ["status"])
    monkeypatch.setattr(LineInline, "exclude", ["comment"])
    Order.objects.filter(pk=order.pk).update(secret="hush", amount=471147)  # noqa: S106
    line = LineFactory(order=order, comment="hush")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", **{"lines-0-quantity": "5"})
    Order.objects.filter(pk=order.pk).update(secret="hush!", amount=471148)  # noqa: S106
    Line.objects.filter(pk=line.pk).update(comment="hush!")
    asked = mine.save(note="ann's", **{"lines-0-quantity": "7"})
    listed = Page.list(ann, Order)
    chosen = {"index": "0", "_selected_action": order.pk}
    confirming = listed.post(action="delete_selected", **chosen)
    Order.objects.update(secret="hush!!")  # noqa: S106
    asking = listed.post(action="mark_paid", **chosen)
    assert asking.panel
    pages = [mine, asked, listed, confirming, asking, Page.delete(ann, order)]
    counts = [len(page.tokens) for page in pages]
    assert counts == [3, 3, 2, 1, 1, 1]
    for page in pages:
        assert "hush" not in page.text + "".join(page.tokens)
    for page in (mine, asked, pages[-1]):  # the list shows it
        assert "4711" not in "".join(page.tokens) + page.panel
    assert "old" in "".join(mine.tokens)  # what is visible is there


def test_who_may_only_look_at_the_rows_gets_no_token_for_them(order):
    LineFactory(order=order, comment="hush")
    codenames = ["view_order", "change_order", "view_line"]
    page = Page.change(StaffFactory(permissions=codenames), order)
    assert "hush" in page.text
    assert len(page.tokens) == 1
    assert "hush" not in page.tokens[0]


def test_a_change_of_a_hidden_field_alone_is_kept_silently(ann, order):
    page = Page.change(ann, order)
    Order.objects.filter(pk=order.pk).update(secret="hush hush")  # noqa: S106
    assert page.save(note="new").redirects
    order.refresh_from_db()
    assert (order.note, order.secret) == ("new", "hush hush")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "word " * 2000,
        "שלום " * 3,
        "a & b",
        "{{ token }} {% now %}",
    ],
)
def test_values_are_escaped(ann, bob, order, text):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note=f"theirs {text}")
    asked = mine.save(note=f"mine {text}")
    assert asked.panel
    assert "<script>alert" not in asked.text
    assert "<img" not in asked.panel
    assert "now %}" not in text or "{{ token }}" in asked.panel
    assert asked.save(optilock_decision_note="mine").redirects
    order.refresh_from_db()
    assert order.note == f"mine {text}".strip()


def test_the_ends_of_lines_are_no_differences(ann, bob):
    order = OrderFactory(note="Ring twice.\n\nThen wait.\n")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="Ring twice.\r\n\r\nThen go.")
    panel = mine.save(note="Ring twice.\r\n\r\nThen stay.").panel
    assert "Then <del>wait</del><ins>go</ins>." in panel
    assert "Then <del>wait</del><ins>stay</ins>." in panel
    assert "Ring twice" not in panel.partition("<textarea")[0]


def test_edits_of_different_paragraphs_are_merged(ann, bob):
    order = OrderFactory(note="Ring twice.\n\nThen wait.")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="Ring twice.\r\n\r\nThen go.")
    saved = mine.save(note="Ring once.\r\n\r\nThen wait.")
    assert saved.messages[0] == "Merged: your changes and those of bob are in Note."
    assert Order.objects.get().note == "Ring once.\r\n\r\nThen go."
    assert LogEntry.objects.first().get_change_message() == "Changed Note."


def test_an_admins_decisions_count(ann, bob, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_merge_decisions", {"status": "mine"})
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(status="paid")
    saved = mine.save(status="shipped", amount="1")
    told = "You have overwritten what bob had saved: Status."
    assert saved.messages[0].startswith(told)
    assert Order.objects.get().status == "shipped"


def test_an_object_that_was_deleted_can_be_created_again(ann, bob, order):
    LineFactory(order=order, product="Pen")
    page = Page.change(ann, order)
    Page.delete(bob, order).post(post="yes")
    refused = page.save(note="typed")
    assert not refused.redirects
    assert "bob deleted “17”" in refused.panel
    assert refused.data["note"] == "typed"
    assert not refused.save().redirects
    created = refused.save(optilock_decision_="mine")
    assert created.redirects
    new = Order.objects.get()
    assert (new.note, new.number) == ("typed", "17")
    assert new.pk != order.pk
    assert [line.product for line in new.lines.all()] == ["Pen"]
    assert LogEntry.objects.first().is_addition()


def test_a_deleted_object_is_not_offered_to_who_may_not_add(bob, order):
    page = Page.change(StaffFactory(permissions=["view_order", "change_order"]), order)
    Page.delete(bob, order).post(post="yes")
    refused = page.save(note="typed")
    assert refused.data["note"] == "typed"
    assert "optilock_decision_" not in refused.inputs.radios
    assert not refused.save(optilock_decision_="mine").redirects
    assert not Order.objects.exists()


def test_a_page_of_a_deleted_object_without_a_token_goes_to_the_index(ann, bob, order):
    page = Page.change(ann, order)
    Page.delete(bob, order).post(post="yes")
    assert page.save(without=["optilock_token"]).redirects


def test_buttons_keep_their_meaning_after_a_conflict(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    done = asked.save("_continue", optilock_decision_note="mine")
    assert done.response.url == mine.url


@pytest.mark.skipif(
    not hasattr(options, "ActionLocation"),
    reason="actions on the change form came with Django 6.1",
)
def test_enter_presses_no_action_and_drops_nothing(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    enter = {"index": "0"}  # the first button, beside an empty choice of actions
    assert mine.inputs.data["CHANGE_FORM-action"] == [""]
    held = mine.post(note="ann's", **enter)
    assert "No action was chosen" in held.text
    assert held.data["note"] == "ann's"
    theirs.save(note="bob's")
    asked = held.post(amount="7", optilock_decision_note="mine", **enter)
    assert asked.panel
    again = asked.post(optilock_decision_note="mine", **enter)
    assert (again.data["amount"], again.data["optilock_decision_note"]) == ("7", "mine")
    order.refresh_from_db()
    assert (order.note, order.amount, order.version) == ("bob's", 10, 2)
    assert again.save().redirects
    order.refresh_from_db()
    assert (order.note, order.amount) == ("ann's", 7)


def test_a_popup_stays_one(ann, bob, order):
    query = "?_popup=1&_to_field=id"
    mine, theirs = Page.change(ann, order, query), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert "?_popup=1&amp;_to_field=id" in asked.panel
    done = asked.save(optilock_decision_note="mine")
    assert "popup_response" in done.text


def test_an_object_opened_by_another_key_is_compared_too(ann, bob):
    parcel = Parcel.objects.create(code="P1")
    MemoFactory(parcel=parcel)
    url = admin_url(Parcel, "change", "P1") + "?_to_field=code"
    mine, theirs = Page.get(ann, url), Page.get(bob, url)
    theirs.save(weight="5")
    asked = mine.save(weight="7")
    assert asked.panel
    assert asked.save(optilock_decision_weight="mine").redirects


def test_save_as_new_from_a_stale_page_makes_a_new_object(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    assert mine.save("_saveasnew", number="18", note="ann's").redirects
    order.refresh_from_db()
    assert order.note == "bob's"
    assert Order.objects.get(number="18").note == "ann's"


def test_who_may_only_look_gets_no_token(order):
    page = Page.change(StaffFactory(permissions=["view_order"]), order)
    assert page.response.status_code == 200
    assert "optilock_token" not in page.text


def test_the_add_form_has_no_token(ann):
    assert "optilock_token" not in Page.get(ann, admin_url(Order, "add")).text


def test_a_page_that_shows_an_old_state_on_purpose_has_no_token(
    ann, order, monkeypatch
):
    monkeypatch.setattr(OrderAdmin, "is_reverting", lambda self, request: True)
    page = Page.change(ann, order)
    assert "optilock_token" not in page.data
    Order.objects.update(note="theirs")
    assert page.save(note="mine").redirects
    order.refresh_from_db()
    assert (order.note, order.version) == ("mine", 3)


def test_asking_always_asks_about_what_does_not_overlap(ann, bob):
    customer = CustomerFactory(name="old")
    mine, theirs = Page.change(ann, customer), Page.change(bob, customer)
    theirs.save(name="theirs")
    asked = mine.save()
    assert "1 change was merged for you." in asked.panel
    assert asked.data["name"] == "theirs"
    assert asked.save().redirects


def test_many_to_many_fields_are_merged(ann, bob, order):
    red, blue = (Colour.objects.create(name=name) for name in ("red", "blue"))
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(tags=[red.pk])
    assert mine.save(note="new").redirects
    assert list(order.tags.all()) == [red]
    mine = Page.change(ann, order)
    order.tags.set([blue])  # raises no version
    green = Colour.objects.create(name="green")
    saved = mine.save(tags=[red.pk, green.pk])
    assert saved.messages[0].startswith("Merged: your changes and those of")
    assert set(order.tags.all()) == {blue, green}


def test_a_foreign_key_is_shown_by_its_name(ann, bob, order):
    one, two = CustomerFactory(name="Öne"), CustomerFactory(name="Two")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(customer=one.pk)
    asked = mine.save(customer=two.pk)
    assert "Öne" in asked.panel
    assert "Two" in asked.panel
    assert "(empty)" in asked.panel


def test_a_raw_id_that_is_invalid_is_shown_as_typed(ann, bob):
    memo = MemoFactory(parcel=Parcel.objects.create(code="P1"))
    mine, theirs = Page.change(ann, memo), Page.change(bob, memo)
    Parcel.objects.create(code="P2")
    theirs.save(parcel="P2")
    asked = mine.save(parcel="P3")
    assert "P2" in asked.panel
    assert "#P3" in asked.panel


KINDS = {
    "text": ("a\nb\n", "x"),
    "line": (" padded ", "x"),
    "boolean": (False, "on"),
    "null_boolean": (None, "true"),
    "integer": (5, "6"),
    "float": (0.1, "0.2"),
    "decimal": (Decimal("1.50"), "2"),
    "date": (datetime.date(2024, 2, 29), "2024-03-01"),
    "time": (datetime.time(1, 2, 3, 4), "02:00:00"),
    "duration": (datetime.timedelta(hours=1), "02:00:00"),
    "json": ({"a": [1]}, '{"a": 2}'),
    "address": ("10.0.0.1", "10.0.0.2"),
    "choice": ("a", "b"),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_untouched_field_of_each_kind_never_collides(ann, bob, name):
    kinds = Assorted.objects.create(**{k: value for k, (value, _) in KINDS.items()})
    mine, theirs = Page.change(ann, kinds), Page.change(bob, kinds)
    assert theirs.save(**{name: KINDS[name][1]}).redirects
    other = "raw_line"
    saved = mine.save(**{other: "mine"})
    assert saved.redirects
    expected = Assorted.objects.get(pk=kinds.pk)
    assert getattr(expected, name) != KINDS[name][0]
    assert expected.raw_line == "mine"


def test_a_moment_with_microseconds_never_collides(ann, bob):
    moment = timezone.now().replace(microsecond=5)
    kinds = Assorted.objects.create(moment=moment)
    mine, theirs = Page.change(ann, kinds), Page.change(bob, kinds)
    theirs.save(moment_0="2024-01-01", moment_1="10:00:00")
    assert mine.save(line="x").redirects
    kinds.refresh_from_db()
    assert kinds.moment.year == 2024


def test_opening_and_saving_cost_no_more_queries_than_one(ann, order):
    LineFactory.create_batch(3, order=order)
    Parcel.objects.create(order=order, code="P1")

    def count(name):
        client = Client()
        client.force_login(ann)
        url = reverse(f"{name}:testapp_order_change", args=[order.pk])
        client.get(url)
        with CaptureQueriesContext(connection) as get:
            response = client.get(url)
        data = Inputs(response.content.decode()).data | {"_save": "1", "note": name}
        data["lines-0-quantity"] = len(name)
        with CaptureQueriesContext(connection) as post:
            assert client.post(url, data).status_code == 302
        return len(get), len(post)

    count("plain")  # content types are kept once they are read
    get, post = count("plain")
    assert count("admin") == (get, post + 3)


@pytest.mark.parametrize("option", ["autocomplete_fields", "raw_id_fields"])
def test_a_relation_that_is_chosen_otherwise_is_asked_about_by_name(
    ann, bob, order, option, monkeypatch
):
    monkeypatch.setattr(OrderAdmin, option, ["customer"])
    one, two = CustomerFactory(name="Miller"), CustomerFactory(name="Smith")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    assert theirs.save(customer=str(one.pk)).redirects
    asked = mine.save(customer=str(two.pk))
    assert "Miller" in asked.panel
    assert "Smith" in asked.panel
    assert asked.save(optilock_decision_customer="theirs").redirects
    order.refresh_from_db()
    assert order.customer == one


def test_a_change_that_raised_no_version_is_asked_about(ann, order):
    mine = Page.change(ann, order)
    QuerySet(Order).filter(pk=order.pk).update(note="theirs")
    asked = mine.save(note="mine")
    assert asked.panel
    order.refresh_from_db()
    assert order.note == "theirs"
    assert asked.save(optilock_decision_note="theirs").redirects


def test_going_on_after_a_save_starts_from_what_was_saved(ann, bob, order):
    mine = Page.change(ann, order)
    done = mine.save("_continue", note="ann's")
    mine = Page.get(ann, done.response.url)
    Page.change(bob, order).save(note="old")
    assert mine.save("_continue", status="paid").redirects
    order.refresh_from_db()
    assert (order.note, order.status) == ("old", "paid")


def test_what_a_form_says_of_itself_counts_in_the_admin(ann, bob, order, monkeypatch):
    class Own(VersionedModelForm):
        secret_fields = ["note"]
        ask_always = True

        class Meta:
            model = Order
            exclude = ["secret"]

    monkeypatch.setattr(OrderAdmin, "form", Own)
    monkeypatch.setattr(OrderAdmin, "optilock_secret_fields", ["number"])
    page, theirs = Page.change(ann, order), Page.change(bob, order)
    assert 'data-secret="note number"' in page.text
    row = tokens.read(page.data["optilock_token"], Order).row(order.pk)
    assert tokens.is_digest(row.base["note"])
    assert tokens.is_digest(row.base["number"])
    theirs.save(note="what bob wrote")
    asked = page.save(status="paid")
    assert not asked.redirects
    assert "what bob wrote" not in asked.panel


def test_secret_fields_are_neither_in_the_tokens_nor_told(ann, bob, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_secret_fields", ["note"])
    monkeypatch.setattr(OrderAdmin, "list_display", ["number", "note"])
    monkeypatch.setattr(OrderAdmin, "list_editable", ["note"])
    Order.objects.filter(pk=order.pk).update(note="hush base")
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    listed, deleting = Page.list(ann, Order), Page.delete(ann, order)
    theirs.save(note="hush theirs")
    asked = mine.save(note="mine")
    assert "(changed)" in asked.panel
    cell = listed.save(**{"form-0-note": "mine"})
    assert "(changed)" in cell.text
    refused = deleting.post(post="yes")
    assert "Note “(changed)”" in refused.messages[0]
    assert "hush" not in asked.panel + cell.text + refused.messages[0]
    for page in (mine, asked, listed, cell, deleting):
        assert page.tokens
        assert "hush" not in "".join(page.tokens)


def test_what_was_typed_tells_no_name_of_what_may_not_be_chosen(
    ann, bob, order, monkeypatch
):
    hidden, public = CustomerFactory(name="hush"), CustomerFactory(name="public")
    monkeypatch.setattr(
        OrderAdmin,
        "formfield_for_foreignkey",
        lambda self, field, request, **kwargs: field.formfield(
            queryset=type(public).objects.filter(name="public")
        ),
    )
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    deleting = Page.delete(ann, order)
    theirs.save(customer=public.pk)
    asked = mine.save(customer=hidden.pk)
    assert f"#{hidden.pk}" in asked.panel
    assert "public" in asked.panel
    Order.objects.update(customer=hidden)
    told = deleting.post(post="yes").messages[0]
    assert f"Customer “#{hidden.pk}”" in told
    assert "hush" not in asked.panel + told


# --- the second round knows what the first one knew ----------------------------


def test_what_was_merged_is_still_told_in_the_second_round(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    again = asked.save()
    for page in (asked, again, again.save()):
        assert "1 change was merged for you." in page.panel
        assert re.search("Status.*Open.*→.*Paid", page.panel)
    done = again.save(optilock_decision_note="theirs")
    assert "Merged" not in "".join(done.messages)


def test_what_was_merged_twice_is_told_from_the_beginning(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    Page.change(bob, order).save(status="shipped")
    assert re.search("Status.*Open.*→.*Shipped", asked.save().panel)


def test_what_i_change_after_it_was_merged_is_no_merge_any_more(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    again = asked.save(status="shipped")
    assert "merged for you" not in again.panel
    done = again.save(optilock_decision_note="mine")
    assert done.messages[0].startswith("You have overwritten what bob had saved: Note.")
    order.refresh_from_db()
    assert (order.note, order.status) == ("ann's", "shipped")


def test_what_was_merged_does_not_collide_with_the_rest_of_its_group(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", currency="USD")
    asked = mine.save(note="ann's")
    assert asked.save(amount="11", optilock_decision_note="mine").redirects
    order.refresh_from_db()
    assert (order.amount, order.currency, order.note) == (11, "USD", "ann's")


def test_the_token_of_a_page_that_was_saved_tells_of_no_merges(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's")
    asked.save("_continue", optilock_decision_note="mine")
    opened = Page.change(ann, order)
    Page.change(bob, order).save(note="bob's again")
    assert "merged for you" not in opened.save(note="ann's again").panel


# --- what was not chosen, and what was chosen too early ------------------------


def test_what_is_not_chosen_is_asked_for_at_the_field(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    asked = mine.save(note="ann's", status="shipped")
    assert "Choose one of these" not in asked.panel
    again = asked.save(optilock_decision_note="mine")
    assert again.panel.count("Choose one of these 2.") == 1
    assert "1 field needs your choice." in again.panel
    first = re.search('<input[^>]*name="([^"]*)"[^>]* autofocus', again.panel)
    assert first.group(1) == "optilock_decision_status"


def test_a_choice_of_a_value_that_is_outdated_is_asked_for_once_more(ann, bob, order):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    Page.change(bob, order).save(note="bob's again")
    again = asked.save(optilock_decision_note="mine")
    assert "changed once more since you chose" in again.panel
    assert "optilock_decision_note" not in again.data


@pytest.mark.parametrize("pressed", ["_save", "_continue", "_addanother"])
def test_the_panels_own_button_means_what_was_pressed(ann, bob, order, pressed):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(pressed, note="ann's")
    [button] = re.findall("<button [^>]*>Save my choices</button>", asked.panel)
    assert f' name="{pressed}"' in button
    again = asked.save(pressed)
    assert f' name="{pressed}"' in again.panel


def test_a_tick_to_create_it_again_stays_where_an_error_is_in_the_way(ann, bob, order):
    page = Page.change(ann, order)
    Page.delete(bob, order).post(post="yes")
    asked = page.save(note="typed")
    assert "Tick the box" not in asked.panel
    assert "Tick the box" in asked.save().panel
    wrong = asked.save(amount="x", optilock_decision_="mine")
    assert "Your choices are kept" in wrong.panel
    assert wrong.data["optilock_decision_"] == "mine"
    assert wrong.save(amount="1").redirects


@pytest.mark.parametrize("codename", ["add_order", None])
def test_of_a_deleted_object_nothing_is_offered_that_needs_it(
    bob, order, codename, monkeypatch
):
    monkeypatch.setattr(Order, "get_absolute_url", lambda row: "/there/", raising=False)
    monkeypatch.setattr(OrderAdmin, "save_as", True)
    codenames = ["view_order", "change_order", "delete_order", codename]
    page = Page.change(StaffFactory(permissions=filter(None, codenames)), order)
    offered = ("historylink", "viewsitelink", "deletelink", "_saveasnew")
    assert all(one in page.text for one in offered if codename or one != "_saveasnew")
    Page.delete(bob, order).post(post="yes")
    refused = page.save(note="typed")
    assert refused.panel
    assert not [one for one in offered if one in refused.text]
    assert ("_save" in refused.inputs.buttons) == bool(codename)


def test_a_page_without_drafts_has_no_script_for_them(ann, order, monkeypatch):
    assert "optilock/draft.js" in Page.change(ann, order).text
    monkeypatch.setattr(OrderAdmin, "optilock_drafts", False)
    assert "optilock/draft.js" not in Page.change(ann, order).text


def test_a_token_of_a_list_brings_nothing_back(ann, order):
    OrderFactory()
    listed, page = Page.list(ann, Order), Page.change(ann, order)
    Order.objects.filter(pk=order.pk).delete()
    token = listed.data["form-optilock_token"]
    saved = page.save(optilock_token=token, note="mine")
    assert saved.response.url == "/admin/"
    assert "doesn’t exist" in saved.messages[0]
