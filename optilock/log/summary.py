"""Which models, fields and people are in each other's way most."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import models
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from optilock.log.models import EditConflict
from optilock.panel import isolate, listed

__all__ = ["Bar", "Chart", "summarize"]

#: How many rows a chart has.
_ROWS = 10
#: How many of the latest entries are counted.
_ENTRIES = 10_000


@dataclass(frozen=True)
class Bar:
    """A row of a chart: what it is about, how many, and how long the bar is."""

    label: str
    count: int
    percent: int


@dataclass(frozen=True)
class Chart:
    """A table whose numbers are drawn beside it."""

    title: Promise
    bars: list[Bar]


def summarize(entries: models.QuerySet[EditConflict]) -> list[Chart]:
    """Return the charts of these entries, the latest of them if there are many."""
    related = entries.select_related("user", "author")
    latest = list(related.order_by("-when")[:_ENTRIES])
    kinds = Counter(entry.model_name for entry in latest)
    fields = Counter(
        f"{isolate(entry.model_name)}: {isolate(entry.field_label(name))}"
        for entry in latest
        for name in entry.colliding
    )
    people = Counter(pair for entry in latest if (pair := _pair(entry)))
    weeks = Counter(map(_monday, latest))
    recent = [
        (date_format(monday, "SHORT_DATE_FORMAT"), count)
        for monday, count in sorted(weeks.items(), reverse=True)[:_ROWS]
    ]
    return [
        Chart(_("Models"), _bars(kinds.most_common(_ROWS))),
        Chart(_("Fields that both have changed"), _bars(fields.most_common(_ROWS))),
        Chart(_("People"), _bars(people.most_common(_ROWS))),
        Chart(_("Weeks, by their first day"), _bars(recent)),
    ]


def _pair(entry: EditConflict) -> str:
    """Return the names of the two, empty if one isn't known."""
    if entry.user is None or entry.author is None:
        return ""
    names = sorted({isolate(who.get_username()) for who in (entry.user, entry.author)})
    if len(names) == 1:
        return gettext("%(user)s, in two windows") % {"user": names[0]}
    return listed(names)


def _monday(entry: EditConflict) -> datetime.date:
    day = timezone.localdate(entry.when)
    return day - datetime.timedelta(days=day.weekday())


def _bars(counted: Iterable[tuple[str, int]]) -> list[Bar]:
    counted = list(counted)
    longest = max((count for _, count in counted), default=1)
    return [Bar(label, n, max(1, 100 * n // longest)) for label, n in counted]
