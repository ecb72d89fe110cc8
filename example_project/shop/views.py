"""Pages on which two browser tabs can get in each other's way: one for each story, and
one that edits an order through the API.
"""

from __future__ import annotations

import json

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.db import transaction
from django.forms import modelform_factory
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from optilock import RecordModifiedError, retry_on_conflict
from shop.hints import command
from shop.models import Order
from shop.pages import PAGES, Page


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
    status = 200
    if request.method == "POST":
        button, seen = request.POST.get("button"), request.POST.get("seen")
        act = retry_on_conflict if "retry" in request.POST else transaction.atomic
        try:
            if act(_write)(page, request.POST):
                messages.success(request, f"{button}: done.")
            else:
                text = f"{button}: that can't be done, or is done already."
                messages.error(request, text)
            return redirect("story", slug)
        except RecordModifiedError as error:
            text = (
                f"“{button}” has not been done: somebody has changed {error.instance} "
                f"since you opened the page. You saw “{seen}”; below is what is there "
                f"now. Press the button again if you still want it."
            )
            messages.error(request, text)
            status = 409
    context = {"pages": PAGES, "page": page, "command": command("prepare")}
    return render(request, "shop/story.html", context, status=status)


def _write(page: Page, form: QueryDict) -> bool:
    """Change the rows of a button, if they are still as the page has shown them."""
    rows = {}
    for name, model in page.models.items():
        try:
            pk, version = map(int, form[name].split("@"))
        except (KeyError, ValueError) as error:
            raise BadRequest("The form doesn't say which version it shows.") from error
        rows[name] = get_object_or_404(model, pk=pk)
        if "retry" not in form:
            rows[name].version = version  # what save() is to find in the database
    if not page.change(**rows):
        return False
    for row in sorted(rows.values(), key=lambda row: (row._meta.label, row.pk)):
        row.save()
    return True
