"""What django-reversion records, and its pages that go back to that."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from pages import Page, admin_url
from testapp.models import Order

from contracts.packages import NAME
from optilock import RecordModifiedError
from optilock.admin.authors import NOBODY, find_author

pytestmark = pytest.mark.django_db

if NAME != "reversion":
    pytest.skip("about django-reversion", allow_module_level=True)


@pytest.fixture
def pages(order, ann, bob):
    return Page.change(ann, order), Page.change(bob, order)


def recorded(order, name="note"):
    """Return what the revisions say of a field, the oldest first."""
    from reversion.models import Version

    versions = Version.objects.get_for_object(order).order_by("pk")
    return [version.field_dict[name] for version in versions]


def open_revision(user, order, number):
    from reversion.models import Version

    version = Version.objects.get_for_object(order).order_by("pk")[number]
    return Page.get(user, admin_url(order, "revision", order.pk, version.pk))


def test_there_is_a_revision_for_what_was_saved_and_for_nothing_else(pages, order):
    mine, theirs = pages
    theirs.save(note="bob's")
    asked = mine.save(note="ann's")
    assert not asked.redirects
    assert recorded(order) == ["bob's"]
    assert asked.save(optilock_decision_note="mine").redirects
    assert recorded(order) == ["bob's", "ann's"]
    assert recorded(order, "version") == [2, 3]


def test_a_list_that_asks_leaves_no_revision(order, ann, bob):
    mine, theirs = Page.list(ann, Order), Page.list(bob, Order)
    theirs.save(**{"form-0-amount": "20"})
    asked = mine.save(**{"form-0-amount": "30"})
    assert recorded(order, "amount") == [20]
    asked.save(**{"form-0-optilock_decision_amount": "mine"})
    assert recorded(order, "amount") == [20, 30]


def test_a_save_that_is_refused_late_leaves_no_revision(order, ann, monkeypatch):
    from contracts.admin import OrderAdmin

    save_related, get_object = OrderAdmin.save_related, OrderAdmin.get_object

    def refuse(self, *args):
        monkeypatch.setattr(OrderAdmin, "save_related", save_related)
        monkeypatch.setattr(OrderAdmin, "get_object", get_object_of_now)
        order.save()

    def get_object_of_now(self, *args):
        Order.objects.update(note="bob's")
        return get_object(self, *args)

    page = Page.change(ann, order)
    Order.objects.update(amount=20)
    monkeypatch.setattr(OrderAdmin, "save_related", refuse)
    asked = page.save(note="ann's")
    assert asked.panel
    assert recorded(order) == []


def test_the_page_of_a_revision_has_no_token(pages, order, ann):
    pages[0].save(note="first")
    page = open_revision(ann, order, 0)
    assert page.response.status_code == 200
    assert not [name for name in page.data if "optilock" in name]


def test_going_back_to_a_revision_works(pages, order, ann):
    pages[0].save(note="first", **{"lines-0-quantity": "5"})
    Page.change(ann, order).save(note="second", **{"lines-0-quantity": "6"})
    page = open_revision(ann, order, 0)
    assert page.data["note"] == "first"
    order.refresh_from_db()
    assert order.note == "second"
    assert page.save().redirects
    order.refresh_from_db()
    assert order.note == "first"
    assert order.lines.first().quantity == 5
    assert recorded(order) == ["first", "second", "first"]


def test_going_back_is_a_change_like_any_other_to_those_who_edit(pages, order, ann):
    pages[0].save(note="first", **{"lines-0-quantity": "5"})
    Page.change(ann, order).save(note="second", **{"lines-0-quantity": "6"})
    stale, stale_line = Order.objects.get(), order.lines.first()
    editing = Page.change(ann, order)
    open_revision(ann, order, 0).save()
    order.refresh_from_db()
    # The revision's row, and what the form has on top of it.
    assert (order.note, order.version) == ("first", 5)
    for instance in (stale, stale_line):
        with pytest.raises(RecordModifiedError), transaction.atomic():
            instance.save()
    assert editing.save(note="third").panel


def test_getting_back_what_was_deleted_works(pages, order, ann):
    from reversion.models import Version

    pages[0].save(note="first")
    version = Version.objects.get_for_object(order).get()
    Order.objects.all().delete()
    page = Page.get(ann, admin_url(order, "recover", version.pk))
    assert not [name for name in page.data if "optilock" in name]
    assert page.save().redirects
    assert Order.objects.get().note == "first"
    assert Order.objects.get().lines.count() == 2


def test_whoever_saved_in_a_revision_outside_the_admin_is_named(order, ann, bob):
    from reversion import create_revision, set_user

    page = Page.change(ann, order)
    with create_revision():
        set_user(bob)
        order.note = "bob's"
        order.save()
    asked = page.save(note="ann's")
    assert "bob saved this order a moment ago" in asked.panel


def test_revert_in_code_brings_no_old_number_back(order):
    import reversion
    from reversion.models import Version

    with reversion.create_revision():
        order.note = "recorded"
        order.save()  # 2
    holder = Order.objects.get(pk=order.pk)
    order.note = "later"
    order.save()
    Version.objects.get_for_object(order).last().revision.revert()
    assert Order.objects.values_list("note", "version").get() == ("recorded", 4)
    holder.note = "stale"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        holder.save()


def test_a_revision_that_cannot_be_put_back_changes_no_version(pages, order, ann):
    pages[0].save(note="first")
    version = Order.objects.get().version
    assert not open_revision(ann, order, 0).save(amount="many").redirects
    assert Order.objects.get().version == version


def test_what_has_no_version_is_put_back_along_with_an_order(order, ann):
    import reversion

    reversion.register(Group)
    try:
        with reversion.create_revision():
            group = Group.objects.create(name="recorded")
            order.note = "recorded"
            order.save()  # 2
        group.name = "later"
        group.save()
        assert open_revision(ann, order, 0).save().redirects
    finally:
        reversion.unregister(Group)
    group.refresh_from_db()
    assert group.name == "recorded"
    order.refresh_from_db()
    assert (order.note, order.version) == ("recorded", 4)


def test_of_what_is_not_recorded_nobody_is_said_to_be_the_author(account, ann, rf):
    account.save()
    request = rf.get("/")
    request.user = ann
    assert find_author(request, account, 0) == NOBODY
