"""Who changed a field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as option
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from optilock import differences
from optilock.loaded import UNKNOWN
from optilock.rows import ModelField, own_field
from optilock.values import _is_computed, same

__all__ = [
    "Changes",
    "FieldChange",
    "FieldState",
    "as_groups",
    "compare",
    "describe",
    "state_of",
]


class FieldState(models.TextChoices):
    """Who changed a field, compared with the value both started from."""

    UNCHANGED = "unchanged", _("unchanged")
    MINE = "mine", _("changed by me only")
    THEIRS = "theirs", _("changed by them only")
    SAME = "same", _("changed by both to the same value")
    COLLIDING = "colliding", _("changed by both differently")
    MERGED = "merged", _("changed by both, and merged")


@dataclass(frozen=True)
class FieldChange:
    """One field of a conflict.

    ``base`` is ``UNKNOWN`` if the value both started from wasn't kept, and
    ``theirs`` is if the row was deleted.
    """

    field: ModelField
    state: FieldState
    base: Any = option(repr=False)
    mine: Any = option(repr=False)
    theirs: Any = option(repr=False)

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def label(self) -> str:
        return str(self.field.verbose_name)

    @property
    def collides(self) -> bool:
        return self.state is FieldState.COLLIDING

    @property
    def knows_base(self) -> bool:
        """Whether ``base`` is known: a function that can do without it asks this."""
        return self.base is not UNKNOWN


class Changes(Mapping[str, FieldChange]):
    """The fields of a row: a mapping of their names to ``FieldChange``, never false."""

    _changes: dict[str, FieldChange]

    def __getitem__(self, name: str) -> FieldChange:
        return self._changes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def __len__(self) -> int:
        return len(self._changes)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def names(self, *states: FieldState) -> list[str]:
        """Return the names of the fields in one of these states."""
        return [name for name, change in self.items() if change.state in states]

    @property
    def collisions(self) -> list[str]:
        """The names of the fields that both changed differently, and nobody merged."""
        return self.names(FieldState.COLLIDING)


def compare(
    model: type[models.Model],
    base: Mapping[str, object],
    mine: Mapping[str, object],
    theirs: Mapping[str, object] | None,
) -> dict[str, FieldChange]:
    """Return who changed the fields of mine; theirs is ``None`` without a row."""
    changes = {}
    for name, value in mine.items():
        field = own_field(model, name)
        other = UNKNOWN if theirs is None else theirs[name]
        state = _state(field, base[name], value, other)
        changes[name] = FieldChange(field, state, base[name], value, other)
    return changes


def _state(
    model_field: ModelField, base: object, mine: object, theirs: object
) -> FieldState:
    return state_of(
        knows_base=base is not UNKNOWN,
        deleted=theirs is UNKNOWN,
        computed=_is_computed(model_field),
        i_did=lambda: not same(model_field, base, mine),
        they_did=lambda: not same(model_field, base, theirs),
        agree=lambda: same(model_field, mine, theirs),
    )


def state_of(
    *,
    knows_base: bool,
    deleted: bool,
    computed: bool,
    i_did: Callable[[], bool],
    they_did: Callable[[], bool],
    agree: Callable[[], bool],
) -> FieldState:
    """Return who changed a field, however its values are compared.

    Args:
        knows_base: whether the value that both started from is known.
        deleted: whether there is no row any more.
        computed: whether the write itself sets the field, so that it is nobody's
            change of mine.
        i_did: says whether mine differs from the base; only asked if that is known.
        they_did: the same of theirs, and only if there is a row.
        agree: says whether mine and theirs are the same.
    """
    if not knows_base:
        if deleted:
            return FieldState.MINE
        if computed:
            return FieldState.UNCHANGED if agree() else FieldState.THEIRS
        return FieldState.SAME if agree() else FieldState.COLLIDING
    mine_changed = not computed and i_did()
    theirs_changed = not deleted and they_did()
    if mine_changed and theirs_changed:
        return FieldState.SAME if agree() else FieldState.COLLIDING
    if mine_changed:
        return FieldState.MINE
    return FieldState.THEIRS if theirs_changed else FieldState.UNCHANGED


def as_groups(
    changes: dict[str, FieldChange], groups: Iterable[Iterable[str]]
) -> dict[str, FieldChange]:
    """Return the changes, where fields that move together collide as one."""
    changes = dict(changes)
    for group in groups:
        together = {name: changes[name] for name in group if name in changes}
        states = {change.state for change in together.values()}
        if len(states - {FieldState.UNCHANGED}) > 1:
            # One of us would get half of what the other wrote.
            for name, change in together.items():
                if change.state in (FieldState.MINE, FieldState.THEIRS):
                    changes[name] = replace(change, state=FieldState.COLLIDING)
    return changes


def describe(change: FieldChange, budget: differences.Budget) -> list[str]:
    """Return the lines that show a change, *with its values*."""
    base, mine, theirs = (
        "(unknown)" if value is UNKNOWN else "(empty)" if value in (None, "") else value
        for value in (change.base, change.mine, change.theirs)
    )
    if all(isinstance(v, str) for v in (base, mine, theirs)) and any(
        "\n" in v for v in (base, mine, theirs)
    ):
        return [
            line.rstrip("\n")
            for name, text in (("mine", mine), ("theirs", theirs))
            for line in differences.unified(
                base.splitlines(), text.splitlines(), "base", name, budget=budget
            )
        ]
    return [f"  base:   {base}", f"  mine:   {mine}", f"  theirs: {theirs}"]
