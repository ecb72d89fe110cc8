"""What does a locked ``save(update_fields=…)`` of one field cost?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import harness
from benchmarks.save import hand_written, in_atomic, saving


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models

    others: harness.Ways = {"filter().update(F() + 1)": hand_written(["owner"])}
    # The others check nothing if their field isn't named, so it is.
    named = ["owner", "version"]
    if hasattr(models, "DjangoConcurrency"):
        others["django-concurrency"] = saving(
            models.DjangoConcurrency, update_fields=named
        )
    if hasattr(models, "DjangoOptimisticLock"):
        others["django-optimistic-lock"] = saving(
            models.DjangoOptimisticLock, update_fields=named
        )
    others, notes = harness.working(others)
    ours: harness.Ways = {
        "Django, no lock": saving(models.Unlocked, update_fields=["owner"]),
        "optilock": saving(models.Locked, update_fields=["owner"]),
    }
    yield harness.cpu(plan, "one of six fields", ours | others, notes=notes)
    yield harness.cpu(
        plan,
        "one of six fields in atomic()",
        {name: in_atomic(way) for name, way in ours.items()},
    )
    yield harness.cpu(
        plan,
        "one of forty fields",
        {
            "Django, no lock": saving(
                models.UnlockedWide, "text0", update_fields=["text0"]
            ),
            "optilock": saving(models.LockedWide, "text0", update_fields=["text0"]),
        },
    )


if __name__ == "__main__":
    harness.main("save(update_fields=…)", tables, rounds=60)
