"""Writing the log, and keeping it short."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.db import models, router, transaction
from django.http import HttpRequest
from django.utils import timezone

from optilock.forms import tokens
from optilock.loaded import UNKNOWN
from optilock.log.models import EditConflict

if TYPE_CHECKING:
    from optilock.forms import FormConflict
    from optilock.log.apps import LogConfig
    from optilock.panel import Author

__all__ = ["record", "trim"]


def record(
    sender: type[models.Model],
    *,
    instance: models.Model,
    found_in: str,
    colliding: Sequence[str],
    merged: Sequence[str],
    conflict: FormConflict | None,
    author: Author | None,
    request: HttpRequest | None,
    using: str,
    **kwargs: object,
) -> None:
    """Write an edit conflict down, once what it was found in is committed."""
    user = getattr(request, "user", None)
    entry = EditConflict(
        model=sender._meta.label_lower,
        object_id=tokens.key(instance.pk)[:255],
        found_in=found_in,
        colliding=colliding,
        merged=merged,
        values=_values(conflict) if conflict and _config().keep_values else None,
        user_id=getattr(user, "pk", None),
        author_id=getattr(author and author.user, "pk", None),
    )
    transaction.on_commit(partial(_write, entry), using=using, robust=True)


def _config() -> LogConfig:
    return cast("LogConfig", apps.get_app_config("optilock_log"))


def _write(entry: EditConflict) -> None:
    using = router.db_for_write(EditConflict)
    with transaction.atomic(using=using):
        entry.save(using=using)
        trim(EditConflict, latest=entry.pk)


def trim(model: type[models.Model], *, latest: int) -> None:
    """Delete the entries that are older, or more, than are to be kept.

    Args:
        model: of the entries.
        latest: the primary key of the latest entry.
    """
    config = _config()
    oldest = timezone.now() - datetime.timedelta(days=config.days)
    too_old = models.Q(when__lt=oldest)
    too_many = models.Q(pk__lte=latest - config.most)
    rows = model._default_manager.using(router.db_for_write(model))
    rows.filter(too_old | too_many).delete()


def _values(conflict: FormConflict) -> dict[str, dict[str, object]]:
    """Return base, mine and theirs of what collides or was merged."""
    is_secret = conflict.form._optilock.comparison.is_secret
    return {
        name: {
            side: _plain(getattr(conflict[name], side))
            for side in ("base", "mine", "theirs")
        }
        for name in (*conflict.collisions, *conflict.merged)
        if not is_secret(name)
    }


def _plain(value: object) -> object:
    """Return a value that JSON can hold; ``None`` for one that isn't known."""
    if value is None or value is UNKNOWN:
        return None
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | dict) else str(value)
