"""What does ``retry_on_conflict`` cost a function that meets no conflict?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from django.db import transaction

from benchmarks import harness
from optilock import retry_on_conflict


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


def in_transaction() -> None:
    with transaction.atomic():
        pass


if __name__ == "__main__":
    harness.main("retry_on_conflict", tables, rounds=100)
