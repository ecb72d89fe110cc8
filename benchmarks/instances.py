"""What do loading and holding instances cost that have a version?"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from django.db import models

from benchmarks import harness

ROWS = 1000


def ways() -> dict[str, harness.Ways]:
    from benchmarks import models as our

    # With a plain integer in place of the version, so that what is compared is the
    # lock and not the seventh column.
    contenders = {
        "Django, a plain integer": our.HandWritten,
        "optilock, the field": our.LockedByField,
        "optilock, VersionedModel": our.Locked,
        "Django, without the column": our.Unlocked,
    }
    for model in contenders.values():
        model._default_manager.bulk_create(model() for _ in range(ROWS))
    for name, model in contenders.items():
        print(f"{name}: {bytes_each(model):.0f} bytes for each of {ROWS} instances")
    return {
        f"{ROWS} rows": {name: loading(model) for name, model in contenders.items()},
        "one row": {name: getting(model) for name, model in contenders.items()},
        "instantiated": dict(contenders),
    }


def loading(model: type[models.Model]) -> Callable[[], object]:
    return lambda: list(model._default_manager.all())


def getting(model: type[models.Model]) -> Callable[[], object]:
    pk = model._default_manager.values_list("pk", flat=True)[0]
    return lambda: model._default_manager.get(pk=pk)


def bytes_each(model: type[models.Model]) -> float:
    list(model._default_manager.all())
    tracemalloc.start()
    try:
        instances = list(model._default_manager.all())
        return tracemalloc.get_traced_memory()[0] / len(instances)
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    harness.run("instances", ways, calls=10)
