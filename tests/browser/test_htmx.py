"""A form that htmx sends, and whose answer takes its place."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.template import Context, Template
from django.urls import path
from factories import MemoFactory
from testapp.models import Memo

from optilock.forms import VersionedModelForm, get_opened_or_404

pytest.importorskip("django_htmx", reason="needs django-htmx, which brings htmx along")

FORM = """{% load optilock %}<form hx-post="/it/" hx-swap="outerHTML" novalidate>
<input type="hidden" name="csrfmiddlewaretoken" value="{{ csrf }}">
{% conflict form %}{{ form }}<button>Save</button></form>"""
PAGE = """<!DOCTYPE html><html lang="en"><title>Memo</title>
<meta name="htmx-config" content='{"includeIndicatorStyles": false,
  "responseHandling": [
  {"code": "[23]..", "swap": true},
  {"code": "409|422", "swap": true},
  {"code": "[45]..", "swap": false, "error": true}
]}'>
<script src="/htmx.js" defer></script>{{ form.media }}<main>FORM</main></html>"""


class MemoForm(VersionedModelForm):
    can_recreate = True

    class Meta:
        model = Memo
        fields = ["subject", "body"]


def edit(request):
    memo = get_opened_or_404(Memo, request.POST, subject="old")
    form = MemoForm(request.POST or None, instance=memo)
    if request.method == "POST" and form.is_valid():
        form.save()
    status = 200
    if form.errors:
        status = 409 if form.conflict and form.conflict.asks else 422
    text = FORM if "HX-Request" in request.headers else PAGE.replace("FORM", FORM)
    context = Context({"form": form, "csrf": get_token(request), "request": request})
    return HttpResponse(Template(text).render(context), status=status)


def script(request):
    folder = Path(find_spec("django_htmx").origin).parent / "static/django_htmx"
    text = (folder / "htmx-2.min.js").read_bytes()
    return HttpResponse(text, content_type="text/javascript")


@pytest.fixture
def page(ann, settings, transactional_db):
    MemoFactory(subject="old", body="old")
    module = ModuleType("with_htmx")
    module.urlpatterns = [path("it/", edit), path("htmx.js", script)]
    sys.modules["with_htmx"] = module
    settings.ROOT_URLCONF = "with_htmx"
    ann.go("/it/")
    yield ann.page
    del sys.modules["with_htmx"]


def send(page, status, body):
    page.fill("[name=body]", body)
    with page.expect_response("**/it/") as answer:
        page.click("button")
    assert answer.value.status == status


def test_the_answer_asks_saves_and_goes_on(page):
    Memo.objects.update(body="theirs")
    send(page, 409, "mine")
    panel = page.locator("#optilock-conflict")
    panel.wait_for()
    assert "theirs" in panel.inner_text()
    # Its script ran, and its style was loaded, with the answer that brought them.
    assert page.evaluate("document.activeElement.id") == "optilock-conflict"
    styles = "[...document.styleSheets].filter(s => s.href).map(s => s.href).join()"
    while "optilock/conflict.css" not in page.evaluate(styles):  # or it times out
        page.wait_for_timeout(20)
    page.check('[name="optilock_decision_body"][value="mine"]')
    send(page, 200, "mine")
    panel.wait_for(state="detached")
    assert Memo.objects.get().body == "mine"
    send(page, 200, "mine again")
    assert Memo.objects.get().body == "mine again"


def test_a_deleted_memo_is_made_again(page):
    Memo.objects.all().delete()
    send(page, 409, "mine")
    page.locator("#optilock-conflict").wait_for()
    page.check('[name="optilock_decision_"]')
    send(page, 200, "mine")
    assert Memo.objects.get().body == "mine"
