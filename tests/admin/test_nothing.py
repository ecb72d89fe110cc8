"""Who saves nothing writes nothing, and has changed nothing for the others."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from django.db.models.signals import post_save
from factories import LineFactory, MemoFactory, OrderFactory, UserFactory
from pages import Page
from testapp.admin import OrderAdmin
from testapp.models import Assorted, Colour, Line, Memo, Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    order = OrderFactory(number="17", note="one\ntwo", amount=10)
    order.tags.add(Colour.objects.create(name="red"))
    LineFactory(order=order, product="Pen")
    return order


@pytest.fixture
def saved():
    """What is saved while the test runs."""
    found = []

    def note(sender, instance, **kwargs):
        found.append(instance)

    post_save.connect(note, sender=Order)
    post_save.connect(note, sender=Line)
    yield found
    post_save.disconnect(note, sender=Order)
    post_save.disconnect(note, sender=Line)


def versions():
    return [
        number
        for model in (Order, Line)
        for number in model.objects.values_list("version", flat=True)
    ]


@pytest.mark.parametrize("button", ["_save", "_continue", "_addanother"])
def test_a_form_on_which_nothing_was_changed_writes_nothing(ann, order, saved, button):
    page = Page.change(ann, order).save(button)
    assert page.redirects
    assert (saved, versions()) == ([], [1, 1])


def test_it_is_logged_and_told_as_django_does(ann, order):
    page = Page.change(ann, order).save()
    assert LogEntry.objects.get().get_change_message() == "No fields changed."
    assert "was changed successfully" in page.messages[0]


def test_nobody_is_told_of_who_saved_nothing(ann):
    memo = MemoFactory(subject="old")
    page = Page.change(UserFactory(), memo)
    Page.change(ann, memo).save()
    Memo.objects.filter(pk=memo.pk).update(subject="x", version=2)  # by a program
    asked = page.save(subject="mine")
    assert "ann" not in asked.panel
    assert "was changed while you were editing" in asked.panel


def test_a_change_made_while_nothing_was_changed_here_is_kept(ann, order):
    page = Page.change(ann, order)
    Order.objects.filter(pk=order.pk).update(note="theirs")
    page.save()
    order.refresh_from_db()
    assert (order.note, order.version) == ("theirs", 2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"note": "new"}, [2, 1]),
        ({"tags": []}, [2, 1]),
        ({"lines-0-product": "Ink"}, [2, 2]),
        ({"lines-0-DELETE": "on"}, [2]),
        ({"lines-1-product": "Ink"}, [2, 1, 1]),
    ],
)
def test_whatever_is_changed_bumps_the_version(ann, order, changes, expected):
    assert Page.change(ann, order).save(**changes).redirects
    assert versions() == expected


@pytest.mark.parametrize("before", [True, False])
def test_what_the_projects_own_save_model_sets_is_saved(
    ann, order, monkeypatch, before
):
    original = OrderAdmin.save_model

    def save_model(self, request, obj, form, change):
        if not before:
            original(self, request, obj, form, change)
        obj.secret = request.user.username
        if before:
            original(self, request, obj, form, change)
        else:
            obj.save()

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    Page.change(ann, order).save()
    order.refresh_from_db()
    assert (order.secret, order.version) == ("ann", 2)
    Page.change(ann, order).save()
    order.refresh_from_db()
    assert order.version == (2 if before else 3)


def test_a_field_of_the_form_that_save_model_sets_is_saved(ann, order, monkeypatch):
    original = OrderAdmin.save_model

    def save_model(self, request, obj, form, change):
        obj.note = "derived"
        original(self, request, obj, form, change)

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    Page.change(ann, order).save()
    order.refresh_from_db()
    assert (order.note, order.version) == ("derived", 2)


def test_a_file_that_save_model_sets_is_stored(
    ann, order, monkeypatch, settings, tmp_path
):
    settings.MEDIA_ROOT = tmp_path
    original = OrderAdmin.save_model

    def save_model(self, request, obj, form, change):
        obj.attachment = ContentFile(b"a", name="a.txt")
        original(self, request, obj, form, change)

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    Page.change(ann, order).save()
    order.refresh_from_db()
    assert (order.attachment.name, order.version) == ("orders/a.txt", 2)


def test_a_form_with_a_field_of_each_kind_writes_nothing(ann):
    one = Assorted.objects.create(
        text="a\nb",
        json={"a": [1]},
        duration=datetime.timedelta(hours=1),
        moment="2024-01-01T00:00:00.123456Z",
        time="10:00:00.5",
    )
    one.friends.add(one)
    assert Page.change(ann, one).save().redirects
    assert Assorted.objects.get().version == 1


def test_a_model_locked_by_the_field_alone_is_not_written_either(ann):
    memo = MemoFactory()
    Page.change(ann, memo).save()
    assert Memo.objects.get().version == 1
    Page.change(ann, memo).save(subject="new")
    assert Memo.objects.get().version == 2


def test_a_row_that_is_wanted_back_counts_as_a_change(ann, order):
    page = Page.change(ann, order)
    Line.objects.all().delete()
    asked = page.save(**{"lines-0-quantity": "5"})
    assert asked.panel
    assert asked.save(**{"lines-0-optilock_decision_": "mine"}).redirects
    assert versions() == [2, 1]


class Strange(str):
    """A value that can't be compared, as an array can't."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        raise ValueError("Compare the elements.")


def test_what_cannot_be_compared_counts_as_a_change(ann, order, monkeypatch):
    def save_model(self, request, obj, form, change):
        obj.secret = Strange("set")
        super(OrderAdmin, self).save_model(request, obj, form, change)

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    assert Page.change(ann, order).save().redirects
    assert Order.objects.values_list("secret", "version").get() == ("set", 2)


def test_a_field_that_is_not_read_is_no_change(ann, order, saved, monkeypatch):
    original = OrderAdmin.get_queryset
    monkeypatch.setattr(
        OrderAdmin, "get_queryset", lambda *args: original(*args).defer("secret")
    )
    assert Page.change(ann, order).save().redirects
    assert saved == []
