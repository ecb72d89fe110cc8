"""What does ``retry_on_conflict`` cost the client?

A function that does nothing, and then one that adds 1 to a row that was lost a moment
ago: it is locked in being read, as by ``select_for_update()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from django.db import connection, transaction

from benchmarks import harness
from benchmarks.hot_row import ways as ways_to_add
from optilock import retry_on_conflict
from optilock.retry.hot_rows import HotRows
from optilock.testing import provoke_conflicts


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models

    keys = [models.Locked.objects.create().pk for _ in range(10)]
    instances = list(models.Locked.objects.filter(pk__in=keys))

    @retry_on_conflict
    def retried(*arguments: object) -> None:
        pass

    ways: harness.Ways = {
        "atomic()": in_transaction,
        "optilock": partial(retried, 1),
        "optilock, one instance among the arguments": partial(retried, instances[0]),
        "optilock, a list of ten": partial(retried, instances),
    }
    yield harness.cpu(plan, "a function that does nothing", ways)
    if connection.features.has_select_for_update:
        yield harness.cpu(plan, "a hot row", hot(keys[0]))


def in_transaction() -> None:
    with transaction.atomic():
        pass


def hot(key: int) -> harness.Ways:
    """Return ways to add 1 to a row; it is remembered as hot while this is measured."""
    from benchmarks import models

    models.Unlocked(pk=key, balance=0).save(force_insert=True)
    HotRows.seconds = 3600
    by_hand, retried, *_ = ways_to_add([]).items()
    with provoke_conflicts(models.Locked):
        retried[1](key)
    return {name: partial(add, key) for name, add in (by_hand, retried)}


if __name__ == "__main__":
    harness.main("retry_on_conflict", tables, rounds=100)
