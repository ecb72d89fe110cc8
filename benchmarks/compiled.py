"""What does a locked ``save()`` cost where the statement has to be compiled?"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Model, Value

from benchmarks import harness
from benchmarks.save import new_names, saving


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models

    yield harness.cpu(
        plan,
        "a value is an expression",
        {
            "Django, no lock": saving_expression(models.Unlocked),
            "optilock": saving_expression(models.Locked),
        },
    )
    yield harness.cpu(
        plan,
        "another _do_update() in the chain",
        {
            "Django, no lock": saving(models.Unlocked),
            "optilock": saving(models.LockedBehindAnother),
        },
    )


def saving_expression(model: type[Model]) -> harness.Way:
    instance = model._default_manager.create()
    instance.refresh_from_db()
    names = new_names()

    def way() -> None:
        instance.owner = Value(next(names))
        instance.save()

    return way


if __name__ == "__main__":
    harness.main("save(), compiled", tables, rounds=60)
