"""What becomes of the fields of a form that both have changed."""

from __future__ import annotations

from collections.abc import Container
from functools import cached_property
from typing import TYPE_CHECKING

from django.db import models

from optilock.changes import FieldChange
from optilock.conflicts import Conflict
from optilock.decisions import Decision, decide
from optilock.differences import Budget
from optilock.loaded import UNKNOWN
from optilock.three_way import TextMerge, can_merge_texts
from optilock.values import same

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin

__all__ = [
    "DECISION",
    "DECISION_FOR_ALL",
    "EDITED",
    "QUICK",
    "FormMerges",
    "posted_decision",
]

#: Where a person's decisions stand in what is posted.
DECISION = "optilock_decision_"
DECISION_FOR_ALL = "optilock_decision_for_all"

#: Where both texts of a field, edited, stand in what is posted.
EDITED = "optilock_edited_"

#: How many comparisons there is time for on a page, to merge its texts.
QUICK = 500_000


class FormMerges:
    """What becomes of the fields of a form that both have changed.

    The project's decisions count. Without one, texts are merged by lines and sets by
    their elements.

    Attributes:
        form: the form.
        reopened: the names of fields that are asked about whatever they come to.
        settled: the merged values by field name; an object stands for its key.
        sides: "mine" or "theirs" by field name, where the project has decided that.
        texts: by field name, those of which a person has to decide about passages.
    """

    def __init__(
        self,
        form: VersionedFormMixin,
        compared: Conflict,
        left_out: Container[str],
        reopened: Container[str],
    ) -> None:
        self.form = form
        self.reopened = reopened
        self.settled: dict[str, object] = {}
        self.sides: dict[str, str] = {}
        self.texts: dict[str, TextMerge] = {}
        comparison = form._optilock.comparison
        in_groups = {
            name
            for group in compared.merge_together
            if len(compared.keys() & {*group}) > 1
            for name in group
        }
        for name in compared.collisions:
            if (
                name in comparison.model_fields
                and name in form.cleaned_data  # else there is an error already
                and name not in in_groups
                and name not in left_out
                and not comparison.is_secret(name)
            ):
                self._merge(compared[name])

    @cached_property
    def _decisions(self) -> dict[str, Decision]:
        standing = getattr(self.form._meta.model, "merge_decisions", {})
        return {**standing, **(self.form.merge_decisions or {})}

    def _merge(self, change: FieldChange) -> None:
        name, decision = change.name, self._decision(change)
        if decision in ("mine", "theirs"):
            self.sides[name] = str(decision)
            return
        text = self._merge_text(change) if decision == "lines" else None
        if text and (text.overlaps or name in self.reopened):
            self.texts[name] = text
            text.is_partial = text.is_partial and bool(text.overlaps)
        if name in self.texts or name in self.reopened:
            return
        value = self._merged(change, text)
        if value is not UNKNOWN and self._is_same(change, value, change.theirs):
            self.sides[name] = "theirs"
        elif value is not UNKNOWN:
            self.settled[name] = value

    def is_merged(self, change: FieldChange) -> bool:
        """Return whether mine has all that they have changed, merged before."""
        if self._decision(change) == "lines":
            text, mine = self._merge_text(change), change.mine
            return bool(text and text.keeps_theirs(self._as_typed(change.name, mine)))
        value = self._merged(change, None)
        return value is not UNKNOWN and self._is_same(change, value, change.mine)

    def _decision(self, change: FieldChange) -> Decision:
        return self._decisions.get(change.name) or _default(change)

    def _merged(self, change: FieldChange, text: TextMerge | None) -> object:
        """Return what two changes come to, ``UNKNOWN`` if that isn't said."""
        decision = self._decision(change)
        if decision == "lines":
            if text is None or text.overlaps:
                return UNKNOWN
            return self._as_sent(change, text.text("mine"))
        if isinstance(change.field, models.FileField):
            return UNKNOWN
        merged, _ = decide({change.name: change}, {change.name: decision})
        return merged.get(change.name, UNKNOWN)

    def _merge_text(self, change: FieldChange) -> TextMerge | None:
        sides = (change.base, change.mine, change.theirs)
        if not can_merge_texts() or not all(isinstance(one, str) for one in sides):
            return None
        base, mine, theirs = (self._as_typed(change.name, one) for one in sides)
        return TextMerge(base, mine, theirs, self._budget)

    def _is_same(self, change: FieldChange, one: object, other: object) -> bool:
        if change.field.many_to_many:
            many: list[set[object]] = [{*value} for value in (one, other)]  # type: ignore[misc]  # as it is many
            return many[0] == many[1]
        if isinstance(one, str) and isinstance(other, str):
            return self._as_typed(change.name, one) == self._as_typed(
                change.name, other
            )
        return same(change.field, one, other)

    @property
    def _budget(self) -> Budget:
        state = self.form._optilock
        return state.formset._optilock.merging if state.formset else Budget(QUICK)

    def _as_typed(self, name: str, text: str) -> str:
        """Return a text as the form would have it: two may differ only in that."""
        text = text.replace("\r\n", "\n")
        return text.strip() if getattr(self.form.fields[name], "strip", False) else text

    def _as_sent(self, change: FieldChange, text: str) -> str:
        """Return a merged text with the ends of lines that a browser has sent."""
        return text.replace("\n", "\r\n") if "\r\n" in change.mine else text

    # --- texts of which somebody has to decide about passages --------------

    def edited(self, name: str) -> str | None:
        """Return what was sent as both texts, edited; ``None`` if nothing was."""
        edited: str | None = self.form.data.get(self.input_name(name))
        return edited

    def input_name(self, name: str) -> str:
        """Return the name of the input in which both texts are edited."""
        return str(self.form.add_prefix(EDITED + name))

    def proposal(self, change: FieldChange, *, is_new: bool) -> str:
        """Return a text that has both, or what the person has made of it.

        Args:
            change: the field.
            is_new: whether theirs is another than the page that was sent has shown.
        """
        edited = self.edited(change.name)
        if edited is None:
            return self.texts[change.name].text("both")
        if not is_new:
            return edited
        base, mine, theirs = (
            self._as_typed(change.name, one)
            for one in (change.base, edited, change.theirs)
        )
        return TextMerge(base, mine, theirs, self._budget).text("both")

    def decided(self, change: FieldChange, side: str) -> object:
        """Return what a text comes to by a decision about its passages."""
        merge = self.texts[change.name]
        edited = self.edited(change.name) if side == "both" else None
        if edited is not None:
            return edited
        return self._as_sent(change, merge.text(side))  # type: ignore[arg-type]  # it is one

    def as_theirs(self, change: FieldChange) -> object:
        """Return what a field comes to if theirs is kept: of a text, their passages."""
        text = self.texts.get(change.name)
        is_part = text is not None and text.is_partial
        return self.decided(change, "theirs") if is_part else change.theirs

    def keeps_theirs(self, name: str) -> bool:
        """Return whether both texts, as edited, have all that they wrote."""
        edited, merge = self.edited(name), self.texts[name]
        text = merge.text("both") if edited is None else self._as_typed(name, edited)
        return merge.keeps_theirs(text)


def posted_decision(form: VersionedFormMixin, name: str, *also: str) -> str:
    """Return the decision that was posted: "mine", "theirs", or one of the others.

    Args:
        form: the form.
        name: that of the field, the first of those that are one.
        also: other decisions that there may be about it.
    """
    own = form.data.get(form.add_prefix(DECISION + name))
    decision = str(own or form.data.get(DECISION_FOR_ALL))
    return decision if decision in ("mine", "theirs", *also) else ""


def _default(change: FieldChange) -> Decision:
    """Return how a field is merged that the project has no decision for.

    A class of somebody's own may have its own idea of a text, or of an order.
    """
    if type(change.field) is models.TextField and not change.field.choices:
        return "lines"
    if type(change.field) is models.ManyToManyField:
        return "elements"
    return "ask"
