"""What is said of a conflict that is settled: what was merged, and what overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django import forms
from django.contrib.messages import constants
from django.db import models
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from optilock.forms.conflict import FormConflict
from optilock.panel.authors import Author, Sentences
from optilock.panel.isolating import isolate, listed
from optilock.panel.values import label, row_title, saved_object

__all__ = ["MANY_TITLES", "News", "find_news", "offer_undo", "tell_put_back"]

#: How many rows a message tells by name.
MANY_TITLES = 10


_MERGED = Sentences(
    own=_("Merged: you had changed %(fields)s in another window; that was kept."),
    known=_("Merged: %(user)s had changed %(fields)s; that was kept."),
    unknown=_("Merged: somebody else had changed %(fields)s; that was kept."),
)
_MIXED = Sentences(
    own=_("Merged: your changes in both windows are in %(fields)s."),
    known=_("Merged: your changes and those of %(user)s are in %(fields)s."),
    unknown=_("Merged: your changes and those of somebody else are in %(fields)s."),
)
_DELETED = Sentences(
    own=_("Merged: you had deleted %(rows)s in another window; that was kept."),
    known=_("Merged: %(user)s had deleted %(rows)s; that was kept."),
    unknown=_("Merged: somebody else had deleted %(rows)s; that was kept."),
)
_ADDED = Sentences(
    own=_("Merged: you had added %(rows)s in another window; that was kept."),
    known=_("Merged: %(user)s had added %(rows)s; that was kept."),
    unknown=_("Merged: somebody else had added %(rows)s; that was kept."),
)
_OVERWRITTEN = Sentences(
    own=_("You have overwritten what you had saved in another window: %(fields)s."),
    known=_("You have overwritten what %(user)s had saved: %(fields)s."),
    unknown=_("You have overwritten what somebody else had saved: %(fields)s."),
)
_DELETED_ANYWAY = Sentences(
    own=_("You have deleted what you had changed in another window: %(rows)s."),
    known=_("You have deleted what %(user)s had changed: %(rows)s."),
    unknown=_("You have deleted what somebody else had changed: %(rows)s."),
)
_RECREATED = Sentences(
    own=_("You have added again what you had deleted in another window: %(rows)s."),
    known=_("You have added again what %(user)s had deleted: %(rows)s."),
    unknown=_("You have added again what somebody else had deleted: %(rows)s."),
)
#: The same whoever it was: this person may not know.
_HIDDEN = Sentences(*[_("%(rows)s: not there any more, or not visible to you.")] * 3)


@dataclass(frozen=True)
class News:
    """Something to be said once.

    Attributes:
        level: of the message, as Django's messages have them.
        sentences: what is said, for each person who may have done it.
        what: the fields or rows it is about.
        can_be_undone: whether what was there before can be put back.
    """

    level: int
    sentences: Sentences
    what: str
    can_be_undone: bool = False

    def about(self, author: Author, *, saved: bool = True) -> str:
        """Return what is said, of this person; and whether it is saved."""
        values = {"user": isolate(author.name), "fields": self.what, "rows": self.what}
        text = self.sentences.about(author) % values
        # Apart, since what looks for texts to translate passes f-strings by.
        not_yet = gettext("Nothing has been saved yet.")
        return text if saved else f"{text} {not_yet}"


def find_news(
    conflicts: Iterable[FormConflict],
    added: Iterable[models.Model] = (),
    *,
    saved: bool = True,
) -> list[News]:
    """Return what was merged and, once it is saved, what was overwritten.

    Args:
        conflicts: those of a page.
        added: rows that somebody else has added.
        saved: whether the page was saved, or is shown once more.
    """
    conflicts = list(conflicts)
    deleted = [c for c in conflicts if c.deleted_untouched and not c.is_hidden]
    hidden = [c for c in conflicts if c.deleted_untouched and c.is_hidden]
    mine = [c for c in conflicts if c.question and c.decision == "mine"]
    info, warning = constants.INFO if saved else constants.WARNING, constants.WARNING
    found = [
        News(info, _MERGED, _names(conflicts, "merged")),
        News(info, _MIXED, _names(conflicts, "mixed")),
        News(info, _DELETED, _titles(map(saved_object, deleted))),
        News(info, _HIDDEN, _titles(c.instance for c in hidden)),
        News(info, _ADDED, _titles(added)),
    ]
    if saved:
        deleting = [saved_object(c) for c in mine if c.question == "deleting"]
        recreated = [saved_object(c) for c in mine if c.question == "deleted"]
        found += [
            News(warning, _OVERWRITTEN, _names(conflicts, "overwritten"), True),
            News(warning, _DELETED_ANYWAY, _titles(deleting)),
            News(warning, _RECREATED, _titles(recreated)),
        ]
    return [one for one in found if one.what]


def offer_undo(text: str, url: str) -> SafeString:
    """Return a message with a link that puts back what was overwritten."""
    link = gettext("Put back what was there")
    return format_html('{} <a href="{}">{}</a>', text, url, link)


def tell_put_back(
    forms_with_names: Iterable[tuple[forms.BaseForm, list[str]]],
) -> tuple[str, int]:
    """Return what is said of forms that show what was overwritten, and its level.

    Args:
        forms_with_names: the forms of a page, with the fields that show it.
    """
    labels = [
        isolate(capfirst(form[name].label))
        for form, names in forms_with_names
        for name in names
    ]
    if not labels:
        return gettext("There is nothing to put back any more."), constants.INFO
    text = gettext(
        "%(fields)s: the form shows what was overwritten. Save, and it is put back."
    )
    return text % {"fields": listed(labels)}, constants.WARNING


def _names(conflicts: Iterable[FormConflict], which: str) -> str:
    """Return what people call the fields, with the row in front if it is a child."""
    names = [
        gettext("%(row)s: %(field)s")
        % {"row": isolate(saved_object(c)), "field": isolate(label(c, name))}
        if c.formset
        else isolate(label(c, name))
        for c in conflicts
        if not c.deleted
        for name in getattr(c, which)
    ]
    return listed(names)


def _titles(rows: Iterable[models.Model]) -> str:
    """Return what people call rows; of many, only how many more there are."""
    rows = list(rows)
    titles = [row_title(row) for row in rows[:MANY_TITLES]]
    if more := len(rows) - len(titles):
        titles.append(ngettext("%(n)s more", "%(n)s more", more) % {"n": more})
    return listed(titles)
