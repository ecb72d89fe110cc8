"""A conflict as a person sees it: who, what, and a choice for each collision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from django.db import models
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from optilock.changes import FieldState
from optilock.differences import Budget
from optilock.forms.tokens import ROW
from optilock.panel.authors import NOBODY, Author, tell_headline
from optilock.panel.isolating import isolate
from optilock.panel.questions import (
    OUT_OF_SIGHT,
    Change,
    Question,
    find_questions,
    tell_need,
)
from optilock.panel.values import label, row_title, show, title_of

if TYPE_CHECKING:
    from optilock.forms.conflict import FormConflict

__all__ = ["render"]


class _Section(NamedTuple):
    """What there is to decide about one row."""

    title: str
    questions: Sequence[Question]


def render(
    conflicts: Iterable[FormConflict],
    *,
    subject: object,
    author: Author = NOBODY,
    added: Iterable[models.Model] = (),
    reload_url: str = "",
    can_recreate: bool = False,
    button: str = "",
    too_old: bool = False,
) -> SafeString:
    """Return the conflicts of a page as HTML, for inside its form.

    Args:
        conflicts: that of the page's own form first, if there is one.
        subject: the object the page is about; or what it is called, as in "order".
        author: who changed it.
        added: rows that somebody else has added, for which there are no forms.
        reload_url: the address of the page, to begin anew.
        can_recreate: whether an object that was deleted can be saved as a new one.
        button: the name of the button that saves, if that matters to the view.
        too_old: whether a form or formset of the page came without its token.
    """
    conflicts = list(conflicts)
    budget = Budget()
    for conflict in conflicts:
        conflict.budget = budget
    own = [conflict for conflict in conflicts if not conflict.formset]
    deleted = any(conflict.deleted for conflict in own)
    if any(conflict.is_hidden for conflict in own):
        # This person may not know what happened to it.
        author, heading = NOBODY, gettext(OUT_OF_SIGHT)
    else:
        heading = tell_headline(subject, author, deleted=deleted)
    too_old = too_old or any(conflict.too_old for conflict in conflicts)
    context = {
        **_questions(conflicts, author),
        **_merged(conflicts, added),
        "deleted": deleted,
        "too_old": too_old and not deleted,
        "insists": deleted and any(conflict.was_asked([ROW]) for conflict in own),
        "heading": heading,
        "is_self": author.is_self,
        "user": "" if author.is_self else isolate(author.name),
        "reload_url": reload_url,
        "can_recreate": can_recreate,
        "button": button,
    }
    return render_to_string("optilock/conflict.html", context)


def _questions(conflicts: Iterable[FormConflict], author: Author) -> dict[str, object]:
    """Return what the template has to know of the questions."""
    sections, recreated = [], False
    for conflict in conflicts:
        is_row = conflict.formset and not conflict.question
        title = title_of(conflict) if is_row else ""
        sections.append(_Section(title, find_questions(conflict, author)))
        is_own = conflict.deleted and not conflict.formset
        recreated = recreated or bool(is_own and conflict.decision == "mine")
    questions = [one for section in sections for one in section.questions]
    undecided = [one for one in questions if not one.decision]
    return {
        "sections": [section for section in sections if section.questions],
        "count": len(questions),
        "need": tell_need(undecided),
        "first": next((one for one in undecided if one.error), None),
        "decided": bool(questions or recreated) and not undecided,
        "recreated": recreated,
    }


def _merged(
    conflicts: Iterable[FormConflict], added: Iterable[models.Model]
) -> dict[str, object]:
    """Return what the template has to know of what was merged."""
    rows = [*_merged_rows(conflicts), *map(_tell_added, added)]
    changes = list(_merged_fields(conflicts))
    return {"merged": len(rows) + len(changes), "rows": rows, "changes": changes}


def _merged_rows(conflicts: Iterable[FormConflict]) -> Iterator[str]:
    for conflict in conflicts:
        if conflict.is_hidden and conflict.is_gone:
            sentence = gettext("%(rows)s: not there any more, or not visible to you.")
            yield sentence % {"rows": title_of(conflict)}
        elif conflict.is_gone:
            yield gettext("%(row)s was deleted.") % {"row": title_of(conflict)}


def _merged_fields(conflicts: Iterable[FormConflict]) -> Iterator[Change]:
    for conflict in conflicts:
        # The instance holds what was typed, which may not even be valid.
        row = title_of(conflict) if conflict.formset else ""
        sides = dict.fromkeys(conflict.merged_so_far, "theirs")
        sides |= dict.fromkeys(conflict.names(FieldState.MERGED), "merged")
        for name, side in {} if conflict.question else sides.items():
            base, now = (show(conflict, name, one) for one in ("base", side))
            yield Change(label(conflict, name), base, now, row=row)


def _tell_added(row: models.Model) -> str:
    sentence = gettext("%(row)s was added. It isn’t on this page, but it stays.")
    return sentence % {"row": row_title(row)}
