"""For the tests of projects that use ``retry_on_conflict()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import models
from django.db.models import F
from django.db.models.signals import pre_save

from optilock.fields import version_field
from optilock.retry import skipped_waits

_provoking: ContextVar[frozenset[object]] = ContextVar(
    "optilock_provoking", default=frozenset()
)


@contextmanager
def no_waiting() -> Iterator[list[float]]:
    """Let retries follow at once, in this thread or task.

    Deadlines come as if the waits had been waited.

    Returns:
        A list that grows by each wait left out, in seconds.
    """
    waits: list[float] = []
    token = skipped_waits.set(waits)
    try:
        yield waits
    finally:
        skipped_waits.reset(token)


@contextmanager
def provoke_conflicts(
    model: type[models.Model], *, times: int = 1
) -> Iterator[list[models.Model]]:
    """Let the next saves of a model's objects lose against somebody faster.

    The conflict is real: just before the save, in the same transaction, the
    row's version is raised. Needs no second connection, so it works in a
    ``TestCase``. Saves in other threads or tasks, inserts and deletions are
    left alone.

    Args:
        model: a model with a version field.
        times: how many saves lose. A call that is retried wins when they are
            used up, so ``times`` must reach its ``attempts`` for it to give up.

    Returns:
        A list that grows by each instance that was made stale.

    Raises:
        AssertionError: nothing was saved that could have lost.
    """
    me = object()
    lost: list[models.Model] = []

    def raise_version(
        instance: models.Model, using: str, raw: bool, **kwargs: Any
    ) -> None:
        field = version_field(type(instance))
        if (
            not isinstance(instance, model)
            or field is None
            or me not in _provoking.get()
            or instance._state.adding
            or raw
            or len(lost) == times
        ):
            return
        row = field.rows(using, instance._get_pk_val(field.model._meta))
        row.update(**{field.attname: F(field.attname) + 1})
        lost.append(instance)

    token = _provoking.set(_provoking.get() | {me})
    pre_save.connect(raise_version, weak=False, dispatch_uid=me)
    try:
        yield lost
    finally:
        pre_save.disconnect(raise_version, dispatch_uid=me)
        _provoking.reset(token)
    if not lost:
        raise AssertionError(
            f"No conflict was provoked: no existing {model._meta.label} was saved. "
            f"Save one inside the with block, in the same thread."
        )
