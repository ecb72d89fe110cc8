"""What does an instance weigh that has a version?"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

from django.db.models import Model

from benchmarks import harness
from benchmarks.load import contenders


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    rows = 10 if plan.quick else 1000
    samples = harness.interleave(contenders(rows), plan.rounds, bytes_each)
    yield harness.Table(f"{rows:,} instances", "bytes an instance", samples)


def bytes_each(model: type[Model]) -> float:
    """Return the bytes that one loaded instance holds, values included."""
    list(model._default_manager.all())  # what is cached on the way isn't the instance's
    gc.collect()
    tracemalloc.start()
    try:
        instances = list(model._default_manager.all())
        gc.collect()  # also empties the lists of tuples that Python keeps for reuse
        return tracemalloc.get_traced_memory()[0] / len(instances)
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    harness.main("memory", tables, rounds=5)
