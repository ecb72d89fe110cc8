"""What does a locked ``save(update_fields=…)`` of one field cost?"""

from __future__ import annotations

from benchmarks import harness
from benchmarks.save import hand_written, in_atomic, saving


def ways() -> dict[str, harness.Ways]:
    from benchmarks import models

    contenders: harness.Ways = {
        "Django, no lock": saving(models.Unlocked, update_fields=["owner"]),
        "optilock": saving(models.Locked, update_fields=["owner"]),
        "filter().update(F() + 1)": hand_written(["owner"]),
    }
    # The others check nothing if their field isn't named, so it is.
    named = ["owner", "version"]
    if hasattr(models, "DjangoConcurrency"):
        contenders["django-concurrency"] = saving(
            models.DjangoConcurrency, update_fields=named
        )
    if hasattr(models, "DjangoOptimisticLock"):
        contenders["django-optimistic-lock"] = saving(
            models.DjangoOptimisticLock, update_fields=named
        )
    return {
        "one of six fields": harness.working(contenders),
        "one of forty fields": {
            "Django, no lock": saving(
                models.UnlockedWide, "text0", update_fields=["text0"]
            ),
            "optilock": saving(models.LockedWide, "text0", update_fields=["text0"]),
        },
        "one of six fields in atomic()": {
            "Django, no lock": in_atomic(
                saving(models.Unlocked, update_fields=["owner"])
            ),
            "optilock": in_atomic(saving(models.Locked, update_fields=["owner"])),
        },
    }


if __name__ == "__main__":
    harness.run("save(update_fields=…)", ways)
