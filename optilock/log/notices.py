"""Whom to tell that something of theirs was overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import models, router

from optilock.forms import tokens
from optilock.log.models import Notice
from optilock.log.recording import trim

__all__ = ["leave", "take"]


def leave(
    row: models.Model,
    names: Iterable[str],
    *,
    user: AbstractBaseUser,
    by: AbstractBaseUser,
) -> None:
    """Leave a notice for a user whose values of a row somebody has overwritten.

    Args:
        row: the row.
        names: of its fields.
        user: who is to be told.
        by: who has overwritten them.
    """
    notice = Notice(
        model=row._meta.label_lower,
        object_id=tokens.key(row.pk)[:255],
        fields=list(names),
        user_id=user.pk,
        by_id=by.pk,
    )
    notice.save(using=router.db_for_write(Notice))
    trim(Notice, latest=notice.pk)


def take(user: AbstractBaseUser | AnonymousUser) -> Iterator[Notice]:
    """Yield what a user is to be told, once."""
    using = router.db_for_write(Notice)  # a replica may not know yet that it was told
    notices = Notice.objects.using(using).filter(user=user.pk, by__isnull=False)
    for notice in notices.select_related("by").order_by("pk"):
        told, _ = Notice.objects.using(using).filter(pk=notice.pk).delete()
        if told:
            yield notice
