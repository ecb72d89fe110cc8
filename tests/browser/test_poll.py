"""What an open form says when somebody else has saved."""

from __future__ import annotations

import pytest
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
        return self.page.locator("#optilock-banner")


@pytest.fixture
def watch(ann, memo):
    return Watch(ann, memo)


def test_a_banner_says_who_has_saved(ann, bob, memo, watch):
    assert watch.answer() == 200
    assert watch.banner.count() == 0
    bob.change(memo, subject="<img src=x onerror=alert(1)>")
    ann.fill(subject="ann's")
    assert watch.answer() == 200
    watch.banner.wait_for()
    assert watch.banner.get_attribute("role") == "status"
    text = watch.banner.inner_text()
    assert text.startswith("bob changed “<img src=x onerror=alert(1)>” a moment ago")
    assert ann.field("subject").input_value() == "ann's"
    ann.look("banner")
    ann.click("#optilock-banner a")
    assert ann.field("subject").input_value().startswith("<img")


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


def test_a_form_whose_object_is_gone_does_not_ask_again(memo, watch):
    memo.delete()
    assert watch.answer() == 404
    watch.wait(3600)


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
