"""What a story consists of: ways to do one thing, and rounds to try them in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """One way to write the same thing; wrong ones lose updates."""

    title: str
    function: Callable[..., Any]
    right: bool = True

    @property
    def slug(self) -> str:
        return self.function.__name__

    @property
    def source(self) -> str:
        return inspect.getsource(self.function)


@dataclass(frozen=True)
class Round:
    """New rows, the requests that will race for them, and how to count.

    Attributes:
        run: what the workers call.
        requests: for each worker, the arguments of that call.
        asked: how much the requests ask for, all together.
        possible: how much of it there is to be had.
        stored: reads from the database how much of it was stored.
        confirmed: how much was confirmed, given the requests' answers.
    """

    run: Callable[..., int]
    requests: Sequence[tuple[Any, ...]]
    asked: int
    possible: int
    stored: Callable[[], int]
    confirmed: Callable[[Sequence[int]], int] = sum


@dataclass(frozen=True)
class Story:
    title: str
    ways: Sequence[Way]
    new_round: Callable[[Way, int], Round]

    @property
    def slug(self) -> str:
        return self.new_round.__module__.rpartition(".")[2]

    @property
    def lead(self) -> str:
        """What it is about: the first line of its module."""
        return (inspect.getdoc(inspect.getmodule(self.new_round)) or "").split("\n")[0]


@dataclass
class Result:
    """What came out of all rounds of one way.

    Attributes:
        retries: how many attempts of ``retry_on_conflict`` lost.
        seconds: how long the rounds took, in all.
        asked, possible, confirmed, stored: as in a ``Round``, added up.
    """

    story: Story
    way: Way
    asked: int = 0
    possible: int = 0
    confirmed: int = 0
    stored: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """What was confirmed and isn't stored; negative if too much is stored."""
        return self.confirmed - self.stored

    @property
    def has_failed(self) -> bool:
        """Whether a way that should be right isn't."""
        return self.way.right and bool(self.lost or self.confirmed > self.possible)
