"""Bringing a form's instance up to date, if it was read before another's commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.forms.models import model_to_dict

from optilock import loaded, rollback
from optilock.changes import FieldState
from optilock.conflicts import Conflict
from optilock.decisions import Decision, MergeConflict
from optilock.loaded import UNKNOWN
from optilock.values import same

if TYPE_CHECKING:
    from collections.abc import Container

    from optilock.forms.form import VersionedFormMixin

__all__ = ["refresh"]


def refresh(form: VersionedFormMixin, locked: models.Model) -> None:
    """Bring the form's instance up to date with its row.

    What the view has set, and the form doesn't show, is merged: a collision
    leaves the version behind, and ``save()`` is refused.
    """
    instance, comparison = form.instance, form._optilock.comparison
    version = form._optilock.version
    is_behind = version is not None and (
        getattr(instance, version.attname) != getattr(locked, version.attname)
    )
    if not is_behind and _is_like(instance, locked):
        return
    conflict = Conflict.of(instance, row=locked, merge_together=())
    merged, collisions = _merge_unseen(conflict, comparison.model_fields)
    for name, value in merged.items():
        if value is not conflict.mine[name]:
            rollback.put(instance, conflict[name].field.attname, value)
    names = [n for n, f in comparison.model_fields.items() if not f.many_to_many]
    if is_behind:
        names = list(comparison.model_fields)
        for name, form_field in form.fields.items():
            if form_field.disabled:  # has the value that was read too early
                form.cleaned_data.pop(name, None)
        if version is not None:
            names.append(version.name)  # what is shown of it
    form.initial.update(model_to_dict(locked, names))
    form._bound_fields_cache.clear()  # type: ignore[attr-defined]  # not in the stubs
    if is_behind and comparison.extra_fields:
        return  # whoever found their values has read the row too early
    if version is not None and not collisions:
        setattr(instance, version.attname, getattr(locked, version.attname))
        loaded.restore(instance, loaded.recall(locked))


def _is_like(instance: models.Model, row: models.Model) -> bool:
    """Return whether an instance's values are those of its row."""
    # Most rows are plain values that nobody has changed.
    one, other = loaded.row_now(instance), loaded.row_now(row)
    if one and other:
        kinds = [*map(type, one)]
        are_plain = loaded.SCALARS.issuperset(kinds)
        if are_plain and kinds == [*map(type, other)] and one == other:
            return True
    mine, theirs = vars(instance), vars(row)
    return all(
        same(field, mine[field.attname], theirs[field.attname])
        for field in instance._meta.concrete_fields
        if field.attname in mine and field.attname in theirs
    )


def _merge_unseen(
    conflict: Conflict, seen: Container[str]
) -> tuple[dict[str, object], list[str]]:
    """Merge what the form doesn't show, and take the rest from the row.

    Returns:
        The merged values, and the names of the fields that collide.
    """
    standing = getattr(conflict.model, "merge_decisions", {})
    decisions: dict[str, Decision] = {}
    collisions = []
    for name, change in conflict.items():
        if name in seen:
            decisions[name] = "theirs"
        elif change.collides or (
            change.state is FieldState.SAME and change.base is not UNKNOWN
        ):
            # As on_conflict="merge" does it: two may have counted one up.
            decisions[name] = standing.get(name, "mine")
            if name not in standing:
                collisions.append(name)
    try:
        return conflict.resolve(decisions), collisions
    except MergeConflict as undecided:  # a standing decision that didn't work
        decisions |= dict.fromkeys(undecided.fields, "mine")
        return conflict.resolve(decisions), [*collisions, *undecided.fields]
