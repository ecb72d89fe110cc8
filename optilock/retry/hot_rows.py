"""Rows that calls of a function lost a moment ago."""

from __future__ import annotations

import time
from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db import models

from optilock.retry.locking import LostRow

__all__ = ["Args", "Fingerprints", "HotRows", "Kwargs"]

Args = tuple[object, ...]
Kwargs = Mapping[str, object]

#: Each parameter's position or name, and a hash of its value if that is plain.
Fingerprints = tuple[tuple[int | str, int | None], ...]


class _Expiry(NamedTuple):
    """When a row isn't taken to be hot any more, and whether that is doubted then."""

    time: float
    is_last: bool


_NONE: dict[LostRow, _Expiry] = {}


class HotRows:
    """Rows that calls of a function lost a moment ago.

    A row that was lost is usually wanted by others, too, so the next call that
    is going to write it had better lock it at once. What a call will write isn't
    known, but can be guessed from its arguments: one of them was the row's primary
    key when the row was lost, or the object itself. If none was, and calls with
    the very same arguments lose the same row twice in a row, it is taken to be
    theirs.

    A needless lock costs no more than a little waiting. An entry lasts for
    ``seconds``, and there are ``size`` at most, with no argument's value in them.
    The first call after that does without the lock, and so finds out whether the row
    is still hot; the others lock it for as long as they are in ``doubt``.
    A call that loses more than ``most`` rows at once isn't after one that is hot.
    """

    seconds = 10.0
    doubt = 2.0
    size = 1000
    most = 10

    def __init__(self) -> None:
        self._rows: dict[Hashable, dict[LostRow, _Expiry]] = {}
        #: Whether the function reads by its key what it writes; None: not known yet.
        self.reads_by_key: bool | None = None

    def add(self, rows: Collection[LostRow], args: Args, kwargs: Kwargs) -> None:
        """Remember that a call with these arguments lost the rows."""
        if len(rows) > self.most:
            return
        fingerprints = _fingerprints(args, kwargs)
        others = set()
        for row in rows:
            pk = _fingerprint(row.pk)
            named = [item for item in fingerprints if pk is not None and item[1] == pk]
            for key in named:
                before = [*self._rows.get(key, ())][-self.most + 1 :]
                self._put(key, [*before, row])
            if not named:
                others.add(row)
        for whole in _whole(fingerprints) if others else ():
            once = ("once", whole)
            self._put(whole, others.intersection(self._rows.get(once, ())))
            self._put(once, others)

    def _put(self, key: Hashable, rows: Collection[LostRow]) -> None:
        # Taken out and put in at the end: the oldest come first. There is no lock,
        # as each step is atomic, and what two threads lose here is a hint.
        self._rows.pop(key, None)
        now = time.monotonic()
        if rows:
            expiry = _Expiry(now + self.seconds, is_last=False)
            self._rows[key] = dict.fromkeys(rows, expiry)
        for oldest, found in list(self._rows.items()):
            last = max(found.values()).time
            if len(self._rows) <= self.size and last + self.seconds > now:
                break
            self._rows.pop(oldest, None)

    def expected(self, args: Args, kwargs: Kwargs) -> set[LostRow]:
        """Return the rows that a call with these arguments is likely to lose."""
        if not self._rows:
            return set()
        now = time.monotonic()
        fingerprints = _fingerprints(args, kwargs)
        expected = set()
        for key in (*fingerprints, *_whole(fingerprints)):
            found = self._rows.get(key, _NONE)
            for row, (time_, is_last) in found.items():
                if time_ > now:
                    expected.add(row)
                elif not is_last and time_ + self.seconds > now:
                    found[row] = _Expiry(now + self.doubt, is_last=True)
        return expected


def _fingerprints(args: Args, kwargs: Kwargs) -> Fingerprints:
    """Return each parameter's position or name, with a fingerprint for its value."""
    named: tuple[tuple[int | str, object], ...] = (
        *enumerate(args),
        *sorted(kwargs.items()),
    )
    return tuple((name, _fingerprint(value)) for name, value in named)


def _fingerprint(value: object) -> int | None:
    # The type is asked, not isinstance(): that would load request.user.
    if issubclass(type(value), models.Model):
        value = value.pk  # type: ignore[attr-defined]
    if issubclass(type(value), int | str | UUID):
        return hash(str(value))  # a URL's "7" is the key 7, and True isn't 1
    return None


def _whole(fingerprints: Fingerprints) -> list[Hashable]:
    # Only if all arguments are plain values do they tell one call from another.
    is_plain = all(fingerprint is not None for _, fingerprint in fingerprints)
    return [fingerprints] if is_plain else []
