"""Who changed a row, as the admin's history knows it."""

from __future__ import annotations

import datetime
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest

from optilock.panel import Author


def find_entry(model: Any, pk: Any, since: int | None) -> LogEntry | None:
    """Return the last entry of a row's history that isn't older than a page.

    Args:
        model: the row's model.
        pk: its primary key.
        since: when the page was loaded, in milliseconds since the epoch.
    """
    if since is None:
        return None
    moment = datetime.datetime.fromtimestamp(since / 1000, tz=datetime.timezone.utc)
    return (
        LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(model),
            object_id=str(pk),
            action_time__gte=moment,
        )
        .select_related("user")
        .order_by("-action_time", "-pk")
        .first()
    )


def find_author(request: HttpRequest, model: Any, pk: Any, since: int | None) -> Author:
    """Return who changed or deleted a row since a page was loaded."""
    entry = find_entry(model, pk, since)
    if entry is None:
        return Author()
    return Author(
        name=str(entry.user.get_username()),
        when=entry.action_time,
        is_self=entry.user_id == request.user.pk and entry.action_flag != DELETION,
    )
