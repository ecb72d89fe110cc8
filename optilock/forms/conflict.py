"""What somebody else did to a form's row, and what is decided about it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from django import forms
from django.utils.safestring import SafeString

from optilock.changes import FieldState
from optilock.differences import Budget
from optilock.forms import tokens
from optilock.forms.compared import ComparedFields
from optilock.forms.merges import DECISION, DECISION_FOR_ALL, posted_decision

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin
    from optilock.panel.authors import Author

__all__ = ["DECISION", "DECISION_FOR_ALL", "MEDIA", "FormConflict", "is_first_met"]

#: What the page that asks looks like, and what makes it handier.
MEDIA = forms.Media(css={"all": ["optilock/conflict.css"]}, js=["optilock/conflict.js"])


class FormConflict(ComparedFields):
    """What somebody else did to the row of a form, and what is decided about it.

    A mapping of field names to ``FieldChange``, as a ``Conflict`` is, with plain
    values. Who changed what, the form has compared in its own way.

    Attributes:
        form: the form.
        compared: the same as a ``Conflict``, to be described or resolved. Fields
            of the form that aren't the model's are in it as well.
        too_old: whether there was no token that tells what was opened.
        is_hidden: whether the row is there, but not for whoever sent the form.
        digested: the names of fields whose base value was too long, or too
            secret, for the token: who changed them is known all the same.
        merges: what becomes of fields that both changed, as far as that is said.
        question: what has to be decided about the row as a whole: "deleted" if
            it was deleted and was changed here, "deleting" if it was changed and
            is to be deleted here, else an empty string.
        decision: "mine" or "theirs", what is decided about that.
        decisions: "mine" or "theirs" by field name, for fields that collide; of a
            text it may be "both", which is then edited.
        budget: how much may still be compared to show the conflict's page.
        shown: what the page shows, once that is made.
        author: who did it, an ``Author``; ``None`` until somebody has asked.
    """

    def __init__(self, form: VersionedFormMixin) -> None:
        super().__init__(form)
        self.is_hidden = form._optilock.is_hidden
        self.is_marked_for_deletion = form._optilock.is_marked_for_deletion
        self.budget = self.formset._optilock.budget if self.formset else Budget()
        self.shown: dict[tuple[str, str], SafeString] = {}
        self.author: Author | None = None
        self.instance = form.instance
        self.model = form._meta.model
        self._deletion_is_known = tokens.ROW in self.opened.shown
        self.question = self._question()
        self.decision = self._decision_about_row()
        self.decisions = self._decisions_about()

    # --- decisions -------------------------------------------------------

    def _question(self) -> Literal["", "deleted", "deleting"]:
        if self.deleted:
            lost = not self.formset or self.names(FieldState.MINE)
            return "deleted" if lost and not self.is_marked_for_deletion else ""
        stale = self.expected_version != self.current_version
        stale = stale or self._deletion_is_known
        return "deleting" if stale and self.is_marked_for_deletion else ""

    def _decision_about_row(self) -> str:
        shown = self.opened.shown.get(tokens.ROW, tokens.ROW)
        if not self.question or shown != self.current_version:
            return ""
        decision = posted_decision(self.form, tokens.ROW)
        if not self.deleted:
            return decision
        allowed = {"mine"} if self.can_recreate else set()
        if self.formset:
            allowed.add("theirs")
        return decision if decision in allowed else ""

    @property
    def can_recreate(self) -> bool:
        """Whether the row, which is deleted, can be saved again as a new one."""
        allowed = (self.formset or self.form).can_recreate
        return bool(allowed and not self.is_hidden)

    def _decisions_about(self) -> dict[str, str]:
        """Return the decisions about what the person was really shown."""
        decisions: dict[str, str] = {}
        for group in self.groups(FieldState.COLLIDING):
            also = ("both",) if group[0] in self.merges.texts else ()
            if self._were_shown(group) and (
                decision := posted_decision(self.form, group[0], *also)
            ):
                decisions |= dict.fromkeys(group, decision)
        return decisions

    def _were_shown(self, names: Iterable[str]) -> bool:
        """Return whether the page that was sent has shown what is saved now."""
        shown, saved = self.opened.shown, self.form._optilock.comparison.saved
        return all(
            name in shown
            and tokens.is_frozen(self[name].field, saved(name), shown[name])
            for name in names
        )

    def proposal(self, name: str) -> str:
        """Return a text with what both have written, for the person to edit."""
        is_new = not self._were_shown([name])
        return self.merges.proposal(self[name], is_new=is_new)

    def groups(self, *states: FieldState) -> list[list[str]]:
        """Return names of fields in one of these states; those that are one, as one."""
        left, found = self.names(*states), []
        while left:
            group = next(
                (g for g in self.compared.merge_together if left[0] in g), left[:1]
            )
            found.append([name for name in left if name in group])
            left = [name for name in left if name not in group]
        return found

    def input_name(self, group: list[str]) -> str:
        """Return the name of the inputs that decide about fields that are one."""
        return str(self.form.add_prefix(DECISION + group[0]))

    def was_asked(self, group: list[str]) -> bool:
        """Return whether the page that was sent asked about these fields, or the row.

        Args:
            group: the names of fields that are one; ``[""]`` is the row.
        """
        return all(name in self.opened.shown for name in group)

    def was_answered(self, group: list[str]) -> bool:
        """Return whether something was chosen, be it of values that are outdated."""
        return bool(posted_decision(self.form, group[0], "both"))

    @property
    def undecided(self) -> list[str]:
        """The names of the fields that collide and wait for a decision."""
        if self.question or self.is_marked_for_deletion:
            return []
        return [name for name in self.collisions if name not in self.decisions]

    # --- what becomes of it ----------------------------------------------

    @property
    def deleted_untouched(self) -> bool:
        """Whether the row is deleted, wasn't touched here, and nobody was told yet."""
        return self.is_gone and not self._deletion_is_known

    @property
    def is_gone(self) -> bool:
        """Whether the row is deleted, and wasn't touched here."""
        return self.deleted and not self.question and not self.is_marked_for_deletion

    @property
    def merged(self) -> list[str]:
        """The names of the fields that keep what somebody else saved."""
        return self.names(FieldState.THEIRS)

    @property
    def merged_so_far(self) -> list[str]:
        """The same with those that an earlier page has told already."""
        theirs = {*self.merged, *self._remembered}
        return [name for name in self if name in theirs]

    @property
    def mixed(self) -> list[str]:
        """The names of the fields that have both what they and I have changed."""
        both = [n for n in self._decided_as("both") if self.merges.keeps_theirs(n)]
        theirs = [n for n in self._decided_as("theirs") if n in self.results]
        return [*self.names(FieldState.MERGED), *both, *theirs]

    @property
    def told(self) -> list[str]:
        """The names of all fields that this page, or one before, tells as merged."""
        return [*self.merged_so_far, *self.names(FieldState.MERGED)]

    @property
    def overwritten(self) -> list[str]:
        """The names of the fields somebody else changed, decided as "mine"."""
        both = self._decided_as("both")
        return [
            *(name for name, side in self.merges.sides.items() if side == "mine"),
            *self._decided_as("mine"),
            *(name for name in both if not self.merges.keeps_theirs(name)),
        ]

    @cached_property
    def results(self) -> dict[str, object]:
        """What is saved of the fields of which it is neither side's, by name."""
        results = dict(self.merges.settled)
        for name, merge in self.merges.texts.items():
            side = self.decisions.get(name)
            if side == "both" or (side and merge.is_partial):
                results[name] = self.merges.decided(self[name], side)
        return {n: v for n, v in results.items() if n not in self.dropped}

    @cached_property
    def dropped(self) -> list[str]:
        """The names of the fields of which nothing that was posted is saved."""
        if self.deleted:
            return []
        if self.question and self.decision == "theirs":
            return list(self)
        unseen = self.form._optilock.comparison.unseen
        if any(self.decisions.get(name) == "theirs" for name in unseen):
            return list(self)
        partial = [n for n, one in self.merges.texts.items() if one.is_partial]
        decided = [n for n in self._decided_as("theirs") if n not in partial]
        return [*self.names(FieldState.THEIRS, FieldState.SAME), *decided]

    def _decided_as(self, side: str) -> list[str]:
        return [name for name, one in self.decisions.items() if one == side]

    @property
    def asks(self) -> bool:
        """Whether there is something to decide, decided already or not."""
        return bool(self.is_open or self.question or self.collisions)

    @property
    def is_open(self) -> bool:
        """Whether saving has to wait for a person."""
        if self.question:
            return not self.decision
        alone = self.too_old and not self.formset
        return bool(
            alone or self.undecided or (self.form.ask_always and self._concerns)
        )

    @property
    def is_news(self) -> bool:
        """Whether anything was to be told, asked, or done differently than posted."""
        changed = self.dropped or self.mixed or self.overwritten
        return bool(self.asks or changed or self._remembered or self.is_gone)

    @property
    def _concerns(self) -> bool:
        """Whether something was merged that concerns who is saving."""
        if self.formset and not self.formset._optilock_is_one_thing:
            touched = (FieldState.MINE, FieldState.SAME, FieldState.COLLIDING)
            both = self.merged and self.names(*touched)
            return bool(self.merges.settled or both)
        return bool(self.merged or self.merges.settled or self.deleted_untouched)


def is_first_met(conflict: FormConflict) -> bool:
    """Return whether both have changed the row, and the person wasn't told before."""
    shown = conflict.opened.shown
    if conflict.too_old or conflict.is_hidden:
        return False
    if conflict.question:
        return shown.get(tokens.ROW, tokens.ROW) != conflict.current_version
    is_new = conflict.expected_version != conflict.current_version
    both = (FieldState.COLLIDING, FieldState.MERGED)
    return (
        bool(conflict.names(FieldState.MINE, *both))
        and bool(conflict.names(FieldState.THEIRS, *both))
        and (is_new or not shown.keys() >= {*conflict.collisions})
    )
