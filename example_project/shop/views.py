"""Pages on which two browser tabs can get in each other's way: one for each story, and
one that edits an order through the API.
"""

from __future__ import annotations

import json
from typing import Any

from django.apps import apps
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.db import transaction
from django.forms import modelform_factory
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from optilock import RecordModifiedError, VersionedModel, retry_on_conflict
from shop.hints import command
from shop.models import Order
from shop.pages import PAGES, Page, Rows


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    context = {"pages": PAGES, "command": command("demo")}
    return render(request, "shop/index.html", context)


@require_safe
@login_required(login_url="admin:login")
def order(request: HttpRequest, number: str) -> HttpResponse:
    """Show an empty form; ``order.js`` fills and saves it through the API."""
    context = {
        "pages": PAGES,
        "number": number,
        "form": modelform_factory(Order, exclude=["number"])(),
        "together": json.dumps(Order.merge_together),
    }
    response = render(request, "shop/order.html", context)
    response["Content-Security-Policy"] = (
        "default-src 'self'; base-uri 'none'; form-action 'self'"
    )
    return response


def story(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a story's page, or do what a button on it says."""
    page = next((page for page in PAGES if page.story.slug == slug), None)
    if page is None:
        raise Http404(f"There is no story {slug!r}.")
    if request.method == "POST":
        return _act(request, page)
    cards = [
        (row, text, [(label, seen(page, label, rows)) for label, rows in buttons])
        for row, text, buttons in page.cards()
    ]
    context = {"page": page, "cards": cards, "command": command("prepare")}
    return render(request, "shop/story.html", {"pages": PAGES, **context})


def seen(page: Page, button: str, rows: Rows) -> str:
    """Return what a page has shown of a button's rows, signed, for the form."""
    shown = {
        name: [row._meta.label, row.pk, row.version, _number(page, name, row)]
        for name, row in rows.items()
    }
    return signing.dumps([button, shown])


class OldPageError(Exception):
    """A row isn't what it was when the page was made."""


def _act(request: HttpRequest, page: Page) -> HttpResponse:
    try:
        button, shown = signing.loads(request.POST.get("seen", ""))
    except signing.BadSignature:
        return render(request, "shop/conflict.html", {"pages": PAGES}, status=400)
    try:
        if "retry" in request.POST:
            done = retry_on_conflict(_write)(page, shown, from_page=False)
        else:
            done = transaction.atomic(_write)(page, shown, from_page=True)
    except (OldPageError, RecordModifiedError):
        return _conflict(request, page, button, shown)
    if done:
        messages.success(request, f"{button}: done.")
    else:
        messages.error(request, f"{button}: that can't be done, or is done already.")
    return redirect("story", page.story.slug)


def _write(page: Page, shown: dict[str, Any], from_page: bool) -> bool:
    rows = _rows(shown)
    if not page.change(**rows):
        return False
    if from_page and any(row.version != shown[name][2] for name, row in rows.items()):
        raise OldPageError
    for row in sorted(rows.values(), key=lambda row: (row._meta.label, row.pk)):
        row.save()  # which is refused, too, if it has changed since _rows() loaded it
    return True


def _conflict(
    request: HttpRequest, page: Page, button: str, shown: dict[str, Any]
) -> HttpResponse:
    """Say what happened, and offer to do it on what is there now."""
    rows = _rows(shown)
    changes = [
        (
            f"{rows[name]}: {rows[name]._meta.get_field(field).verbose_name}",
            shown[name][3],
            getattr(rows[name], field),
        )
        for name, field in page.numbers.items()
    ]
    context = {
        "pages": PAGES,
        "button": button,
        "changes": changes,
        "seen": seen(page, button, rows),
        "can_be_done": page.change(**rows),  # in memory, to see whether it can
    }
    return render(request, "shop/conflict.html", context, status=409)


def _rows(shown: dict[str, Any]) -> Rows:
    return {
        name: get_object_or_404(apps.get_model(label), pk=pk)
        for name, (label, pk, *_) in shown.items()
    }


def _number(page: Page, name: str, row: VersionedModel) -> Any:
    return getattr(row, page.numbers.get(name, "pk"))
