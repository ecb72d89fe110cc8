"""What does it cost to load and to make instances that have a version?"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Model

from benchmarks import harness


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    rows = 10 if plan.quick else 1000
    models = contenders(rows)
    yield harness.cpu(
        plan,
        f"{rows:,} rows",
        {name: loading(model) for name, model in models.items()},
        calls=10,
    )
    yield harness.cpu(
        plan, "one row", {name: getting(model) for name, model in models.items()}
    )
    yield harness.cpu(plan, "instantiated", dict(models))


def contenders(rows: int) -> dict[str, type[Model]]:
    """Return the models to compare, with so many rows each and no others."""
    from benchmarks import models

    found: dict[str, type[Model]] = {
        # The yardstick has a plain integer in place of the version, so that what is
        # compared is the lock and not the seventh column.
        "Django, a plain integer": models.HandWritten,
        "optilock, the field alone": models.LockedByField,
        "optilock": models.Locked,
        "Django, without the column": models.Unlocked,
    }
    for model in found.values():
        model._default_manager.all().delete()
        model._default_manager.bulk_create(
            model(owner=f"Ada {row}", email=f"ada{row}@example.com")
            for row in range(rows)
        )
    return found


def loading(model: type[Model]) -> harness.Way:
    return lambda: list(model._default_manager.all())


def getting(model: type[Model]) -> harness.Way:
    pk = model._default_manager.values_list("pk", flat=True)[0]
    return lambda: model._default_manager.get(pk=pk)


if __name__ == "__main__":
    harness.main("loading", tables, rounds=60)
