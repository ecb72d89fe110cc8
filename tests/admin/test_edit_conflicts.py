"""What receivers are told of the conflicts that forms and the admin have found."""

from __future__ import annotations

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.urls import reverse
from factories import LineFactory, MemoFactory, OrderFactory, StaffFactory
from pages import Page, values
from testapp.admin import OrderAdmin
from testapp.models import Line, Memo, Order

from optilock.forms import VersionedModelForm
from optilock.signals import edit_conflict_found

pytestmark = pytest.mark.django_db


@pytest.fixture
def found():
    heard = []

    def receiver(signal, **told):
        heard.append(told)

    edit_conflict_found.connect(receiver)
    yield heard
    edit_conflict_found.disconnect(receiver)


def facts(found):
    return [
        (
            one["sender"].__name__,
            one["found_in"],
            one["colliding"],
            one["merged"],
            one["author"].name,
            one["request"].user.username,
        )
        for one in found
    ]


def test_a_question_is_counted_once_however_often_it_is_shown(ann, bob, order, found):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    assert found == []
    asked = mine.save(note="ann's").save().save()
    asked.save(optilock_decision_note="mine")
    assert facts(found) == [("Order", "form", ["note"], [], "bob", "ann")]
    assert found[0]["author"].user == bob
    assert found[0]["instance"].pk == order.pk
    assert found[0]["using"] == "default"
    assert found[0]["conflict"]["note"].theirs == "bob's"


def test_a_third_persons_change_is_another_conflict(ann, bob, order, found):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    theirs = Page.change(bob, order).save(note="bob's again")
    asked.save(optilock_decision_note="mine")
    assert [one["colliding"] for one in found] == [["note"], ["note"]]


def test_what_is_merged_counts_and_says_so(ann, bob, order, found):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    mine.save(status="paid")
    assert facts(found) == [("Order", "form", [], ["note"], "bob", "ann")]


def test_who_changes_nothing_is_in_nobodys_way(ann, bob, order, found):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's")
    mine.save()
    assert found == []


def test_the_same_change_twice_is_no_conflict(ann, order, found):
    page = Page.change(ann, order)
    page.save(note="new")
    page.save(note="new")
    assert found == []


def test_a_deleted_object_is_counted_once(ann, order, found):
    mine = Page.change(ann, order)
    Order.objects.all().delete()
    mine.save(note="ann's").save()
    assert [one["found_in"] for one in found] == ["form"]
    assert found[0]["conflict"].deleted


def test_what_somebody_may_not_see_is_not_told(order, bob, monkeypatch, found):
    mine = Page.change(StaffFactory(permissions=["change_order"]), order)
    monkeypatch.setattr(OrderAdmin, "get_queryset", lambda *args: Order.objects.none())
    mine.save(note="ann's")
    assert found == []


def test_rows_are_told_with_where_they_stand(ann, bob, order, found):
    LineFactory(order=order, product="pen", quantity=1)
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(**{"lines-0-quantity": "2"})
    mine.save(**{"lines-0-quantity": "3"})
    assert facts(found) == [("Line", "formset", ["quantity"], [], "bob", "ann")]
    assert found[0]["sender"] is Line


def test_cells_of_a_list_are_told(ann, bob, order, found):
    OrderFactory(number="18")
    mine, theirs = Page.list(ann, Order), Page.list(bob, Order)
    theirs.save(**{"form-0-amount": "7", "form-1-amount": "7"})
    mine.save(**{"form-0-amount": "8"})
    [one] = found
    assert (one["found_in"], one["colliding"]) == ("list", ["amount"])
    assert one["author"].name == "bob"


def test_an_action_and_a_deletion_tell_what_they_would_have_touched(
    ann, bob, order, found
):
    shown, confirmation = Page.list(ann, Order), Page.delete(ann, order)
    Page.change(bob, order).save(note="bob's")
    run = {"action": "mark_paid", "index": "0", ACTION_CHECKBOX_NAME: order.pk}
    shown.post(**run)
    confirmation.post(post="yes")
    assert facts(found) == [
        ("Order", "action", [], [], "bob", "ann"),
        ("Order", "delete", ["note"], [], "bob", "ann"),
    ]


def test_a_view_outside_the_admin_tells_it_too(client, found):
    memo = MemoFactory(subject="old", body="old")
    url = reverse("memo", args=[memo.pk])
    mine = Page(client, url, client.get(url))
    Page(client, url, client.get(url)).post(body="theirs")
    mine.post(body="mine")
    [one] = found
    assert (one["sender"], one["found_in"]) == (Memo, "form")
    assert one["author"].name == "bob"
    assert one["request"].path == url


def test_a_form_alone_tells_it_at_once_without_a_request(order, found):
    class OrderForm(VersionedModelForm):
        class Meta:
            model = Order
            fields = ["note"]

    data = values(OrderForm(instance=order))
    Order.objects.update(note="theirs")
    form = OrderForm({**data, "note": "mine"}, instance=Order.objects.get())
    assert not form.is_valid()
    [one] = found
    assert (one["request"], one["author"]) == (None, None)
    assert one["conflict"] is form.conflict


@pytest.mark.django_db(transaction=True)
def test_a_request_that_is_run_once_more_tells_it_once(
    ann, bob, order, found, monkeypatch
):
    save, late = OrderAdmin.save_model, [{"currency": "USD"}]

    def be_late(self, request, obj, form, change):
        if late:  # so the save is refused, and the run rolled back with this
            Order.objects.filter(pk=obj.pk).update(**late.pop())
        save(self, request, obj, form, change)

    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(amount="7")
    monkeypatch.setattr(OrderAdmin, "save_model", be_late)
    assert mine.save(note="ann's").redirects
    order.refresh_from_db()
    assert (late, order.note, order.currency) == ([], "ann's", "EUR")
    assert [one["merged"] for one in found] == [["amount"]]
