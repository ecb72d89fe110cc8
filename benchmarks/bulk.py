"""How long does it take to write many rows, each with its own values?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any

from django.db import transaction
from django.db.models import Model

from benchmarks import harness

FIELDS = ["owner", "email", "balance", "opened", "active", "modified"]
# For Django's. From 10 to 500 it makes no difference; then a statement's time grows
# with the square of its rows.
BATCH_SIZE = 100

#: A model, and what writes a list of its instances.
Writing = tuple[type[Model], Callable[[Any], object]]

_changes = count()


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models

    ours: list[type[Model]] = [models.Unlocked, models.Locked]
    theirs = []
    if hasattr(models, "DjangoConcurrency"):
        theirs.append(models.DjangoConcurrency)
    sizes = (10,) if plan.quick else (10, 1000, 10_000)
    for model in ours + theirs:
        model._default_manager.bulk_create(model() for _ in range(max(sizes)))
    for rows in sizes:
        # What is over soon is done more often.
        times = 1 if plan.quick else max(1, 200 // rows)
        ways: dict[str, Writing] = {
            "Django bulk_update()": (models.Unlocked, bulk_update(BATCH_SIZE)),
            "optilock bulk_update()": (models.Locked, bulk_update()),
            "Django, a save() each": (models.Unlocked, save_each),
            "optilock, a save() each": (models.Locked, save_each),
        }
        for model in theirs:
            ways["django-concurrency, a save() each"] = (model, save_each)
        yield harness.Table(
            f"{rows:,} rows",
            "milliseconds",
            harness.interleave(ways, plan.rounds, writing(rows, times)),
            [f"Django's bulk_update() has batch_size={BATCH_SIZE}."],
        )


def bulk_update(batch_size: int | None = None) -> Callable[[Any], object]:
    def write(instances: Any) -> object:
        manager = type(instances[0])._default_manager
        return manager.bulk_update(instances, FIELDS, batch_size=batch_size)

    return write


def save_each(instances: Any) -> None:
    with transaction.atomic():
        for instance in instances:
            instance.save()


def writing(rows: int, times: int) -> Callable[[Writing], float]:
    """Return what measures writing so many rows so often, in milliseconds."""

    def milliseconds(way: Writing) -> float:
        return statistics.fmean(once(*way) for _ in range(times))

    def once(model: type[Model], write: Callable[[Any], object]) -> float:
        instances = list(model._default_manager.order_by("pk")[:rows])
        change = next(_changes)
        for instance in instances:
            instance.owner = f"Ada {instance.pk + change}"
            instance.email = f"ada{instance.pk + change}@example.com"
            instance.balance = Decimal(instance.pk + change) / 4
            instance.active = not instance.active
        return 1000 * harness.seconds(lambda: write(instances), clock=time.perf_counter)

    return milliseconds


if __name__ == "__main__":
    harness.main("bulk_update()", tables, rounds=7)
