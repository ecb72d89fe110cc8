"""Where do the instructions of a save go?

Counted as by ``benchmarks.instructions``, to some 5 thousand, inside one function at a
time, with all that it calls. Django's compilers and fields' methods can't be counted
so: the lock would notice that somebody has replaced them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import harness
from benchmarks.instructions import UNIT, begin, control, dumped, instructions, main
from benchmarks.save import saving

#: A function by the names it has: of its module, or of its class.
Part = tuple[Any, str]


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from django.db.backends.utils import CursorWrapper

    from benchmarks import models
    from optilock import fast_update, loaded
    from optilock.plain_fields import PlainFields
    from optilock.save_state import SaveState

    begin()
    save = saving(models.Locked)
    for _ in range(20):
        save()
    parts: dict[str, Part] = {
        "update_row(), with the four that follow": (fast_update, "update_row"),
        "CursorWrapper.execute(): Django's cursor, and SQLite": (
            CursorWrapper,
            "execute",
        ),
        "_way(): has anybody patched what isn't called?": (fast_update, "_way"),
        "statement_of(): the SQL and the parameters": (fast_update, "statement_of"),
        "PlainFields.values(): what pre_save() makes": (PlainFields, "values"),
        "note_row(): what was written is remembered": (loaded, "note_row"),
        "SaveState(): what was there before": (SaveState, "__init__"),
    }
    yield shares(plan, "save()", save, parts)


def shares(
    plan: harness.Plan, name: str, way: harness.Way, parts: dict[str, Part]
) -> harness.Table:
    """Compare the instructions inside some functions with those of the whole."""
    empty = min(inside(_Nothing, "part", _Nothing.part_of) for _ in range(3))

    def sample(part: Part | None) -> float:
        if part is None:
            return (instructions(way, 1) - instructions(lambda: None, 1)) / 1000
        return (inside(*part, way) - empty) / 1000

    samples = harness.interleave(
        {"optilock, all of it": None, **parts}, plan.rounds, sample
    )
    return harness.Table(f"{name}, and its parts", UNIT, samples)


class _Nothing:
    @staticmethod
    def part() -> None:
        pass

    @classmethod
    def part_of(cls) -> None:
        cls.part()


def inside(owner: Any, name: str, way: harness.Way) -> int:
    """Return the instructions inside a function, and of what counts them.

    Args:
        owner: the module or class that has the function.
        name: the function's.
        way: what calls it, once.
    """
    own, calls = getattr(owner, name), 0

    def function(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        control("--zero")
        try:
            return own(*args, **kwargs)
        finally:
            control("--dump")

    setattr(owner, name, function)
    try:
        way()
    finally:
        setattr(owner, name, own)
    if calls != 1:
        raise RuntimeError(f"{name}() was called {calls} times, not once.")
    return dumped()


if __name__ == "__main__":
    main("parts", tables)
