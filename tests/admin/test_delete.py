from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from factories import CustomerFactory, OrderFactory, StaffFactory
from pages import Page, admin_url
from testapp.admin import OrderAdmin
from testapp.models import Customer, Order, Parcel, Plain

pytestmark = pytest.mark.django_db


def test_what_was_confirmed_is_deleted(ann, order):
    assert Page.delete(ann, order).post(post="yes").redirects
    assert not Order.objects.exists()
    assert LogEntry.objects.get().is_deletion()


def test_what_was_changed_after_the_confirmation_was_opened_is_confirmed_again(
    ann, bob, order
):
    page = Page.delete(ann, order)
    Page.change(bob, order).save(note="bob's")
    refused = page.post(post="yes")
    assert Order.objects.exists()
    assert refused.messages[0].startswith("bob changed “17” a moment ago")
    assert not LogEntry.objects.filter(action_flag=3).exists()
    again = Page(
        page.client, refused.response.url, page.client.get(refused.response.url)
    )
    assert again.post(post="yes").redirects
    assert not Order.objects.exists()


def test_what_was_changed_is_told_before_it_is_deleted(ann, bob, order):
    page = Page.delete(ann, order)
    Page.change(bob, order).save(note="<b>bob's</b>", status="paid")
    refused = page.post(post="yes")
    assert (
        "Its values are now: Status “Paid” and Note “<b>bob's</b>”. "
        "Nothing was deleted." in refused.messages[0]
    )
    shown = page.client.get(refused.response.url).content.decode()
    assert "<b>bob" not in shown


def test_hidden_fields_are_neither_told_nor_in_the_url(ann, order):
    page = Page.delete(ann, order)
    assert page.tokens
    assert not any("secret" in token for token in page.tokens)
    Order.objects.filter(pk=order.pk).update(secret="another")  # noqa: S106 -- a field
    refused = page.post(post="yes")
    assert "secret" not in refused.messages[0]
    assert "Its values" not in refused.messages[0]


@pytest.mark.parametrize("wrong", [None, "", "x", "another model's"])
def test_a_confirmation_without_a_token_is_shown_again(ann, order, wrong):
    token = wrong
    if wrong == "another model's":
        token = Page.change(ann, CustomerFactory()).data["optilock_token"]
    page = Page.delete(ann, order)
    query = "" if token is None else "?" + urlencode({"optilock_token": token})
    page.url = admin_url(order, "delete", order.pk) + query
    refused = page.post(post="yes")
    assert "too old" in refused.messages[0]
    assert Order.objects.exists()


def test_a_confirmation_with_another_rows_token_is_shown_again(ann, order):
    token = Page.delete(ann, OrderFactory()).url.partition("?")[2]
    page = Page.delete(ann, order)
    page.url = admin_url(order, "delete", order.pk) + "?" + token
    assert page.post(post="yes").messages[0].startswith("“17” was changed")
    assert Order.objects.filter(pk=order.pk).exists()


@pytest.mark.parametrize("other", ["row", "list"])
def test_another_rows_token_says_nothing_about_what_is_gone(ann, order, other):
    rows = OrderFactory.create_batch(2)
    page = Page.delete(ann, order)
    query = Page.delete(ann, rows[0]).url.partition("?")[2]
    if other == "list":
        token = Page.list(ann, Order, "?status=open").data["form-optilock_token"]
        query = urlencode({"optilock_token": token})
    page.url = admin_url(order, "delete", order.pk) + "?" + query
    order.delete()
    done = page.post(post="yes")
    assert done.response.url == "/admin/"  # as in Django


def test_what_is_gone_already_is_no_error(ann, bob, order):
    page = Page.delete(ann, order)
    Page.delete(bob, order).post(post="yes")
    done = page.post(post="yes")
    assert done.response.url == admin_url(order, "changelist")
    assert done.messages == ["The order was deleted already, by bob."]


def test_what_was_opened_by_another_key_and_is_gone_is_no_error(ann):
    parcel = Parcel.objects.create(code="P1")
    page = Page.get(ann, admin_url(Parcel, "delete", "P1") + "?_to_field=code")
    parcel.delete()
    assert page.post(post="yes").messages == ["The parcel was deleted already."]


def test_who_may_not_delete_may_not(order):
    user = StaffFactory(permissions=["view_order", "change_order"])
    page = Page.change(user, order)
    url = admin_url(order, "delete", order.pk)
    assert page.client.get(url).status_code == 403
    assert page.client.post(url, {"post": "yes"}).status_code == 403


def test_what_is_protected_is_not_deleted(ann, order):
    customer = CustomerFactory()
    Order.objects.update(customer=customer)
    page = Page.delete(ann, customer)
    assert "would require deleting" in page.text
    page.client.post(page.url, {"post": "yes"})
    assert Customer.objects.exists()


def test_the_confirmation_in_a_popup_stays_one(ann, order):
    page = Page.delete(ann, order, "?_popup=1")
    assert "_popup=1" in page.url
    done = page.post(post="yes")
    assert "popup_response" in done.text


def test_what_has_no_version_is_deleted_as_in_django(ann):
    parent = Plain.objects.create(name="P")
    page = Page.delete(ann, parent)
    assert "optilock_token" not in page.url
    assert page.post(post="yes").redirects
    assert not Plain.objects.exists()


def test_the_list_of_what_has_no_version_is_djangos(ann):
    Plain.objects.create(name="P")
    page = Page.list(ann, Plain)
    assert page.response.status_code == 200
    assert "optilock_token" not in page.text


def test_what_is_gone_and_was_never_confirmed_is_said_by_django(ann, order):
    url = admin_url(order, "delete", order.pk)
    page = Page.delete(ann, order)
    Order.objects.all().delete()
    response = page.client.post(url, {"post": "yes"})
    assert response.url == "/admin/"


def test_what_was_changed_without_a_version_is_confirmed_again(ann, order):
    page = Page.delete(ann, order)
    QuerySet(Order).filter(pk=order.pk).update(note="theirs")
    refused = page.post(post="yes")
    assert "Its values are now: Note “theirs”." in refused.messages[0]
    assert Order.objects.exists()


def test_what_a_url_tells_of_a_value_cannot_be_guessed(ann, order):
    one, two = Page.delete(ann, order), Page.delete(ann, order)
    found = [
        re.findall(r'"#note":"([^"]+)"', token)[0]
        for p in (one, two)
        for token in p.tokens
    ]
    assert len(set(found)) == 2
    assert len(found[0]) >= 24


def test_who_may_only_delete_it_is_told_no_values(ann, order):
    page = Page.delete(StaffFactory(permissions=["delete_order"]), order)
    Page.change(ann, order).save(note="hush")
    refused = page.post(post="yes")
    assert refused.messages[0].startswith("ann changed “17”")
    assert "hush" not in refused.messages[0]
    assert Order.objects.exists()


def test_a_read_only_relation_is_told_by_its_name(ann, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "readonly_fields", ["customer"])
    page = Page.delete(ann, order)
    Order.objects.update(customer=CustomerFactory(name="Smith"))
    refused = page.post(post="yes")
    assert "Its values are now: Customer “Smith”." in refused.messages[0]


def test_what_goes_while_its_deletion_begins_is_no_error(ann, order, monkeypatch):
    page = Page.delete(ann, order)

    def delete_first(self, request, obj=None):
        Order.objects.all().delete()
        return True

    monkeypatch.setattr(OrderAdmin, "has_delete_permission", delete_first)
    assert page.post(post="yes").messages == ["The order was deleted already."]
