"""Who has a form open is said on the forms of others."""

from __future__ import annotations

import html
import time

import pytest
from django.test import Client
from factories import StaffFactory, UserFactory
from pages import Page, Script
from testapp.admin import ParcelAdmin
from testapp.models import Board, HeadedBoard, Parcel, StringKey

from optilock.presence import people
from optilock.presence.models import OpenPage

pytestmark = pytest.mark.django_db


@pytest.fixture
def parcel():
    return Parcel.objects.create(code="P1", weight=1)


@pytest.fixture
def bob(parcel):
    """The script of bob's page, which says that he has it open."""
    script = Script(Page.change(UserFactory(username="bob"), parcel))
    script.look()
    return script


def line(page):
    _, _, rest = page.text.partition('class="optilock-people">')
    return html.unescape(rest.partition("<")[0])


def let_pass(minutes):
    """Move the times of all pages into the past."""
    for page in OpenPage.objects.all():
        page.since -= minutes * 60_000
        page.until -= minutes * 60_000
        page.save()


def test_a_form_says_who_else_has_it_open(ann, parcel, bob):
    assert line(Page.change(ann, parcel)) == "bob has just opened this."


def test_a_form_says_for_how_long(ann, parcel, bob):
    OpenPage.objects.update(since=int(time.time() * 1000) - 4 * 60_000 - 5000)
    page = Page.change(ann, parcel)
    assert line(page) == "bob has had this open for 4\xa0minutes."
    answer = Script(page).look()
    assert answer["who"] == ["bob"]
    assert answer["people"] == "bob has had this open for 4\xa0minutes."


def test_a_form_says_so_without_time_zones(ann, parcel, bob, settings):
    settings.USE_TZ = False
    assert line(Page.change(ann, parcel)) == "bob has just opened this."


def test_a_reader_of_a_form_without_fields_is_no_error(parcel, monkeypatch):
    monkeypatch.setattr(ParcelAdmin, "get_fieldsets", lambda *args: [])
    page = Page.change(StaffFactory(permissions=["view_parcel"]), parcel)
    assert page.response.status_code == 200


def test_opening_a_form_writes_nothing(ann, parcel):
    Page.change(ann, parcel)
    assert not OpenPage.objects.exists()


def test_what_is_kept_is_who_what_and_since_when(bob, parcel):
    page = OpenPage.objects.get()
    assert (page.model, page.key) == ("testapp.parcel", str(parcel.pk))
    assert page.user.username == "bob"
    assert {field.name for field in OpenPage._meta.fields} == {
        "id",
        "model",
        "key",
        "user",
        "since",
        "until",
    }


def test_ones_own_windows_are_not_told(bob, parcel):
    user = OpenPage.objects.get().user
    page = Page.change(user, parcel)
    assert line(page) == ""
    assert Script(page).look()["who"] == []


def test_a_page_that_is_closed_is_forgotten(ann, bob, parcel):
    assert bob.ask("leave").json() == {}
    assert not OpenPage.objects.exists()
    assert line(Page.change(ann, parcel)) == ""


def test_who_has_two_pages_open_is_told_once_until_both_are_closed(ann, bob, parcel):
    again = Script(Page.change(OpenPage.objects.get().user, parcel))
    again.look()
    assert OpenPage.objects.count() == 2
    page = Page.change(ann, parcel)
    assert line(page).count("bob") == 1
    bob.ask("leave")
    assert Script(page).look()["who"] == ["bob"]
    again.ask("leave")
    assert Script(page).look()["who"] == []


def test_a_page_that_says_nothing_any_more_is_forgotten(ann, bob, parcel):
    let_pass(minutes=3)
    assert line(Page.change(ann, parcel)) == ""
    other = Parcel.objects.create(code="P2", weight=1)
    Script(Page.change(ann, other)).look()  # whoever comes next takes it away
    assert OpenPage.objects.get().user == ann


def test_a_page_that_comes_back_has_been_open_all_the_while(ann, bob, parcel):
    since = OpenPage.objects.get().since
    let_pass(minutes=3)
    OpenPage.objects.all().delete()
    bob.look()
    assert OpenPage.objects.get().since == since


def test_nobody_can_say_that_a_page_was_open_that_was_not(bob, parcel):
    bob.ask("leave")
    other = Parcel.objects.create(code="P2", weight=1)
    for token in ("", "x", Page.change(UserFactory(), other).data["optilock_token"]):
        bob.look(optilock_token=token)
    assert not OpenPage.objects.exists()


def test_names_are_escaped(ann, parcel):
    user = UserFactory(username="<b>bob</b>")
    Script(Page.change(user, parcel)).look()
    page = Page.change(ann, parcel)
    assert "<b>bob" not in page.text
    assert line(page) == "<b>bob</b> has just opened this."


def test_many_are_counted(ann, parcel):
    for name in "bcdefg":
        Script(Page.change(UserFactory(username=name), parcel)).look()
    said = line(Page.change(ann, parcel))
    assert said.startswith("b has just opened this. c has just")
    assert said.endswith("3 more people have this open.")


def test_whoever_may_only_look_is_told_but_concerns_nobody(ann, bob, parcel):
    reader = StaffFactory(permissions=["view_parcel"])
    page = Page.change(reader, parcel)
    assert line(page) == "bob has just opened this."
    assert Script(page).look()["who"] == ["bob"]
    assert "bob" in line(Page.change(ann, parcel))
    assert OpenPage.objects.count() == 1


@pytest.mark.parametrize("permissions", [None, []])
def test_who_may_not_see_the_object_learns_nothing(bob, permissions):
    client = Client()
    if permissions is not None:
        client.force_login(StaffFactory(permissions=permissions))
    assert client.post(bob.url, bob.data).status_code == 404
    assert OpenPage.objects.count() == 1


def test_who_is_not_to_be_named_is_not_told(ann, bob, parcel, monkeypatch):
    monkeypatch.setattr(ParcelAdmin, "get_presence_name", lambda *args: "")
    page = Page.change(ann, parcel)
    assert line(page) == ""
    assert Script(page).look()["who"] == []


def test_a_user_who_is_deleted_has_nothing_open(bob):
    OpenPage.objects.get().user.delete()
    assert not OpenPage.objects.exists()


def test_the_old_form_of_a_deleted_object_announces_nobody(bob, parcel):
    OpenPage.objects.all().delete()
    Parcel.objects.all().delete()
    assert bob.look()["gone"]
    assert not OpenPage.objects.exists()


def test_a_form_costs_one_query_more_and_none_without(
    ann, parcel, monkeypatch, django_assert_max_num_queries
):
    page = Page.change(ann, parcel)

    def count():
        with django_assert_max_num_queries(50) as captured:
            page.client.get(page.url)
        return len(captured.captured_queries)

    with_presence = count()
    monkeypatch.setattr(ParcelAdmin, "optilock_presence", False)
    monkeypatch.setattr(ParcelAdmin, "optilock_poll", 15)
    with_poll = count()
    monkeypatch.setattr(ParcelAdmin, "optilock_poll", None)
    assert (with_presence, with_poll) == (count() + 1, count())


def test_a_question_costs_two_queries_more(bob, django_assert_num_queries):
    with django_assert_num_queries(5) as captured:  # session, user, and the object
        bob.look()
    told = [query["sql"].split()[0] for query in captured.captured_queries]
    assert told == ["SELECT", "SELECT", "SELECT", "UPDATE", "SELECT"]


def test_a_parent_and_its_child_are_one_row(ann):
    child = HeadedBoard.objects.create()
    people.announce(child, ann, 1, seconds=15)
    board = Board.objects.get()
    page = OpenPage.objects.get()
    assert (page.model, page.key) == ("testapp.board", str(board.pk))
    people.withdraw(board, ann, 1)
    assert not OpenPage.objects.exists()


def test_a_long_key_is_kept_as_a_digest(ann):
    one, other = (StringKey(pk="k" * 250 + last) for last in "ab")
    people.announce(one, ann, 1, seconds=15)
    assert people.others(one, UserFactory(), str)
    assert not people.others(other, UserFactory(), str)


def test_a_page_that_asks_seldom_counts_as_open_as_long(ann, parcel):
    people.announce(parcel, ann, 1, seconds=600)
    let_pass(minutes=29)
    assert people.others(parcel, UserFactory(), str)
    let_pass(minutes=2)
    assert not people.others(parcel, UserFactory(), str)
