"""Who else has a form open, in two windows."""

from __future__ import annotations

import datetime
import uuid

import pytest
from django.contrib import admin
from django.core.files.base import ContentFile
from django.urls import reverse
from factories import MemoFactory
from testapp.admin import AssortedAdmin
from testapp.models import Assorted, Memo, Parcel
from windows import DARK, NO_SCRIPTS, PHONE, windows

from optilock.presence.models import OpenPage


@pytest.fixture
def parcel(transactional_db):
    return Parcel.objects.create(code="P1")


@pytest.fixture
def contexts():
    """Windows of this test alone: a clock that was put forward stays so."""
    opened = {}
    yield opened
    for context in opened.values():
        context.close()


def line(person):
    return person.page.locator(".optilock-people")


def come(person, obj):
    """Open a form, and let it say so."""
    with person.page.expect_response("**/optilock-poll/**"):
        person.open(obj)


def wait_until_gone(person):
    """Wait for what a page sends when it is closed, for which nobody else waits."""
    for _ in range(100):
        if not OpenPage.objects.filter(user=person.user).exists():
            return
        person.page.wait_for_timeout(100)
    raise AssertionError("The page still counts as open.")


def ask(person, seconds=15):
    with person.page.expect_response("**/optilock-poll/**"):
        person.page.clock.run_for(1000 * seconds)


@pytest.fixture
def ann(ann):
    ann.page.clock.install()
    return ann


@windows(scripts={}, no_scripts=NO_SCRIPTS)
def test_a_form_says_who_else_has_it_open(sign_in, parcel, options, request):
    come(sign_in("bob"), parcel)
    ann = sign_in("ann", **options)
    ann.open(parcel)
    assert line(ann).inner_text() == "bob has just opened this."
    assert ann.page.locator(".optilock-banner").count() == 1
    ann.look(f"opened-{request.node.callspec.id}")


def test_who_comes_is_told_and_who_goes_is_gone(ann, bob, parcel):
    come(ann, parcel)
    assert not line(ann).is_visible()
    come(bob, parcel)
    ask(ann)
    line(ann).get_by_text("bob has just opened this.").wait_for()
    bob.list(Parcel)
    wait_until_gone(bob)
    ask(ann)
    line(ann).wait_for(state="hidden")
    assert [page.user.username for page in OpenPage.objects.all()] == ["ann"]


def test_who_saves_is_gone_too(bob, parcel):
    come(bob, parcel)
    assert OpenPage.objects.count() == 1
    bob.save()
    wait_until_gone(bob)


def test_a_line_says_how_long_it_has_been(ann, bob, parcel):
    come(bob, parcel)
    come(ann, parcel)
    page = OpenPage.objects.get(user=bob.user)
    page.since -= 4 * 60_000
    page.save()
    # Only that time has passed isn't read aloud: the text node stays.
    line(ann).evaluate("p => { window.node = p.firstChild }")
    ask(ann)
    line(ann).get_by_text("bob has had this open for 4").wait_for()
    assert line(ann).evaluate("p => window.node === p.firstChild")


def test_a_line_can_be_closed_until_somebody_else_comes(ann, bob, sign_in, parcel):
    come(bob, parcel)
    come(ann, parcel)
    ann.page.get_by_role("button", name="Close this notice").click()
    ask(ann)
    assert not line(ann).is_visible()
    come(sign_in("eve"), parcel)
    ask(ann)
    line(ann).get_by_text("eve has just opened this.").wait_for()


@windows(desktop={}, phone=PHONE, dark=DARK, rtl={"locale": "ar"})
def test_what_is_said_can_be_read(sign_in, parcel, options, request):
    bob, ann = sign_in("bob"), sign_in("ann", **options)
    ann.page.clock.install()
    come(bob, parcel)
    come(ann, parcel)
    line(ann).wait_for()
    bob.fill(weight="7")
    bob.save()
    come(bob, parcel)
    ask(ann)
    ann.page.locator(".optilock-news:not([hidden])").wait_for()
    ann.look(f"presence-{request.node.callspec.id}")
    assert ann.violations() == set()
    assert ann.is_wide_enough()


@windows(scripts={}, no_scripts=NO_SCRIPTS)
@pytest.mark.parametrize("name", ["watched", "edit"])
def test_a_page_outside_the_admin_says_it_too(sign_in, name, options):
    url = reverse(name, args=[MemoFactory(subject="old", body="old").pk])
    bob, ann = sign_in("bob"), sign_in("ann", **options)
    with bob.page.expect_response(lambda response: response.request.method == "POST"):
        bob.go(url)
    ann.go(url)
    assert line(ann).inner_text() == "bob has just opened this."


def test_a_page_outside_the_admin_shows_new_values(ann, bob):
    memo = MemoFactory(subject="old", body="old")
    url = reverse("watched", args=[memo.pk])
    ann.go(url)
    bob.go(url)
    bob.fill(body="bob's", subject="bob's")
    bob.click("form button:not([type])")
    ann.fill(subject="ann's")
    with ann.page.expect_response(lambda response: response.request.method == "POST"):
        ann.page.clock.run_for(15_000)
    ann.page.get_by_role("button", name="Show the new values").click()
    ann.page.get_by_text("Shown now: Body. Still as it was: Subject.").wait_for()
    assert ann.field("body").input_value() == "bob's"
    assert ann.violations(".optilock-banner") == set()
    ann.click("form button:not([type])")
    assert ann.asked
    assert ann.panel.get_by_text("Subject", exact=True).count()
    assert Memo.objects.get().subject == "bob's"


@pytest.mark.parametrize("widget", ["plain", "radios", "boxes"])
def test_inputs_of_each_kind_show_new_values(ann, monkeypatch, widget):
    if widget == "boxes":
        monkeypatch.setattr(AssortedAdmin, "filter_horizontal", ["friends"])
    if widget == "radios":
        monkeypatch.setattr(
            AssortedAdmin, "radio_fields", {"choice": admin.VERTICAL}, raising=False
        )
    one, old, new = (Assorted.objects.create() for _ in range(3))
    one.friends.set([old])
    come(ann, one)
    ann.fill(line="ann's")
    one.text, one.raw_line, one.boolean, one.null_boolean = "a & b", "<x>", True, False
    one.integer, one.float, one.decimal = 7, 1.5, "2.50"
    one.date, one.time = datetime.date(2024, 2, 29), datetime.time(12, 30)
    one.moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
    one.duration, one.uuid = datetime.timedelta(hours=1), uuid.uuid4()
    one.json, one.address, one.choice = {"a": ["<b>"]}, "127.0.0.1", "b"
    one.file.save("new.txt", ContentFile("new"), save=False)
    one.save()
    one.friends.set([new])
    ask(ann)
    ann.page.get_by_role("button", name="Show the new values").click()
    left = "File and Friends" if widget == "boxes" else "File"
    ann.page.get_by_text(f"Still as it was: {left}.").wait_for()
    ann.save()
    assert not ann.asked
    [told] = [text for text in ann.messages if text.startswith("Merged")]
    assert ("Friends" in told) == (widget == "boxes")
    assert "File" in told
    assert "Text" not in told
    one.line = "ann's"
    found = Assorted.objects.get(pk=one.pk)
    names = [f.name for f in Assorted._meta.concrete_fields if f.name != "version"]
    assert {n: str(getattr(found, n)) for n in names} == {
        n: str(getattr(one, n)) for n in names
    }
    assert [*found.friends.all()] == [new]


@pytest.mark.parametrize("is_typed", [False, True])
def test_a_tab_that_nobody_looks_at_is_open_if_something_was_typed(
    ann, parcel, is_typed
):
    come(ann, parcel)
    if is_typed:
        ann.fill(weight="7")
    ann.page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
    )
    asked = []
    ann.page.on("request", lambda request: asked.append(request.url))
    ann.page.clock.run_for(30_000)
    ann.page.evaluate("() => fetch('/static/optilock/poll.js').then(() => 0)")
    assert any("optilock-poll" in url for url in asked) == is_typed
