"""What do pages of the admin cost, beside those of a stock ``ModelAdmin``?

A request goes through Django's test client: middleware, view, template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks import harness

SETTINGS = {
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    "ROOT_URLCONF": "benchmarks.sites",
    "ALLOWED_HOSTS": ["testserver"],
    "STATIC_URL": "/static/",
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": None,
}


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    client = signed_in()
    for title, urls in pages().items():
        gets = {name: getting(client, url) for name, url in urls.items()}
        yield harness.cpu(plan, f"GET of {title}", gets, calls=2, notes=queries(gets))
        opened = {name: opening(client, url) for name, url in urls.items()}
        yield harness.Table(
            f"POST of {title}",
            "µs of client CPU",
            harness.interleave(
                opened, plan.rounds, lambda page: 1_000_000 * harness.seconds(page())
            ),
            queries({name: page() for name, page in opened.items()}),
        )


def pages() -> dict[str, dict[str, str]]:
    """Make the rows, and return the URLs of each page: stock, and versioned."""
    from benchmarks import models, sites

    sides = {
        "stock ModelAdmin": ("unlocked", models.Unlocked),
        "optilock": ("locked", models.Locked),
    }
    keys = {}
    for name, (_, model) in sides.items():
        model._default_manager.bulk_create(model() for _ in range(sites.ROWS))
        order = model._default_manager.first()
        order.lines.bulk_create(
            order.lines.model(order=order) for _ in range(sites.LINES)
        )
        keys[name] = order.pk
    lists = {
        name: f"/{site}/benchmarks/{model._meta.model_name}/"
        for name, (site, model) in sides.items()
    }
    forms = {name: f"{url}{keys[name]}/change/" for name, url in lists.items()}
    return {
        f"a form with {sites.LINES} rows inline": forms,
        f"a list of {sites.ROWS} editable rows": lists,
    }


def signed_in() -> Client:
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return client


def getting(client: Client, url: str) -> Callable[[], Any]:
    def way() -> Any:
        response = client.get(url)
        if response.status_code != 200:
            raise RuntimeError(f"{url}: {response.status_code}")
        return response

    return way


def opening(client: Client, url: str) -> Callable[[], harness.Way]:
    """Return a function that opens a page, and returns what sends it with a change."""
    names = (f"Ada {number}" for number in count())

    def open_page() -> harness.Way:
        sent = fields_of(getting(client, url)())
        owner = next(name for name in sent if name.endswith("owner"))
        sent[owner] = next(names)

        def send() -> None:
            response = client.post(url, sent)
            if response.status_code != 302:
                raise RuntimeError(f"{url}: {response.status_code}")

        return send

    return open_page


def fields_of(page: Any) -> dict[str, Any]:
    """Return what a browser would send if nothing was changed."""
    context = page.context_data
    forms: list[Any] = []
    if "adminform" in context:
        forms += [context["adminform"].form]
        sets = [inline.formset for inline in context["inline_admin_formsets"]]
    else:
        sets = [context["cl"].formset]
    for formset in sets:
        forms += [formset.management_form, *formset.forms]
    values = {
        bound.html_name: bound.value()
        for form in forms
        for bound in form
        if bound.value() not in (None, False)
    }
    return {"_save": "1"} | values


def queries(ways: harness.Ways) -> list[str]:
    """Return a note of how many statements each way sends."""
    counts = []
    for name, way in ways.items():
        with CaptureQueriesContext(connection) as captured:
            way()
        counts.append(f"{name} {len(captured)}")
    return [f"Statements: {', '.join(counts)}."]


if __name__ == "__main__":
    harness.main("admin", tables, rounds=20, also=SETTINGS)
