"""What was overwritten on purpose can be put back, and is told to whose it was."""

from __future__ import annotations

import datetime
import re
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends import signed_cookies
from django.urls import reverse
from django.utils import timezone
from factories import LineFactory, MemoFactory, OrderFactory, StaffFactory, UserFactory
from pages import Page, admin_url
from testapp.admin import OrderAdmin
from testapp.models import Colour, Line, Memo, Order

from optilock.log.models import Notice
from optilock.log.notices import take
from optilock.signals import overwritten

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("english"),
]


@pytest.fixture
def heard():
    told = []

    def receiver(signal, **arguments):
        told.append(arguments)

    overwritten.connect(receiver)
    yield told
    overwritten.disconnect(receiver)


BOBS, ANNS = {"note": "bob's"}, {"note": "ann's"}


def overwrite(ann, bob, order, theirs=BOBS, mine=ANNS, **decisions):
    """Let Ann overwrite what Bob has saved, and return what she sees then."""
    my_page, their_page = Page.change(ann, order), Page.change(bob, order)
    their_page.save(**theirs)
    decisions = decisions or {f"optilock_decision_{name}": "mine" for name in mine}
    return my_page.save(**mine).save(**decisions)


def overwrite_line(ann, bob, order):
    LineFactory(order=order, product="pen", quantity=1)
    return overwrite(
        ann,
        bob,
        order,
        {"lines-0-quantity": "2"},
        {"lines-0-quantity": "3"},
        **{"lines-0-optilock_decision_quantity": "mine"},
    )


def link(page):
    [found] = re.findall(r'<a href="([^"]+)">Put back', " ".join(page.messages))
    return unescape(found)


def follow(page, user=None):
    if user is not None:
        page.client.force_login(user)
    url = link(page)
    return Page(page.client, url, page.client.get(url))


def test_what_was_overwritten_is_put_back_like_any_change(ann, bob, order, heard):
    done = overwrite(ann, bob, order)
    assert done.messages[0].startswith(
        "You have overwritten what bob had saved: Note. <a href="
    )
    shown = follow(done)
    assert shown.data["note"] == "bob's"
    assert "Note: the form shows what was overwritten." in shown.text
    order.refresh_from_db()
    assert (order.note, order.version) == ("ann's", 3)
    saved = shown.save()
    assert saved.redirects
    assert len(saved.messages) == 1
    order.refresh_from_db()
    assert (order.note, order.version) == ("bob's", 4)
    entry = LogEntry.objects.first()
    assert (entry.user, entry.get_change_message()) == (ann, "Changed Note.")
    assert len(heard) == 1


def test_what_a_third_person_has_saved_since_is_asked_about(ann, bob, order):
    done = overwrite(ann, bob, order)
    Page.change(
        StaffFactory(username="carol", permissions=["change_order"]), order
    ).save(note="carol's", status="paid")
    shown = follow(done)
    assert shown.data["note"] == "bob's"
    asked = shown.save()
    assert not asked.redirects
    assert "carol saved this order" in asked.text
    order.refresh_from_db()
    assert (order.note, order.status) == ("carol's", "paid")
    assert asked.save(optilock_decision_note="mine").redirects
    order.refresh_from_db()
    assert (order.note, order.status) == ("bob's", "paid")


def test_what_is_there_already_is_not_put_back_twice(ann, bob, order):
    done = overwrite(ann, bob, order)
    follow(done).save()
    shown = follow(done)
    assert "There is nothing to put back any more." in shown.text
    assert shown.data["note"] == "bob's"


def test_nobody_else_can_use_the_link(ann, bob, order):
    done = overwrite(ann, bob, order)
    shown = Page.get(bob, link(done))
    assert "There is nothing to put back any more." in shown.text
    assert shown.data["note"] == "ann's"


def test_who_may_no_longer_change_it_sees_it_as_it_is(bob, order):
    ann = StaffFactory(username="ann", permissions=["change_order", "view_order"])
    done = overwrite(ann, bob, order)
    ann.user_permissions.clear()
    assert done.client.get(link(done)).status_code == 403
    ann.user_permissions.set(
        StaffFactory(permissions=["view_order"]).user_permissions.all()
    )
    shown = follow(done)
    assert "bob's" not in unescape(shown.text)
    assert "There is nothing to put back any more." in shown.text


def test_fields_that_are_read_only_stay(ann, bob, order, monkeypatch):
    done = overwrite(
        ann, bob, order, {"note": "bob's", "amount": "7"}, {"note": "n", "amount": "8"}
    )
    monkeypatch.setattr(OrderAdmin, "readonly_fields", ["note"])
    shown = follow(done)
    assert shown.data["amount"] == "7.00"
    shown.save()
    order.refresh_from_db()
    assert (order.note, order.amount) == ("n", 7)


def test_it_can_be_put_back_for_a_day(ann, bob, order, monkeypatch):
    done = overwrite(ann, bob, order)
    later = timezone.now() + datetime.timedelta(hours=25)
    monkeypatch.setattr(
        "optilock.overwriting.time.time_ns", lambda: int(later.timestamp() * 10**9)
    )
    assert "There is nothing to put back any more." in follow(done).text


def test_values_of_each_kind_are_put_back(ann, bob):
    red, blue = Colour.objects.create(name="red"), Colour.objects.create(name="blue")
    order = OrderFactory(number="17", note="old")
    theirs = {
        "tags": [str(red.pk)],
        "due_0": "2026-01-02",
        "due_1": "03:04:05",
        "note": "bob's\r\n" + "long " * 2000,
    }
    mine = {"tags": [str(blue.pk)], "due_0": "2027-01-02", "due_1": "03:04:05"}
    done = overwrite(
        ann,
        bob,
        order,
        theirs,
        {**mine, "note": "ann's"},
        optilock_decision_for_all="mine",
    )
    before = Order.objects.get()
    assert before.note == "ann's"
    follow(done).save()
    order.refresh_from_db()
    assert order.note.startswith("bob's")
    assert order.due.year == 2026
    assert set(order.tags.all()) == {red, blue}  # merged, not overwritten


def test_rows_of_inlines_are_put_back(ann, bob, order):
    done = overwrite_line(ann, bob, order)
    shown = follow(done)
    assert shown.data["lines-0-quantity"] == "2"
    shown.save()
    assert Line.objects.get().quantity == 2


def test_a_row_that_a_third_person_has_saved_since_is_asked_about(ann, bob, order):
    done = overwrite_line(ann, bob, order)
    carol = UserFactory(username="carol")
    Page.change(carol, order).save(**{"lines-0-quantity": "4"})
    asked = follow(done).save()
    assert "carol saved this order" in asked.text
    assert Line.objects.get().quantity == 4


def test_cells_of_a_list_are_put_back_on_the_change_form(ann, bob, order):
    mine, theirs = Page.list(ann, Order), Page.list(bob, Order)
    theirs.save(**{"form-0-amount": "7"})
    done = mine.save(**{"form-0-amount": "8"}).save(
        **{"form-0-optilock_decision_amount": "mine"}
    )
    assert follow(done).data["amount"] == "7.00"


def test_neither_secrets_nor_files_are_kept(ann, bob, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_secret_fields", ["note"])
    done = overwrite(ann, bob, order)
    assert "Put back" not in done.messages[0]
    assert "bob's" not in str(dict(done.client.session))


def test_a_session_in_a_cookie_holds_only_what_has_room(ann, bob, order, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    done = overwrite(ann, bob, order, {"note": "b" * 5000}, {"note": "ann's"})
    assert "Put back" not in done.messages[0]
    assert isinstance(done.client.session, signed_cookies.SessionStore)
    done = overwrite(ann, bob, order, {"note": "short"}, {"note": "ann's again"})
    assert follow(done).data["note"] == "short"


def test_receivers_are_told_whose_values_were_overwritten(ann, bob, order, heard):
    mine = {**ANNS, "amount": "8"}
    overwrite(ann, bob, order, BOBS, mine, optilock_decision_note="mine")
    [told] = heard
    assert (told["sender"], told["pk"], told["version"]) == (Order, order.pk, 3)
    assert told["fields"].keys() == {"note"}
    change = told["fields"]["note"]
    assert (change.base, change.mine, change.theirs) == ("old", "ann's", "bob's")
    assert (told["user"], told["author"].user) == (ann, bob)
    assert (told["instance"].note, told["using"]) == ("ann's", "default")
    assert told["request"].user == ann


def test_receivers_are_told_nothing_that_is_rolled_back(
    ann, bob, order, heard, monkeypatch
):
    def fail(*args, **kwargs):
        raise RuntimeError

    page = Page.change(ann, order)
    Page.change(bob, order).save(note="bob's")
    asked = page.save(note="ann's")
    monkeypatch.setattr(OrderAdmin, "response_change", fail)
    with pytest.raises(RuntimeError):
        asked.save(optilock_decision_note="mine")
    assert heard == []


# --- the person whose it was ---------------------------------------------


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(OrderAdmin, "optilock_tell_overwritten", True)


def test_the_person_is_told_on_the_next_page_and_only_once(ann, bob, order, told):
    overwrite(ann, bob, order)
    assert Page.list(ann, Order).messages == []
    page = Page.list(bob, Order)
    sentence = "What you had saved in Order “17” was overwritten by ann: Note."
    history = admin_url(order, "history", order.pk)
    assert sentence in unescape(page.text)
    assert f'<a href="{history}">History</a>' in page.text
    assert "bob's" not in unescape(page.text)
    assert sentence not in unescape(Page.change(bob, order).text)
    assert not Notice.objects.exists()


def test_nobody_is_told_of_what_they_may_not_see_any_more(ann, bob, order, told):
    overwrite(ann, bob, order)
    Order.objects.all().delete()
    assert "overwritten by" not in Page.list(bob, Order).text
    assert not Notice.objects.exists()


def test_who_overwrites_what_is_their_own_is_told_nothing(ann, order, told):
    overwrite(ann, ann, order, {"note": "first"}, {"note": "second"})
    assert not Notice.objects.exists()


def test_without_the_option_nobody_is_told(ann, bob, order):
    overwrite(ann, bob, order)
    assert not Notice.objects.exists()


def test_notices_are_deleted_when_they_are_old(ann, bob, order, told):
    old = timezone.now() - datetime.timedelta(days=91)
    Notice.objects.create(model="a.b", object_id="1", user=ann, by=bob, when=old)
    overwrite(ann, bob, order)
    assert [notice.user for notice in Notice.objects.all()] == [bob]


# --- outside the admin ---------------------------------------------------


def test_a_view_offers_to_put_it_back_and_does_so(client, heard):
    memo = MemoFactory(subject="old", body="old")
    url = reverse("memo", args=[memo.pk])

    def visit(url=url):
        return Page(client, url, client.get(url))

    mine = visit()
    visit().post(body="theirs")
    done = mine.post(body="mine").post(optilock_decision_body="mine")
    [told] = heard
    assert (told["user"], told["author"].name) == (None, "bob")
    shown = visit(link(done))
    assert shown.data["body"] == "theirs"
    assert shown.messages[-1].startswith("Body: the form shows what was overwritten.")
    shown.post()
    assert Memo.objects.get().body == "theirs"


def test_values_that_are_put_back_are_not_replaced_by_what_others_save(ann, bob):
    memo = MemoFactory(subject="old")
    done = overwrite(ann, bob, memo, {"subject": "bob's"}, {"subject": "ann's"})
    page = follow(done)
    assert page.data["subject"] == "bob's"
    assert page.attributes["data-optilock-show"] == "false"


def test_of_a_text_only_the_passages_are_put_back(ann, bob, order):
    order.note = "One.\n\nTwo."
    order.save()
    theirs = {"note": "One.\r\n\r\nTwo by bob."}
    mine = {"note": "One by ann.\r\n\r\nTwo by ann."}
    shown = follow(overwrite(ann, bob, order, theirs, mine))
    assert shown.data["note"] == "One by ann.\r\n\r\nTwo by bob."


def test_who_has_lost_nothing_in_a_row_is_not_told_of_it(ann, bob, order, told):
    LineFactory(order=order, product="pen", quantity=1)
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(**{"note": "bob's", "lines-0-quantity": "2"})
    asked = mine.save(**{"note": "ann's", "lines-0-comment": "ann's"})
    assert asked.save(optilock_decision_note="mine").redirects
    assert Line.objects.values_list("quantity", "comment").get() == (2, "ann's")
    [notice] = Notice.objects.all()
    assert (notice.model, notice.fields) == ("testapp.order", ["note"])
    assert str(notice) == f"Order #{order.pk}"


def test_what_another_window_has_told_meanwhile_is_not_told_again(ann, bob):
    for number in "12":
        Notice.objects.create(model="a.b", object_id=number, user=ann, by=bob)
    here = take(ann)
    assert next(here).object_id == "1"
    assert [notice.object_id for notice in take(ann)] == ["2"]
    assert list(here) == []
