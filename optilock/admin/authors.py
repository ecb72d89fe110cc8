"""Who changed a row, as the project's histories know."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest

from optilock.panel import NOBODY, Author, moment

__all__ = ["find_author", "find_name", "find_what"]


@dataclass(frozen=True)
class _Entry:
    """What one history knows of the last change."""

    user: AbstractBaseUser | None
    when: datetime.datetime
    is_deletion: bool = False


def find_author(request: HttpRequest, obj: models.Model, since: int | None) -> Author:
    """Return who changed or deleted an object since a page was loaded.

    If there are several histories, the one with the latest entry knows it.

    Args:
        request: the request of the person who is to be told.
        obj: the object; if it is deleted, one with its primary key.
        since: when the page was loaded, in milliseconds since the epoch;
            ``None`` if that isn't known.
    """
    if since is None:
        return NOBODY
    entries = _entries(obj, moment(since))
    if obj._state.adding:  # it is deleted, but not by whoever changed it last
        entries = (entry for entry in entries if entry.is_deletion)
    entry = max(entries, key=lambda entry: entry.when, default=None)
    if entry is None:
        return NOBODY
    if entry.user is None:
        return Author(when=entry.when)
    return Author(
        name=str(entry.user.get_username()),
        when=entry.when,
        is_self=entry.user.pk == request.user.pk and not entry.is_deletion,
        user=entry.user,
    )


def find_name(obj: models.Model, since: int | None) -> str:
    """Return what the admin's history calls an object that may be deleted.

    Args:
        obj: as for ``find_author()``.
        since: as for ``find_author()``.
    """
    entry = None if since is None else _last_in_log(obj, moment(since))
    return str(entry.object_repr) if entry else ""


def find_what(obj: models.Model, since: int | None) -> str:
    """Return what the admin's history says of the last change of an object.

    Args:
        obj: as for ``find_author()``.
        since: as for ``find_author()``.
    """
    entry = None if since is None else _last_in_log(obj, moment(since))
    return str(entry.get_change_message()) if entry else ""


def _entries(obj: models.Model, after: datetime.datetime) -> Iterator[_Entry]:
    for history in (_admin_log, _simple_history, _revisions):
        if entry := history(obj, after):
            yield entry


def _last_in_log(obj: models.Model, after: datetime.datetime) -> LogEntry | None:
    return (
        LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(type(obj)),
            object_id=str(obj.pk),
            action_time__gte=after,
        )
        # Whoever has saved nothing has changed nothing.
        .exclude(action_flag=CHANGE, change_message="[]")
        .select_related("user")
        .order_by("-action_time", "-pk")
        .first()
    )


def _admin_log(obj: models.Model, after: datetime.datetime) -> _Entry | None:
    entry = _last_in_log(obj, after)
    if entry is None:
        return None
    return _Entry(entry.user, entry.action_time, entry.action_flag == DELETION)


def _simple_history(obj: models.Model, after: datetime.datetime) -> _Entry | None:
    """Ask django-simple-history, if it records the object's model."""
    name = getattr(obj._meta, "simple_history_manager_attribute", None)
    if name is None:
        return None
    records = getattr(obj, name).filter(history_date__gte=after)
    record = records.order_by("-history_date", "-history_id").first()
    if record is None:
        return None
    return _Entry(record.history_user, record.history_date, record.history_type == "-")


def _revisions(obj: models.Model, after: datetime.datetime) -> _Entry | None:
    """Ask django-reversion, if the object's model is registered with it."""
    if not apps.is_installed("reversion"):
        return None
    from reversion import is_registered
    from reversion.models import Version

    if not is_registered(type(obj)):
        return None
    versions = Version.objects.get_for_object(obj).filter(
        revision__date_created__gte=after
    )
    version = (
        versions.select_related("revision__user")
        .order_by("-revision__date_created", "-pk")
        .first()
    )
    if version is None:
        return None
    return _Entry(version.revision.user, version.revision.date_created)
