"""What to do with a field that was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from optilock.changes import FieldChange, FieldState
from optilock.loaded import UNKNOWN
from optilock.three_way import UndecidedError, merge_elements, merge_keys, merge_lines

if TYPE_CHECKING:
    from optilock.conflicts import Conflict

__all__ = [
    "DECISIONS",
    "Decision",
    "MergeConflict",
    "decide",
    "decisions_for",
    "is_decision",
]

#: "mine", "theirs", "base", "lines", "elements", "keys", "ask", or a function of the
#: change.
Decision: TypeAlias = "str | Callable[[FieldChange], object]"


class _Baseless(FieldChange):
    """What a function gets to see of a change whose base isn't known.

    ``theirs + mine - base`` would fail, and ``mine != base`` would look like a
    change of mine: a function that asks for the base can't decide.
    """

    def __getattribute__(self, name: str) -> object:
        if name == "base":
            raise UndecidedError
        return super().__getattribute__(name)

    @property
    def knows_base(self) -> bool:
        return False


_SIDES = ("mine", "theirs", "base")

#: Ways to merge one value, where two changes of it needn't collide.
_MERGES: dict[str, Callable[[FieldChange], object]] = {
    "lines": merge_lines,
    "elements": merge_elements,
    "keys": merge_keys,
}

_DEFAULTS = {
    FieldState.UNCHANGED: "mine",
    FieldState.MINE: "mine",
    FieldState.THEIRS: "theirs",
    FieldState.SAME: "theirs",
}


#: What a decision may be, for those who have written another one.
DECISIONS = (
    "'mine', 'theirs', 'base', 'lines', 'elements', 'keys', 'ask', or a function of "
    "the change"
)


def is_decision(decision: Decision) -> bool:
    """Return whether ``Conflict.resolve()`` understands the decision."""
    return callable(decision) or decision in (*_SIDES, *_MERGES, "ask")


def _check_decision(name: str, decision: Decision) -> None:
    if not is_decision(decision):
        raise ValueError(f"{name}: {decision!r} isn't a decision. Use {DECISIONS}.")


def decisions_for(
    changes: Mapping[str, FieldChange],
    decisions: Mapping[str, Decision] | Decision | None,
    groups: Iterable[Iterable[str]],
) -> dict[str, Decision]:
    """Return the decisions by field name; one for a group is one for all of it.

    Raises:
        ValueError: as ``Conflict.resolve()``.
    """
    if decisions is None:
        return {}
    if not isinstance(decisions, Mapping):
        _check_decision("decisions", decisions)
        return {name: decisions for name, one in changes.items() if one.collides}
    decided = dict(decisions)
    for name, decision in decided.items():
        if name not in changes:
            raise ValueError(
                f"{name!r} isn't among the fields of this conflict: "
                f"{', '.join(changes)}."
            )
        _check_decision(name, decision)
    for group in groups:
        said = {d for n in group if isinstance(d := decisions.get(n), str)}
        if len(said) > 1:
            raise ValueError(
                f"{' and '.join(group)} move together, but are decided "
                f"as {' and '.join(sorted(said))}. Decide for one of them."
            )
        for name in group:
            if said and name in changes:
                decided.setdefault(name, *said)
    return decided


def decide(
    changes: Mapping[str, FieldChange], decided: Mapping[str, Decision]
) -> tuple[dict[str, object], list[str]]:
    """Return the merged values by field name, and the names nobody decided about."""
    merged, undecided = {}, []
    for name, change in changes.items():
        try:
            merged[name] = _decide(
                change, decided.get(name, _DEFAULTS.get(change.state))
            )
        except UndecidedError:
            undecided.append(name)
    return merged, undecided


def _decide(change: FieldChange, decision: Decision | None) -> object:
    if decision is None:
        raise UndecidedError
    if callable(decision):
        value = decision(change if change.knows_base else _Baseless(**vars(change)))
    elif decision in _SIDES:
        value = getattr(change, decision)
    elif not change.collides:
        return _decide(change, _DEFAULTS[change.state])
    elif decision == "ask":
        raise UndecidedError
    else:
        value = _MERGES[decision](change)
    if value is UNKNOWN:
        raise UndecidedError
    return value


class MergeConflict(Exception):  # noqa: N818 -- it is not an error to disagree
    """A merge needs decisions. Nothing was changed.

    Attributes:
        conflict: the ``Conflict``.
        fields: the names of the fields somebody has to decide about.
    """

    def __init__(self, conflict: Conflict, fields: Sequence[str]) -> None:
        super().__init__(conflict, fields)
        self.conflict = conflict
        self.fields = list(fields)

    def __str__(self) -> str:
        label = self.conflict.model._meta.label
        if self.conflict.deleted:
            return (
                f"{label} was not merged: the row was deleted. To store the object as "
                f"a new row, use save(force_insert=True)."
            )
        base = self.conflict.base
        unknown = [name for name in self.fields if base.get(name) is UNKNOWN]
        if unknown:
            return (
                f"{label} was not merged: what was loaded of {', '.join(unknown)} "
                f"isn't known (an object remembers it if its model is a VersionedModel "
                f"without remember_loaded = False), so nobody can tell who changed it. "
                f"Say whose value counts: "
                f"merge({{{unknown[0]!r}: 'mine'}}) or 'theirs'."
            )
        fields = ", ".join(self.fields)
        return (
            f"{label} was not merged: {fields} changed on both sides. Say what to do "
            f"with each: merge({{{self.fields[0]!r}: 'mine'}}) or "
            f"'theirs', 'base', 'lines', 'elements', 'keys', or a function."
        )
