"""What forms find out before anything is written, told once the request is done.

A request that loses is run once more, and meets the same conflict again. What it has
found in the end is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import models, router

from optilock import signals

if TYPE_CHECKING:
    from django.http import HttpRequest

    from optilock.forms.conflict import FormConflict
    from optilock.panel.authors import Author

__all__ = ["EditConflict", "note", "told_after"]


@dataclass(frozen=True)
class EditConflict:
    """What is told to receivers: the arguments of ``edit_conflict_found``."""

    instance: models.Model
    found_in: str
    colliding: Sequence[str] = ()
    merged: Sequence[str] = ()
    conflict: FormConflict | None = None
    author: Author | None = None

    def tell(self, request: HttpRequest | None) -> None:
        """Tell it to receivers."""
        author = self.conflict.author if self.conflict else self.author
        signals.edit_conflict_found.send_robust(
            type(self.instance),
            instance=self.instance,
            found_in=self.found_in,
            colliding=list(self.colliding),
            merged=list(self.merged),
            conflict=self.conflict,
            author=author,
            request=request,
            using=router.db_for_write(type(self.instance), instance=self.instance),
        )


#: What the request that is running has found so far.
_found: ContextVar[list[EditConflict] | None] = ContextVar("_found", default=None)


def note(conflict: EditConflict) -> None:
    """Tell it when the request is done; now, if nobody runs one."""
    found = _found.get()
    if found is None:
        conflict.tell(None)
    else:
        found.append(conflict)


@contextmanager
def told_after(request: HttpRequest) -> Iterator[list[EditConflict]]:
    """Collect what is found, to be emptied by each run; tell it unless that fails."""
    found: list[EditConflict] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)
    for one in found:
        one.tell(request)
