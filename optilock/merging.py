"""The save that merges what others changed in the meantime."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from django.db import models, transaction

from optilock import loaded, signals
from optilock.changes import FieldState
from optilock.conflicts import Conflict
from optilock.decisions import MergeConflict
from optilock.exceptions import RecordModifiedError, error_for
from optilock.rows import first_table, read_row, version_field

__all__ = ["save_merging"]


def save_merging(instance: models.Model, using: str, save: Callable[[], None]) -> None:
    """Save an instance; if the row was changed elsewhere, merge and save again.

    Four attempts: two as they come, and for whoever loses both, two in one
    transaction. There the row that is read in between is locked (or all of the
    database is, where rows can't be), so that the last attempt finds it as it
    was merged. In a transaction of the caller's that is so from the first.

    Args:
        instance: the instance.
        using: the alias of the database it is saved to.
        save: saves it, and raises ``RecordModifiedError`` if it is stale.

    Raises:
        RecordModifiedError: both changed one field, or the row isn't what the
            failed UPDATE saw (a snapshot, a trigger), or it was lost to others
            each time. The instance is as it was before.
        RecordDeletedError: the row was deleted.
    """
    merging = _MergingSave(instance, using, save)
    with loaded.merging(instance):
        if not (merging.attempt() or merging.attempt()):
            with transaction.atomic(using=using):
                if not merging.attempt():
                    merging.attempt(last=True)
    if merging.conflict is not None:
        signals.conflict_merged.send_robust(
            type(instance), instance=instance, conflict=merging.conflict, using=using
        )


class _MergingSave:
    """A save under way.

    Attributes:
        conflict: what was merged, if anything.
    """

    def __init__(
        self, instance: models.Model, using: str, save: Callable[[], None]
    ) -> None:
        self.instance, self.using, self.save = instance, using, save
        self.before, self.known = vars(instance).copy(), loaded.recall(instance)
        self.conflict: Conflict | None = None

    def attempt(self, *, last: bool = False) -> bool:
        """Save the instance, or merge what others have saved into it.

        Returns:
            Whether it was saved.
        """
        try:
            with _savepoint(self.instance, self.using):
                self.save()
        except RecordModifiedError as lost:
            if lost.instance is not self.instance:
                raise
            error = lost
            if self.conflict is not None:
                # Each merge starts from what the caller had.
                loaded.put_back(self.instance, self.before, self.known)
                error = _as_expected(self.conflict.expected_version, lost)  # type: ignore[arg-type]  # an error's has one
            if last or lost.current_version in (None, lost.expected_version):
                raise error from None
            if error.conflicts[0]._row is None:
                # It couldn't be read before the end of the attempt's savepoint.
                row = read_row(self.instance, error.using, error.pk, lock=True)
                error = _as_expected(error.expected_version, error, row)
            self.conflict = error.conflict
            try:
                _merge_by_policy(self.conflict)
            except MergeConflict as collision:
                raise error from collision
            return False
        return True


def _savepoint(instance: models.Model, using: str) -> AbstractContextManager[None]:
    """Keep a lost attempt from spoiling the transaction, where it could.

    That is where a parent's row is written before the one with the version.
    """
    version = version_field(type(instance))
    if version is None or first_table(instance) is version.model:
        return nullcontext()
    return transaction.atomic(using=using)


def _as_expected(
    expected: int, error: RecordModifiedError, row: models.Model | None = None
) -> RecordModifiedError:
    """Return the error that the first attempt would have raised now."""
    return error_for(
        instance=error.instance,
        using=error.using,
        expected_version=expected,
        current_version=error.current_version,
        row=error.conflicts[0]._row if row is None else row,
    )


def _merge_by_policy(conflict: Conflict) -> None:
    """Merge what doesn't overlap, and what the model has decisions for.

    A field that both changed to the same value overlaps, too: two deposits of ten
    each change 100 to 110, and the account must end at 120.
    """
    standing = getattr(conflict.model, "merge_decisions", {})
    overlaps = conflict.names(FieldState.SAME, FieldState.COLLIDING)
    undecided = [name for name in overlaps if standing.get(name, "ask") == "ask"]
    if undecided:
        raise MergeConflict(conflict, undecided)
    conflict.merge({name: standing[name] for name in overlaps})
