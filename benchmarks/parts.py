"""Where do the instructions of a save, and of a row on a page that is sent, go?

Counted as by ``benchmarks.instructions``, inside one function at a time, with all that
it calls. Django's compilers and the fields' methods can't be counted so: the lock would
notice that somebody has replaced them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import harness, pages
from benchmarks.instructions import UNIT, begin, control, dumped, instructions, main
from benchmarks.save import saving

#: A function by the names it has: of its module, or of its class.
Part = tuple[Any, str]


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from django.db.backends.utils import CursorWrapper

    from benchmarks import models
    from optilock import attempts, fast_update, loaded
    from optilock.forms import VersionedModelForm, form, formset
    from optilock.forms.state import FormState
    from optilock.lock import Lock
    from optilock.plain_sql import PlainFields
    from optilock.save_state import SaveState

    begin()
    save = saving(models.Locked)
    for _ in range(20):
        save()
    parts: dict[str, Part] = {
        "Lock.save_table(), with the five that follow": (Lock, "save_table"),
        "CursorWrapper.execute(): Django's cursor, and SQLite": (
            CursorWrapper,
            "execute",
        ),
        "_way(): has anybody patched what isn't called?": (fast_update, "_way"),
        "statement_of(): the SQL and the parameters": (fast_update, "statement_of"),
        "PlainFields.values(): what pre_save() makes": (PlainFields, "values"),
        "note_row(): what was written is remembered": (loaded, "note_row"),
        "SaveState(): what was there before": (SaveState, "__init__"),
        "SaveState.end()": (SaveState, "end"),
    }
    yield shares(plan, "save()", lambda: save, parts)
    if plan.quick:
        return
    urls = pages.pages()["a list of 100 editable rows"]
    open_page = pages.opening(pages.signed_in(), urls["optilock"])
    for _ in range(2):
        open_page()()
    rows: dict[str, Part] = {
        "lock_rows(): all rows as they are now": (formset, "lock_rows"),
        "FormState.is_as_opened()": (FormState, "is_as_opened"),
        "refresh(): is it the form's instance?": (form, "refresh"),
        "what is going to be saved": (VersionedModelForm, "_optilock_changed"),
        "row_of(): what get() has read is noted": (attempts, "row_of"),
        "FormState()": (FormState, "__init__"),
    }
    yield shares(plan, "POST of a list of 100 editable rows", open_page, rows)


def shares(
    plan: harness.Plan,
    name: str,
    ready: Callable[[], harness.Way],
    parts: dict[str, Part],
) -> harness.Table:
    """Compare the instructions inside some functions with those of the whole.

    Args:
        ready: returns what is to be counted, once.
    """
    empty = min(instructions(lambda: None, 1) for _ in range(2))

    def sample(part: Part | None) -> float:
        if part is None:
            return (instructions(ready(), 1) - empty) / 1000
        calls = Inside(*part).run(ready())
        inside = Inside(*part, number=(calls + 1) // 2)
        inside.run(ready())
        return calls * (dumped() - empty) / 1000

    samples = harness.interleave({"all of it": None, **parts}, plan.rounds, sample)
    return harness.Table(f"{name}, and its parts", UNIT, samples)


class Inside:
    """Counts one call of a function."""

    def __init__(self, owner: Any, name: str, *, number: int = 0) -> None:
        """Make it.

        Args:
            owner: the module or class that has the function.
            name: the function's.
            number: which of its calls, from 1 on.
        """
        self.owner, self.name, self.number = owner, name, number

    def run(self, way: harness.Way) -> int:
        """Run it once, and return how often the function was called."""
        own, calls = getattr(self.owner, self.name), 0

        def function(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls != self.number:
                return own(*args, **kwargs)
            control("--zero")
            try:
                return own(*args, **kwargs)
            finally:
                control("--dump")

        setattr(self.owner, self.name, function)
        try:
            way()
        finally:
            setattr(self.owner, self.name, own)
        return calls


if __name__ == "__main__":
    main("parts", tables)
