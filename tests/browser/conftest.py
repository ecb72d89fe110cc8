"""Two people, each with a browser window of their own.

OPTILOCK_TEST_BROWSER is the path of Chromium, as in /usr/bin/chromium. Nothing is
downloaded. OPTILOCK_TEST_PICTURES is a folder for the pictures the tests take.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles.views import serve
from django.test import Client
from factories import StaffFactory, UserFactory
from pages import admin_url

BROWSER = os.environ.get("OPTILOCK_TEST_BROWSER")
PICTURES = os.environ.get("OPTILOCK_TEST_PICTURES")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--renderer-process-limit=1",
]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    skip = pytest.mark.skip(
        reason="no browser: install '.[browser]' and Chromium, "
        "and set OPTILOCK_TEST_BROWSER=/usr/bin/chromium"
    )
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # Each page is loaded from another thread.
            item.add_marker(pytest.mark.django_db(transaction=True))
            if not BROWSER:
                item.add_marker(skip)


def serve_once(*args, **kwargs):
    """Serve a static file, to be kept by whoever asked."""
    response = serve(*args, **kwargs)
    response["Cache-Control"] = "max-age=86400, immutable"
    return response


@pytest.fixture(scope="package")
def browser():
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's loop runs in the thread of the tests, which use the ORM.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        # Files that were installed a moment ago would be asked for on each page.
        patch.setattr("django.contrib.staticfiles.handlers.serve", serve_once)
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def contexts(browser):
    """Windows that were opened, by what they are like: the next test uses them again.

    Most of a test's time would be spent on opening them, and on loading the
    admin's scripts and styles into empty caches.
    """
    return {}


class Person:
    """Somebody at a browser; ``page`` is Playwright's, for whatever isn't here."""

    def __init__(self, user, context, url):
        self.user, self.context, self.url = user, context, url
        #: What the browser has objected to: errors of scripts, and of the policy.
        self.complaints = []
        context.on("weberror", self._note_error)
        context.on("console", self._listen)
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": url}
        context.add_cookies([cookie])
        self.page = context.pages[0] if context.pages else context.new_page()

    def leave(self):
        """Leave the window as it was before."""
        self.page = self.context.pages[0]  # a popup may have closed itself
        for page in self.context.pages[1:]:
            page.close()
        if self.page.url.startswith(self.url):
            self.page.evaluate("() => (localStorage.clear(), sessionStorage.clear())")
        self.page.goto("about:blank")
        self.context.clear_cookies()
        self.context.remove_listener("weberror", self._note_error)
        self.context.remove_listener("console", self._listen)

    def _note_error(self, error):
        self.complaints.append(str(error.error))

    def _listen(self, message):
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def go(self, path):
        self.page.goto(self.url + path)

    def open(self, obj, query=""):
        """Open an object's change form."""
        self.go(admin_url(obj, "change", obj.pk) + query)

    def list(self, model, query=""):
        self.go(admin_url(model, "changelist") + query)

    def delete(self, obj):
        """Open the confirmation of a delete."""
        self.go(admin_url(obj, "delete", obj.pk))

    def field(self, name):
        return self.page.locator(f'[name="{name}"]:not([type="radio"])')

    def fill(self, **values):
        """Type into inputs, and choose from selects, by their names."""
        for name, value in values.items():
            field = self.field(name)
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def save(self, button="_save"):
        self.click(f'[type="submit"][name="{button}"]')

    def click(self, selector):
        """Click what leads to another page, and wait for that."""
        with self.page.expect_navigation():
            self.page.locator(selector).first.click()

    def keep(self, side, name):
        """Decide about a field: ``side`` is "mine" or "theirs"."""
        radio = f'[name="{name}"][value="{side}"]'
        self.page.locator(radio).check()

    def change(self, obj, **values):
        """Open an object, type, and save."""
        self.open(obj)
        self.fill(**values)
        self.save()

    @property
    def panel(self):
        return self.page.locator(".optilock-conflict")

    @property
    def asked(self):
        """Whether the page is one that asks for decisions."""
        return self.panel.count() > 0

    @property
    def messages(self):
        return self.page.locator(".messagelist li").all_inner_texts()

    def violations(self, within="body"):
        """What axe-core finds wrong with the page: rules, and elements."""
        from axe_playwright_python.sync_playwright import Axe

        heard = list(self.complaints)
        found = Axe().run(self.page, context=within).response["violations"]
        self.complaints[:] = heard  # axe-core itself writes inline styles
        return {
            (rule["id"], *node["target"]) for rule in found for node in rule["nodes"]
        }

    def is_wide_enough(self):
        """Whether nobody has to scroll to the side."""
        return self.page.evaluate(
            "() => document.documentElement.scrollWidth <= window.innerWidth"
        )

    def look(self, name, **options):
        """Take a picture of the whole page, if pictures are wanted."""
        if PICTURES:
            path = Path(PICTURES) / f"{name}.png"
            self.page.screenshot(path=path, full_page=True, **options)


@pytest.fixture
def sign_in(browser, contexts, live_server):
    """Open a window for somebody: ``sign_in("ann", color_scheme="dark")``.

    With ``permissions=["view_order"]``, for somebody who may do only that.
    """
    people = []

    def open_window(name, *, permissions=None, **options):
        key = name, repr(options)
        if key not in contexts:
            contexts[key] = browser.new_context(**{"locale": "en-GB", **options})
            contexts[key].set_default_timeout(30_000)
        context = contexts[key]
        if permissions is None:
            user = UserFactory(username=name)
        else:
            user = StaffFactory(username=name, permissions=permissions)
        person = Person(user, context, live_server.url)
        people.append(person)
        return person

    yield open_window
    for person in people:
        person.leave()
    assert [person.complaints for person in people] == [[] for _ in people]


@pytest.fixture
def options():
    """What the windows of ``ann`` and ``bob`` are like; tests override it."""
    return {}


@pytest.fixture
def order(transactional_db, order):
    """The order that others' tests know, committed: a browser's server sees it."""
    return order


@pytest.fixture
def ann(sign_in, options):
    return sign_in("ann", **options)


@pytest.fixture
def bob(sign_in, options):
    return sign_in("bob", **options)
