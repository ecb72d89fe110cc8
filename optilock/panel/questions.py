"""The questions of a conflict: what there is to choose from, and what it was before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_noop, ngettext

from optilock.changes import FieldState
from optilock.forms import tokens
from optilock.panel.authors import Author
from optilock.panel.isolating import isolate
from optilock.panel.values import label, labels, show, text, title_of

if TYPE_CHECKING:
    from optilock.forms.conflict import FormConflict

__all__ = [
    "OUT_OF_SIGHT",
    "Change",
    "Option",
    "Question",
    "ask_about_fields",
    "ask_id",
    "find_questions",
    "tell_need",
    "tell_whose",
]

#: What is said of what may still be there.
OUT_OF_SIGHT = gettext_noop("This is not there any more, or not visible to you.")

#: Up to so many characters, what it was stands beside the choice, else it is folded.
_SHORT = 80


class Option(NamedTuple):
    """One of the answers to a question.

    Attributes:
        value: what is posted.
        title: what it is called; the values follow it.
        values: the values of the fields, as HTML; none if the title says it all.
        input: the name of the input for a text to be edited, empty if there is none.
        text: that text.
    """

    value: str
    title: str
    values: Sequence[SafeString] = ()
    input: str = ""
    text: str = ""

    @property
    def rows(self) -> int:
        """How high the text's input is, in lines."""
        return min(max(2, self.text.count("\n") + 1 + len(self.text) // 80), 12)


class Change(NamedTuple):
    """A value that has changed.

    Attributes:
        label: what the field is called.
        base: what it was, as HTML; empty if nobody knows.
        value: what it is.
        row: what the row is called, if it is one among others.
        url: where a link at the label leads.
    """

    label: str
    base: SafeString | str
    value: SafeString | str
    row: str = ""
    url: str = ""


@dataclass(frozen=True)
class Question:
    """Something to decide about: fields that are one, or a row as a whole.

    Attributes:
        input: the name of the inputs.
        label: what it is about.
        options: what there is to choose from.
        decision: the value of the option that is chosen, empty if none is.
        error: what is wrong with the answer that was posted, or with its absence.
        field_id: the id of the field's own input, empty if the page has none.
        size: how many fields it is about, 0 if about a row.
        base: what the fields were when the page was opened.
        is_long: whether that is folded.
        is_part: whether it is about passages of a text that is merged beside.
        fact: what has happened to a row.
        changes: the values of the row that are at stake.
    """

    input: str
    label: str
    options: Sequence[Option]
    decision: str = ""
    error: str = ""
    field_id: str = ""
    size: int = 0
    base: Sequence[SafeString] = ()
    is_long: bool = False
    is_part: bool = False
    fact: str = ""
    changes: Sequence[Change] = ()

    @property
    def id(self) -> str:
        """The id of what a link leads to; see ``ask_id()``."""
        return f"ask_{self.input}"


def ask_id(conflict: FormConflict, group: list[str]) -> str:
    """Return the id of the question about fields that are one."""
    return f"ask_{conflict.input_name(group)}"


def find_questions(conflict: FormConflict, author: Author) -> list[Question]:
    """Return what has to be decided about a form's row, decided already or not."""
    if not conflict.question:
        groups = conflict.groups(FieldState.COLLIDING)
        return [ask_about_fields(conflict, group, author) for group in groups]
    return [_ask_about_row(conflict)] if conflict.formset else []


def ask_about_fields(
    conflict: FormConflict, group: list[str], author: Author
) -> Question:
    """Return the question whose values to keep, of fields that are one.

    Args:
        conflict: the conflict.
        group: the names of the fields.
        author: who has saved the others' values.
    """
    options = [
        Option(
            "theirs", tell_whose(author), [show(conflict, n, "theirs") for n in group]
        ),
        Option("mine", gettext("mine:"), [show(conflict, n, "mine") for n in group]),
    ]
    was = "".join(text(conflict, name, "base") or "" for name in group)
    merge = conflict.merges.texts.get(group[0])
    if merge:
        was = "\n".join(line for one in merge.overlaps for line in one.base)
        name, both = group[0], gettext("both, edited:")
        edited = conflict.merges.input_name(name), conflict.proposal(name)
        options.append(Option("both", both, (), *edited))
    decision = conflict.decisions.get(group[0], "")
    return Question(
        conflict.input_name(group),
        labels(conflict, group),
        options,
        decision=decision,
        error="" if decision else _error(conflict, group, len(options)),
        field_id=_input_id(conflict, group[0]),
        size=len(group),
        base=[show(conflict, name, "base") for name in group],
        is_long=len(was) > _SHORT or "\n" in was,
        is_part=merge is not None and merge.is_partial,
    )


def tell_need(undecided: Sequence[Question]) -> str:
    """Return how much there is to be chosen, as a sentence."""
    if not undecided:
        return ""
    if all(one.size for one in undecided):
        count = sum(one.size for one in undecided)
        sentence = ngettext(
            "%(n)s field needs your choice.", "%(n)s fields need your choice.", count
        )
    else:  # among them are rows
        count = len(undecided)
        sentence = ngettext(
            "%(n)s change needs your choice.", "%(n)s changes need your choice.", count
        )
    return sentence % {"n": count}


def tell_whose(author: Author) -> str:
    """Return what the values are called that are saved now."""
    if author.is_self:
        return gettext("from your other window:")
    if author.name:
        return gettext("%(user)s’s:") % {"user": isolate(author.name)}
    return gettext("saved now:")


def _error(conflict: FormConflict, group: list[str], count: int) -> str:
    """Return what is wrong with the answer, nothing if this is asked the first time."""
    if not conflict.was_asked(group):
        return ""
    if conflict.was_answered(group):
        return gettext("This was changed once more since you chose: choose again.")
    return ngettext("Choose this one.", "Choose one of these %(n)s.", count) % {
        "n": count
    }


def _input_id(conflict: FormConflict, name: str) -> str:
    """Return the id of a field's input, empty if the page has none."""
    if name in conflict.form._optilock.comparison.unseen:
        return ""
    return str(conflict.form[name].id_for_label)


def _ask_about_row(conflict: FormConflict) -> Question:
    if conflict.question == "deleted":
        fact = gettext("It was deleted, but you have changed it.")
        names, side = conflict.names(FieldState.MINE), "mine"
        options = [Option("theirs", gettext("Leave it deleted"))]
        if conflict.is_hidden:
            fact = gettext(OUT_OF_SIGHT)
            options = [Option("theirs", gettext("leave it out"))]
        if conflict.can_recreate:
            options.append(Option("mine", gettext("Add it again, with my values")))
    else:
        fact = gettext("It was changed, but you want to delete it.")
        ours = (FieldState.UNCHANGED, FieldState.MINE)
        names = [name for name, one in conflict.items() if one.state not in ours]
        side = "theirs"
        options = [
            Option("theirs", gettext("Keep it")),
            Option("mine", gettext("Delete it anyway")),
        ]
    row = [tokens.ROW]
    return Question(
        conflict.input_name(row),
        title_of(conflict),
        options,
        decision=conflict.decision,
        error="" if conflict.decision else _error(conflict, row, len(options)),
        fact=fact,
        changes=list(_changes(conflict, names, side)),
    )


def _changes(conflict: FormConflict, names: list[str], side: str) -> Iterator[Change]:
    for name in names:
        yield Change(
            label(conflict, name),
            show(conflict, name, "base"),
            show(conflict, name, side),
        )
