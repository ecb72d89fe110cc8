"""What somebody else did to a form's row, as a mapping like ``Conflict``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from optilock.changes import Changes, FieldChange, FieldState
from optilock.conflicts import Conflict
from optilock.forms import tokens
from optilock.forms.merges import EDITED, FormMerges, posted_decision
from optilock.loaded import UNKNOWN

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin

__all__ = ["ComparedFields"]

_LEFT_ALONE = (FieldState.UNCHANGED, FieldState.THEIRS)


class ComparedFields(Changes):
    """A mapping of field names to ``FieldChange``, as a ``Conflict`` is.

    See ``FormConflict`` for its attributes.
    """

    def __init__(self, form: VersionedFormMixin) -> None:
        self.form = form
        self.formset = form._optilock.formset
        #: As the page showed the row; the form finds it by a key that may change.
        self.opened = form._optilock.opened
        self.too_old = self.opened is tokens.UNSEEN
        self.digested: set[str] = set()
        self.reopened: set[str] = set()
        self.compared = self._compare()
        self.merges = FormMerges(form, self.compared, self._left_out, self.reopened)
        self._remembered = self._remember()
        self._changes = {**self.compared, **dict(self._settled()), **self._remembered}

    def _compare(self) -> Conflict:
        opened, comparison = self.opened, self.form._optilock.comparison
        locked = comparison.locked
        version = None if locked is None else tokens.look(locked).version
        frozen, as_opened = dict(opened.base), set()
        if locked is not None and opened.version == version:
            # What the page didn't show is in the row: the version is still the same.
            # What it did show is compared, or a change that bumped no version would be
            # overwritten.
            for name, field in comparison.fields.items():
                if not field.many_to_many and name not in {*frozen, *opened.shown}:
                    try:
                        frozen[name] = comparison.freeze(name, comparison.saved(name))
                    except TypeError:  # not JSON
                        as_opened.add(name)
        self.digested = {n for n, v in frozen.items() if tokens.is_digest(v)}
        changes = [
            comparison.change(name, frozen.get(name, UNKNOWN))
            for name in comparison.fields
        ]
        changes = [_alone(one) if one.name in as_opened else one for one in changes]
        files = self.form._optilock.files
        changes = [files.as_chosen(one) for one in changes]
        theirs = {one.name for one in changes if one.state is FieldState.THEIRS}
        asked = {*files.forgotten, *theirs.intersection(comparison.unseen)}
        self._left_out = {*asked, *files.lost}
        if locked is not None:
            self.reopened = {one.name for one in changes if self._is_reopened(one)}
            asked |= self.reopened
        conflict = Conflict.from_changes(
            self.form._meta.model,
            [
                replace(one, state=FieldState.COLLIDING) if one.name in asked else one
                for one in changes
            ],
            deleted=locked is None,
            merge_together=self.form.merge_together,
            instance=self.form.instance,
            expected_version=opened.version,
        )
        conflict.current_version = version
        return conflict

    def _is_reopened(self, change: FieldChange) -> bool:
        """Return whether an answer would be lost, as nothing collides any more.

        What was saved has changed since it was asked: a text that was edited would be
        dropped, or mine be saved where theirs was chosen.
        """
        name, form = change.name, self.form
        if name not in self.opened.shown or change.collides:
            return False
        decision = posted_decision(form, name, "both")
        if decision == "theirs":
            return change.state is FieldState.MINE
        return decision != "mine" and form.add_prefix(EDITED + name) in form.data

    def _settled(self) -> Iterator[tuple[str, FieldChange]]:
        """Yield the fields that collide, but of which nobody has to decide."""
        states = {"mine": FieldState.MINE, "theirs": FieldState.THEIRS}
        for name, side in self.merges.sides.items():
            yield name, replace(self.compared[name], state=states[side])
        for name in self.merges.settled:
            yield name, replace(self.compared[name], state=FieldState.MERGED)

    def _remember(self) -> dict[str, FieldChange]:
        """Return what an earlier page has merged, compared with what was opened."""
        found: dict[str, FieldChange] = {}
        if self.deleted:
            return found
        for name, frozen in self.opened.merged.items():
            change = self.compared.get(name)
            if change is None or change.collides:
                continue
            if not self.form._optilock.comparison.did_they(name, frozen):
                continue
            is_kept = not tokens.is_digest(frozen)
            base = tokens.thaw(change.field, frozen) if is_kept else UNKNOWN
            if change.state not in _LEFT_ALONE:
                both = replace(change, base=base, state=FieldState.COLLIDING)
                if not self.merges.is_merged(both):
                    continue
                change = replace(change, state=FieldState.MERGED)
            found[name] = replace(change, base=base)
            self.digested.discard(name) if is_kept else self.digested.add(name)
        return found

    def __str__(self) -> str:
        return str(self.compared)

    def describe(self) -> str:
        """Return a comparison to read, *with the values*: see ``Conflict``."""
        return self.compared.describe()

    @property
    def deleted(self) -> bool:
        """Whether the row is deleted, or hidden from whoever sent the form."""
        return self.compared.deleted

    @property
    def expected_version(self) -> int | None:
        """The version that the page has shown."""
        return self.compared.expected_version

    @property
    def current_version(self) -> int | None:
        """The version of the row now; ``None`` if it is deleted."""
        return self.compared.current_version


def _alone(change: FieldChange) -> FieldChange:
    """Return a change where only I can have made it, as nobody else has saved."""
    did_i = change.state is FieldState.COLLIDING
    return replace(change, state=FieldState.MINE if did_i else FieldState.UNCHANGED)
