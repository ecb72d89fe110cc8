"""What an open form says when somebody else has saved."""

from __future__ import annotations

import pytest
from django.conf import settings
from factories import MemoFactory


@pytest.fixture
def memo(transactional_db):
    return MemoFactory(subject="Hello")


@pytest.fixture
def contexts():
    """Windows of this test alone: a clock that was put forward stays so."""
    opened = {}
    yield opened
    for context in opened.values():
        context.close()


class Watch:
    """A form that is open, with a clock that can be put forward."""

    def __init__(self, person, memo):
        self.page = person.page
        self.questions = 0
        self.page.on("request", self._count)
        self.page.clock.install()
        person.open(memo)
        person.page.locator("fieldset details").evaluate("one => { one.open = true }")

    def _count(self, request):
        self.questions += "optilock-poll" in request.url

    def wait(self, seconds):
        """Let time pass in which nothing is asked."""
        asked = self.questions
        self.page.clock.run_for(1000 * seconds)
        self._settle()
        assert self.questions == asked

    def _settle(self):
        """Let the page's script see what came before this."""
        self.page.evaluate("() => fetch('/static/optilock/poll.js').then(() => 0)")

    def answer(self, seconds=15):
        """Let time pass, and return the answer's status."""
        with self.page.expect_response("**/optilock-poll/**") as response:
            self.page.clock.run_for(1000 * seconds)
        self._settle()
        return response.value.status

    @property
    def banner(self):
        return self.page.locator(".optilock-banner")

    def press(self, text):
        self.banner.get_by_role("button", name=text).click()


@pytest.fixture
def watch(ann, memo):
    return Watch(ann, memo)


def test_a_banner_says_who_has_saved(ann, bob, memo, watch):
    assert watch.answer() == 200
    assert watch.banner.count() == 0
    bob.change(memo, subject="<img src=x onerror=alert(1)>")
    ann.fill(body="ann's")
    assert watch.answer() == 200
    watch.banner.wait_for()
    assert watch.banner.locator("[role=status][aria-live=polite]").count() == 1
    text = watch.banner.inner_text()
    assert text.startswith("bob changed “<img src=x onerror=alert(1)>” a moment ago")
    assert "What changed: Subject." in text
    assert ann.field("body").input_value() == "ann's"
    assert ann.violations() == set()
    ann.look("banner")


def test_a_reload_asks_before_it_drops_what_was_typed(ann, bob, memo, watch):
    bob.change(memo, subject="bob's")
    ann.fill(body="ann's")
    watch.answer()
    watch.press("Reload")
    assert "What you have typed here would be lost." in watch.banner.inner_text()
    assert ann.page.evaluate("document.activeElement.textContent") == "Cancel"
    watch.press("Cancel")
    assert "bob changed" in watch.banner.inner_text()
    assert ann.field("body").input_value() == "ann's"
    watch.press("Reload")
    with ann.page.expect_navigation():
        watch.press("Reload all the same")
        watch.page.clock.run_for(1000)
    assert ann.field("subject").input_value() == "bob's"
    assert ann.field("body").input_value() == ""


def test_a_reload_asks_nothing_where_nothing_was_typed(ann, bob, memo, watch):
    bob.change(memo, subject="bob's")
    watch.answer()
    with ann.page.expect_navigation():
        watch.press("Reload")
        watch.page.clock.run_for(1000)
    assert ann.field("subject").input_value() == "bob's"


def test_a_reload_of_a_page_with_an_error_asks(ann, bob, memo, watch):
    ann.fill(subject="")
    ann.page.locator("form").evaluate_all(
        "all => all.forEach(f => { f.noValidate = true })"
    )
    ann.save()
    bob.change(memo, subject="bob's")
    watch.answer()
    assert watch.banner.get_by_role("button", name="Show").count() == 0
    watch.press("Reload")
    assert "would be lost" in watch.banner.inner_text()


def test_new_values_are_put_where_nothing_was_typed(ann, bob, memo, watch):
    memo.body = "bob's"
    memo.save()
    bob.change(memo, subject="bob's")
    ann.fill(body="ann's")
    watch.answer()
    watch.press("Show the new values")
    watch.banner.get_by_text("Shown now: Subject. Still as it was: Body.").wait_for()
    assert ann.field("subject").input_value() == "bob's"
    assert ann.field("body").input_value() == "ann's"
    watch.answer()
    assert "Shown now" in watch.banner.inner_text()
    ann.fill(subject="ann's")
    ann.save()
    assert ann.asked
    assert "Body" in ann.panel.inner_text()
    assert "Subject" not in ann.panel.inner_text()


def test_what_was_shown_can_be_saved_at_once(ann, bob, memo, watch):
    bob.change(memo, subject="bob's")
    watch.answer()
    watch.press("Show the new values")
    watch.banner.get_by_text("Shown now: Subject.").wait_for()
    ann.fill(body="ann's")
    ann.save()
    assert not ann.asked
    memo.refresh_from_db()
    assert (memo.subject, memo.body, memo.version) == ("bob's", "ann's", 3)
    assert not any("Merged" in message for message in ann.messages)


def test_an_input_that_a_script_has_replaced_is_left_alone(ann, bob, memo, watch):
    """An editor would put its old text back."""
    ann.field("subject").evaluate("input => { input.style.display = 'none' }")
    memo.body = "bob's"
    memo.save()
    bob.change(memo, subject="bob's")
    watch.answer()
    watch.press("Show the new values")
    watch.banner.get_by_text("Still as it was: Subject.").wait_for()
    assert ann.field("subject").input_value() == "Hello"


def test_a_notice_can_be_closed_until_there_is_something_new(ann, bob, memo, watch):
    bob.change(memo, subject="bob's")
    watch.answer()
    watch.press("Close this notice")
    assert watch.banner.count() == 0
    watch.answer()
    assert watch.banner.count() == 0
    bob.change(memo, subject="bob's again")
    watch.answer()
    assert "bob's again" in watch.banner.inner_text()


@pytest.mark.parametrize("is_changed_before", [False, True])
def test_a_deletion_is_told(ann, bob, memo, watch, is_changed_before):
    if is_changed_before:
        bob.change(memo, subject="bob's")
        watch.answer()
        assert "bob changed" in watch.banner.inner_text()
    ann.fill(body="ann's")
    bob.delete(memo)
    bob.click('#content [type="submit"]')
    assert watch.answer() == 200
    text = watch.banner.locator("[role=status]").inner_text()
    assert text.startswith("bob deleted “")
    assert text.endswith("What you have typed is still here.")
    assert watch.banner.get_by_role("button").count() == 1
    watch.wait(3600)


def test_who_has_left_the_room_is_told_no_more_than_that(ann, memo, watch):
    ann.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    assert watch.answer() == 404
    assert "This is not there any more" in watch.banner.inner_text()
    watch.wait(3600)


def test_whoever_may_only_look_is_told_too(sign_in, bob, memo):
    reader = sign_in("eve", permissions=["view_memo"])
    watch = Watch(reader, memo)
    bob.change(memo, subject="bob's")
    watch.answer()
    assert "bob changed “bob's”" in watch.banner.inner_text()
    with reader.page.expect_navigation():
        watch.press("Reload")
        watch.page.clock.run_for(1000)
    assert "bob's" in reader.page.inner_text("#content")


def test_who_goes_on_decides_when_saving(ann, bob, memo, watch):
    bob.change(memo, subject="bob's")
    watch.answer()
    ann.fill(subject="ann's")
    ann.save()
    assert ann.asked


def test_nothing_is_said_about_ones_own_save(ann, memo, watch):
    ann.fill(subject="ann's")
    ann.save("_continue")
    watch.answer()
    assert watch.banner.count() == 0


def test_a_form_that_nobody_looks_at_does_not_ask(ann, bob, memo, watch):
    hide = """hidden => Object.defineProperty(
        document, "hidden", {value: hidden, configurable: true}
    )"""
    watch.page.evaluate(hide, True)
    watch.wait(120)
    bob.change(memo, subject="bob's")
    watch.page.evaluate(hide, False)
    with watch.page.expect_response("**/optilock-poll/**"):
        watch.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    watch.banner.wait_for()


def test_a_form_asks_less_often_while_there_is_trouble(watch):
    watch.page.route("**/optilock-poll/**", lambda route: route.fulfill(status=500))
    assert watch.answer() == 500
    watch.wait(29)
    assert watch.answer(1) == 500
    watch.wait(59)
    watch.page.unroute("**/optilock-poll/**")
    assert watch.answer(1) == 200
    watch.wait(14)
    assert watch.answer(1) == 200
