"""Who has a row open.

A page says so when it is opened and now and then while it is, and says when it is
closed. One that can't say that any more counts as closed after a while.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from optilock.forms import tokens
from optilock.panel import Author, moment
from optilock.rows import version_field

if TYPE_CHECKING:
    from optilock.presence.models import OpenPage

__all__ = [
    "LABEL",
    "LIMIT",
    "announce",
    "is_installed",
    "missing",
    "others",
    "withdraw",
]

LABEL = "optilock_presence"

#: After how many seconds without a sign a page counts as closed, at the earliest.
LIMIT = 120

#: How many pages are looked at.
_MANY_PAGES = 50

#: How long a key may be to be kept as it is.
_LONG = 200


def is_installed() -> bool:
    """Return whether the project has the table."""
    return LABEL in apps.app_configs


def missing(cls: type) -> checks.Error:
    """Return what a system check says of a class that needs the table."""
    return checks.Error(
        f"{cls.__name__} says who else has a page open, which needs the table of "
        f"optilock.presence, which isn't installed.",
        hint='Add "optilock.presence" to INSTALLED_APPS, and run manage.py migrate.',
        obj=cls,
        id="optilock.E060",
    )


def announce(
    obj: models.Model, user: AbstractBaseUser, since: int, *, seconds: int
) -> None:
    """Note that somebody has a row open.

    Args:
        obj: the row.
        user: who it is.
        since: when the page was loaded, in milliseconds since the epoch.
        seconds: how often the page says so.
    """
    pages, now = _pages(), _now()
    page = {**_row(obj), "user_id": user.pk, "since": since}
    until = now + 1000 * max(LIMIT, 3 * seconds)
    if not pages.filter(**page).update(until=until):
        pages.bulk_create([pages.model(**page, until=until)], ignore_conflicts=True)
        pages.filter(until__lt=now).delete()  # of whichever rows


def withdraw(obj: models.Model, user: AbstractBaseUser, since: int) -> None:
    """Forget what ``announce()`` has noted."""
    _pages().filter(**_row(obj), user_id=user.pk, since=since).delete()


def others(
    obj: models.Model, user: AbstractBaseUser, name: Callable[[AbstractBaseUser], str]
) -> list[Author]:
    """Return who else has a row open, and since when, with one query.

    Args:
        obj: the row.
        user: who wants to know.
        name: returns what somebody is called, or an empty text for those who aren't
            to be named.
    """
    pages = _pages().filter(**_row(obj), until__gte=_now()).exclude(user_id=user.pk)
    first: dict[object, OpenPage] = {}
    for page in pages.select_related("user").order_by("since")[:_MANY_PAGES]:
        first.setdefault(page.user_id, page)
    found = [Author(name(p.user), moment(p.since)) for p in first.values()]
    return [author for author in found if author.name]


def _pages() -> models.QuerySet[OpenPage]:
    if not is_installed():
        raise ImproperlyConfigured(
            "Who else has a page open is kept in a table: add 'optilock.presence' to "
            "INSTALLED_APPS, and run manage.py migrate."
        )
    pages: models.QuerySet[OpenPage] = apps.get_model(LABEL, "OpenPage").objects.all()
    return pages


def _row(obj: models.Model) -> dict[str, str]:
    """Return how a row is found: a child is the row that has its version."""
    version = version_field(type(obj))
    model = type(obj) if version is None else version.model
    key = tokens.key(getattr(obj, model._meta.pk.attname, obj.pk))
    if len(key) > _LONG:
        key = hashlib.sha256(key.encode()).hexdigest()
    return {"model": model._meta.label_lower, "key": key}


def _now() -> int:
    return time.time_ns() // 10**6
