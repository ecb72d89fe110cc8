"""Comparing texts, with a bound on the work.

``difflib`` compares each word with all the places where the other text has it. In
a text that has few words, again and again, that takes minutes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

__all__ = ["MANY_COMPARISONS", "WORDS", "BoundedMatcher", "Budget", "unified"]

#: How many comparisons of two words (or lines) there is time for: about a second.
MANY_COMPARISONS = 10_000_000

#: Languages that are written without spaces are compared by the character.
#: To Python, the vowel signs and joiners inside an Arabic or Hindi word don't belong to
#: it, so here a word goes on with whatever isn't a space or punctuation.
WORDS = re.compile(
    r"[\u3040-\u9fff]"
    r"|[^\W\u3040-\u9fff]"
    r"(?:[^\W\u3040-\u9fff]"
    r"|[^\w\s\x00-\xbf،؛؟।॥\u2010-\u206f\u3000-\u9fff\uff00-\uff0f])*"
    r"|\s+|.",
    re.DOTALL,
)


class Budget:
    """How many comparisons may still be made.

    Attributes:
        left: the number; comparing lowers it.
    """

    def __init__(self, left: int = MANY_COMPARISONS) -> None:
        self.left = left


class BoundedMatcher(difflib.SequenceMatcher[str]):
    """A ``SequenceMatcher`` that finds no more than there is a budget for.

    What there is no time to compare counts as different.
    """

    a: Sequence[str]

    def __init__(
        self,
        isjunk: Callable[[str], bool] | None = None,
        a: Sequence[str] = "",
        b: Sequence[str] = "",
        *,
        autojunk: bool = True,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget or Budget()
        super().__init__(isjunk, a, b, autojunk)

    def set_seqs(self, a: Sequence[str], b: Sequence[str]) -> None:
        super().set_seqs(a, b)
        places: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]  # of CPython
        # How much there is to do before each element, so that any range is known.
        work = (1 + len(places.get(one, ())) for one in a)
        self._work = list(accumulate(work, initial=0))

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        end = len(self.a) if ahi is None else ahi
        work = self._work[end] - self._work[alo]
        if work > self.budget.left:
            return difflib.Match(alo, blo, 0)
        self.budget.left -= work
        return super().find_longest_match(alo, ahi, blo, bhi)


def unified(
    old: list[str], new: list[str], *names: str, budget: Budget
) -> Iterator[str]:
    """Yield what ``difflib.unified_diff()`` does, in bounded time.

    Args:
        old: the lines of one text, without their ends.
        new: those of the other.
        names: what the two texts are called.
        budget: what is left for all texts of the page.
    """
    matcher = BoundedMatcher(None, old, new, budget=budget)
    groups = list(matcher.get_grouped_opcodes())
    if groups:
        yield from (f"--- {names[0]}", f"+++ {names[1]}")
    for group in groups:
        (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
        yield f"@@ -{_lines(a, b)} +{_lines(c, d)} @@"
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[a:b])
            else:
                yield from (f"-{line}" for line in old[a:b])
                yield from (f"+{line}" for line in new[c:d])


def _lines(start: int, stop: int) -> str:
    count = stop - start
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"
