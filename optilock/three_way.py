"""What becomes of a value that both have changed.

A text is merged by lines, a set by its elements, an object of JSON by its keys. What
both have changed in the same place is nobody's to decide here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, TypeAlias

from optilock.changes import FieldChange
from optilock.differences import WORDS, BoundedMatcher, Budget
from optilock.loaded import UNKNOWN

__all__ = [
    "MANY_LETTERS",
    "MANY_LEVELS",
    "MANY_LINES",
    "Overlap",
    "TextMerge",
    "UndecidedError",
    "can_merge_texts",
    "merge_elements",
    "merge_keys",
    "merge_lines",
]

#: Beyond this many lines in the three texts, there is no time to compare them.
MANY_LINES = 150_000

#: Beyond this many letters in three passages, nobody's words are put together.
MANY_LETTERS = 20_000

#: So deep inside an object of JSON, there is no time to compare its keys.
MANY_LEVELS = 20

_Side: TypeAlias = Literal["base", "mine", "theirs", "both"]
_Kind: TypeAlias = Literal["unchanged", "same", "a", "b", "conflict"]


class UndecidedError(Exception):
    """Nobody said what to do with a collision."""


@dataclass(frozen=True)
class Overlap:
    """A passage of a text that both have changed, as lines without their ends."""

    base: Sequence[str]
    mine: Sequence[str]
    theirs: Sequence[str]

    def put_together(self, budget: Budget) -> Sequence[str]:
        """Return what both have written: in one, or one after the other."""
        texts = ["\n".join(lines) for lines in (self.base, self.mine, self.theirs)]
        letters = sum(map(len, texts))
        if letters > min(MANY_LETTERS, budget.left):
            return [*self.theirs, *self.mine]
        budget.left -= letters
        base, mine, theirs = map(WORDS.findall, texts)
        merged: list[str] = []
        for kind, words in _regions(base, mine, theirs, budget):
            if kind == "conflict" or not (self.mine and self.theirs):
                return [*self.theirs, *self.mine]
            merged += words[0]
        return "".join(merged).split("\n")


class TextMerge:
    """Three versions of a text, passage by passage.

    Args:
        base: the text that both started from.
        mine: what I have made of it.
        theirs: what they have made of it.
        budget: how much may be compared. What there is no time for overlaps.

    Attributes:
        overlaps: the passages that both have changed, differently.
        is_partial: whether there are passages that only one side has changed.

    Raises:
        ImportError: merge3 isn't installed.
    """

    def __init__(
        self, base: str, mine: str, theirs: str, budget: Budget | None = None
    ) -> None:
        self._passages: list[Sequence[str] | Overlap] = []
        self._their_lines: set[str] = set()
        self._budget = budget or Budget()
        self.is_partial = False
        b, m, t = (text.split("\n") for text in (base, mine, theirs))
        for kind, versions in _regions(b, m, t, self._budget):
            if kind == "conflict":
                self._passages.append(Overlap(*versions))
            else:
                self._passages.append(versions[0])
                self.is_partial = self.is_partial or kind in ("a", "b")
            if kind in ("b", "conflict"):
                self._their_lines.update(versions[-1])
        # An empty line between others says nothing.
        self._deleted_lines = {*b, *self._kept_against_them()} - {*t, ""}

    @property
    def overlaps(self) -> list[Overlap]:
        return [one for one in self._passages if isinstance(one, Overlap)]

    def _kept_against_them(self) -> Iterator[str]:
        """Yield what I have made of passages that they have deleted."""
        for one in self.overlaps:
            if not any(one.theirs):
                yield from one.mine

    def text(self, side: _Side) -> str:
        """Return the merged text, with this side's version of what overlaps."""
        if side == "both":
            return self._both
        lines: list[str] = []
        for one in self._passages:
            lines += getattr(one, side) if isinstance(one, Overlap) else one
        return "\n".join(lines)

    @cached_property
    def _both(self) -> str:
        lines: list[str] = []
        for one in self._passages:
            if isinstance(one, Overlap):
                lines += one.put_together(self._budget)
            else:
                lines += one
        return "\n".join(lines)

    def keeps_theirs(self, text: str) -> bool:
        """Return whether a text that somebody has edited has all that they did.

        What they have written has to be in it, and what they have deleted mustn't.
        """
        lines = {*text.split("\n")}
        has_all = self._their_lines <= lines or text == self.text("both")
        return has_all and lines.isdisjoint(self._deleted_lines)


def can_merge_texts() -> bool:
    """Return whether merge3 is installed."""
    try:
        import merge3  # noqa: F401
    except ImportError:
        return False
    return True


def _regions(
    base: Sequence[str], mine: Sequence[str], theirs: Sequence[str], budget: Budget
) -> Iterator[tuple[_Kind, tuple[Sequence[str], ...]]]:
    """Yield the regions of three texts, each with its kind.

    One that both have changed comes as base, mine and theirs; of others there is one.
    """
    try:
        from merge3 import Merge3
    except ImportError as error:
        raise ImportError(
            "Merging texts by lines needs merge3: pip install 'optilock[merge]'."
        ) from error
    if len(base) + len(mine) + len(theirs) > MANY_LINES:
        yield "conflict", (base, mine, theirs)
        return
    matcher = partial(BoundedMatcher, budget=budget)
    merge = Merge3(base, mine, theirs, sequence_matcher=matcher)  # type: ignore[arg-type]  # one of strings will do
    for kind, *versions in merge.merge_groups():
        yield kind, tuple(versions)


def merge_lines(change: FieldChange) -> str:
    """Merge two changed texts line by line."""
    base, mine, theirs = change.base, change.mine, change.theirs
    if not (
        isinstance(base, str) and isinstance(mine, str) and isinstance(theirs, str)
    ):
        raise UndecidedError
    merge = TextMerge(base, mine, theirs)
    if merge.overlaps:
        raise UndecidedError
    return merge.text("mine")


def merge_elements(change: FieldChange) -> list[object]:
    """Merge two changed sets: what was added is in it, what was removed isn't.

    Their order is kept; what I have added comes last.
    """
    sides = (change.base, change.mine, change.theirs)
    if not all(isinstance(one, list | tuple | set) for one in sides):
        raise UndecidedError
    try:
        base, mine, theirs = ({_element(one): one for one in side} for side in sides)
    except TypeError:  # of lists, for instance
        raise UndecidedError from None
    if any(
        len(side) > len(one)
        for side, one in zip(sides, (base, mine, theirs), strict=True)
    ):
        raise UndecidedError  # how often something is in it counts
    kept = [one for key, one in theirs.items() if key in mine or key not in base]
    known = base.keys() | theirs.keys()
    new = [one for key, one in mine.items() if key not in known]
    return [*kept, *new]


def _element(one: object) -> tuple[bool, object]:
    """Return what tells an element from all others: ``True`` and ``1`` aren't one."""
    return isinstance(one, bool), one


def merge_keys(change: FieldChange) -> dict[str, object]:
    """Merge two changed objects of JSON key by key, down to the innermost."""
    sides = (change.base, change.mine, change.theirs)
    if not all(isinstance(one, dict) for one in sides):
        raise UndecidedError
    return _merge_keys(*sides, levels=MANY_LEVELS)


def _merge_keys(
    base: dict[str, object],
    mine: dict[str, object],
    theirs: dict[str, object],
    *,
    levels: int,
) -> dict[str, object]:
    if not levels:
        raise UndecidedError
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        sides = (one.get(key, UNKNOWN) for one in (base, mine, theirs))
        value = _merge_value(*sides, levels=levels - 1)
        if value is not UNKNOWN:
            merged[key] = value
    return merged


def _merge_value(base: object, mine: object, theirs: object, *, levels: int) -> object:
    if _is_same(mine, theirs) or _is_same(mine, base):
        return theirs
    if _is_same(theirs, base):
        return mine
    if isinstance(mine, dict) and isinstance(theirs, dict):
        known = base if isinstance(base, dict) else {}
        return _merge_keys(known, mine, theirs, levels=levels)
    raise UndecidedError


def _is_same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON: ``True`` and ``1`` aren't."""
    if one is UNKNOWN or other is UNKNOWN:
        return one is other
    return json.dumps(one, sort_keys=True, default=repr) == json.dumps(
        other, sort_keys=True, default=repr
    )
