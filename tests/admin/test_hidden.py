"""What has left somebody's queryset isn't told as deleted, and not by its new name."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Q
from django.test import Client
from factories import LineFactory, OrderFactory, StaffFactory, UserFactory
from pages import Page
from testapp.admin import LineInline, OrderAdmin
from testapp.models import Line, Order

pytestmark = pytest.mark.django_db

NEUTRAL = "not there any more, or not visible to you"
EVERYTHING = [
    f"{verb}_{model}"
    for verb in ("view", "add", "change", "delete")
    for model in ("order", "line", "parcel")
]


@pytest.fixture(autouse=True)
def own_orders_only(monkeypatch):
    """Let who isn't a superuser see only orders that aren't paid."""
    original = OrderAdmin.get_queryset

    def get_queryset(self, request):
        rows = original(self, request)
        return rows if request.user.is_superuser else rows.exclude(status="paid")

    monkeypatch.setattr(OrderAdmin, "get_queryset", get_queryset)


@pytest.fixture
def order():
    return OrderFactory(number="17", note="old", currency="EUR")


@pytest.fixture
def ann():
    return StaffFactory(username="ann", permissions=EVERYTHING)


@pytest.fixture
def hide(order):
    """Let bob rename the order and take it out of ann's sight."""

    def hide():
        bob = Page.change(UserFactory(username="bob"), order)
        assert bob.save(number="SECRET", status="paid").redirects

    return hide


@pytest.fixture
def delete(order):
    def delete():
        bob = Page.delete(UserFactory(username="bob"), order)
        assert bob.post(post="yes").redirects

    return delete


def told(page):
    """Return all that a page, or the one it leads to, says."""
    text = page.text
    if page.redirects:
        text = page.client.get(page.response.url, follow=True).content.decode()
    return text + " ".join(page.messages)


def test_the_form_of_a_hidden_object_says_neither_who_nor_what(ann, order, hide):
    page = Page.change(ann, order)
    hide()
    asked = page.save(note="mine")
    assert NEUTRAL in asked.panel
    assert "deleted" not in asked.panel.lower()
    assert "bob" not in asked.text
    assert "SECRET" not in asked.text
    assert asked.data["note"] == "mine"


def test_a_hidden_object_is_not_created_a_second_time(ann, order, hide):
    page = Page.change(ann, order)
    hide()
    asked = page.save(note="mine")
    assert "Create it again" not in asked.panel
    asked.save(optilock_decision_="mine", number="18")
    assert Order.objects.count() == 1


def test_the_form_of_a_deleted_object_says_who(ann, order, delete):
    page = Page.change(ann, order)
    delete()
    asked = page.save(note="mine")
    assert "bob deleted “17”" in asked.panel
    assert "Create it again" in asked.panel


def test_who_changed_it_is_not_named_for_a_deletion_nobody_logged(ann, order):
    page = Page.change(ann, order)
    Page.change(UserFactory(username="bob"), order).save(note="theirs")
    Order.objects.all().delete()
    asked = page.save(note="mine")
    assert "bob" not in asked.panel
    assert NEUTRAL in asked.panel


def test_deleting_a_hidden_object_says_neither_who_nor_what(ann, order, hide):
    page = Page.delete(ann, order)
    hide()
    answer = told(page.post(post="yes"))
    assert f"The order is {NEUTRAL}." in answer
    assert "bob" not in answer
    assert "SECRET" not in answer
    assert Order.objects.exists()


def test_deleting_a_deleted_object_says_who(ann, order, delete):
    page = Page.delete(ann, order)
    delete()
    assert "was deleted already, by bob." in told(page.post(post="yes"))


@pytest.mark.parametrize("permissions", [None, [], ["view_order"]])
@pytest.mark.parametrize("change", ["hide", "delete"])
@pytest.mark.parametrize("view", ["change", "delete"])
def test_who_may_not_do_it_is_told_nothing(
    ann, order, permissions, change, view, request
):
    page = getattr(Page, view)(ann, order)
    request.getfixturevalue(change)()
    client = Client()
    if permissions is not None:
        client.force_login(StaffFactory(permissions=permissions))
    response = client.post(page.url, page.data | {"post": "yes", "_save": "1"})
    if permissions is None:
        assert response.url.startswith("/admin/login/")
        return
    assert response.status_code == 403
    assert "bob" not in response.content.decode()
    assert "SECRET" not in response.content.decode()


def test_the_cells_of_a_hidden_row_say_neither_who_nor_what(ann, order, hide):
    page = Page.list(ann, Order)
    hide()
    asked = page.save(**{"form-0-amount": "5"})
    assert NEUTRAL in asked.text
    assert "This row was deleted" not in asked.text
    assert "bob" not in asked.text
    assert "SECRET" not in asked.text
    assert asked.save(**{"form-0-optilock_decision_": "theirs"}).redirects
    assert Order.objects.get().amount == 0


def test_an_action_on_a_hidden_row_says_only_that_it_is_out_of_sight(ann, order, hide):
    page = Page.list(ann, Order)
    hide()
    done = page.post(action="mark_paid", index="0", _selected_action=[order.pk])
    assert done.messages == [f"1 of the selected rows is {NEUTRAL}."]


@pytest.fixture
def line(order, monkeypatch):
    """A line that ann sees as long as it isn't a secret."""
    original = LineInline.get_queryset

    def get_queryset(self, request):
        rows = original(self, request)
        return rows if request.user.is_superuser else rows.filter(~Q(comment="hidden"))

    monkeypatch.setattr(LineInline, "get_queryset", get_queryset)
    return LineFactory(order=order, product="Pen")


def hide_line(order):
    bob = Page.change(UserFactory(username="bob"), order)
    changes = {"lines-0-comment": "hidden", "lines-0-product": "SECRET"}
    assert bob.save(**changes).redirects


def test_a_hidden_row_i_changed_is_not_added_a_second_time(ann, order, line):
    page = Page.change(ann, order)
    hide_line(order)
    asked = page.save(**{"lines-0-quantity": "5"})
    assert NEUTRAL in asked.panel
    assert "Was deleted" not in asked.panel
    assert "SECRET" not in asked.text
    assert asked.inputs.radios["lines-0-optilock_decision_"] == ["theirs"]
    asked.save(**{"lines-0-optilock_decision_": "mine"})
    assert Line.objects.count() == 1
    assert asked.save(**{"lines-0-optilock_decision_": "theirs"}).redirects
    assert Line.objects.get().product == "SECRET"


def test_a_hidden_row_i_left_alone_is_told_as_out_of_sight(ann, order, line):
    page = Page.change(ann, order)
    hide_line(order)
    saved = page.save(note="mine")
    assert saved.redirects
    assert any(m == f"Line “Pen”: {NEUTRAL}." for m in saved.messages)
    assert not any("deleted" in m for m in saved.messages)
    assert "SECRET" not in " ".join(saved.messages)


def test_a_hidden_row_is_told_on_the_conflict_page(ann, order, line):
    page = Page.change(ann, order)
    hide_line(order)
    Page.change(UserFactory(username="carol"), order).save(note="theirs")
    asked = page.save(note="mine")
    assert f"Line #{line.pk}: {NEUTRAL}." in asked.panel
    assert "was deleted" not in asked.panel


def test_nothing_is_logged_of_what_was_not_done(ann, order, hide):
    page = Page.change(ann, order)
    hide()
    page.save(note="mine")
    assert not LogEntry.objects.filter(user=ann).exists()
