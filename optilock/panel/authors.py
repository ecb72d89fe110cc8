"""Who made a change, and how that is said."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from optilock.panel.isolating import isolate

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

__all__ = [
    "NOBODY",
    "Author",
    "Sentences",
    "moment",
    "tell_headline",
    "tell_open",
    "tell_who",
]

# In some languages, Django's own words for a length of time have the wrong case in
# front of "ago".
_AGO: dict[str, Promise] = {
    "year": ngettext_lazy("%(num)d year ago", "%(num)d years ago", "num"),
    "month": ngettext_lazy("%(num)d month ago", "%(num)d months ago", "num"),
    "week": ngettext_lazy("%(num)d week ago", "%(num)d weeks ago", "num"),
    "day": ngettext_lazy("%(num)d day ago", "%(num)d days ago", "num"),
    "hour": ngettext_lazy("%(num)d hour ago", "%(num)d hours ago", "num"),
    "minute": ngettext_lazy("%(num)d minute ago", "%(num)d minutes ago", "num"),
}


#: How many people are named.
_MANY = 3


@dataclass(frozen=True)
class Author:
    """Who made a change, and when.

    Attributes:
        name: the person's name; empty if it isn't known.
        when: the moment; ``None`` if it isn't known.
        is_self: whether it was the person who is looking at the page.
        user: the person's user, to be counted or told; ``None`` if it isn't known.
    """

    name: str = ""
    when: datetime.datetime | None = None
    is_self: bool = False
    user: AbstractBaseUser | None = None


#: Stands for somebody unknown.
NOBODY = Author()


class Sentences(NamedTuple):
    """A sentence for each person it may be about.

    Other languages don't only change the subject.
    """

    own: str | Promise
    known: str | Promise
    unknown: str | Promise

    def about(self, author: Author) -> str:
        if author.is_self:
            return str(self.own)
        return str(self.known if author.name else self.unknown)


_NOT_THERE = _("“%(object)s” is not there any more, or not visible to you.")

_CHANGED = Sentences(
    own=_("You changed “%(object)s” in another window %(when)s."),
    known=_("%(user)s changed “%(object)s” %(when)s, after you opened this page."),
    unknown=_("“%(object)s” was changed after you opened this page."),
)
_DELETED = Sentences(
    own=_("%(user)s deleted “%(object)s” %(when)s."),
    known=_("%(user)s deleted “%(object)s” %(when)s."),
    unknown=_NOT_THERE,
)
_CHANGED_MEANWHILE = Sentences(
    own=_("You saved this %(name)s in another window %(when)s"),
    known=_("%(user)s saved this %(name)s %(when)s, while you were editing"),
    unknown=_("This %(name)s was changed while you were editing"),
)
_DELETED_MEANWHILE = Sentences(
    own=_("%(user)s deleted “%(object)s” %(when)s, while you were editing"),
    known=_("%(user)s deleted “%(object)s” %(when)s, while you were editing"),
    unknown=_NOT_THERE,
)


def tell_who(subject: object, author: Author, *, deleted: bool = False) -> str:
    """Return a sentence that says who changed something, and when."""
    sentences = _DELETED if deleted else _CHANGED
    return sentences.about(author) % _values(subject, author)


def tell_headline(subject: object, author: Author, *, deleted: bool = False) -> str:
    """Return who was faster, and when, for the head of the page that asks.

    Args:
        subject: the object the page is about; or what it is called, as in "order".
        author: who it was.
        deleted: whether the object is deleted.
    """
    sentences = _DELETED_MEANWHILE if deleted else _CHANGED_MEANWHILE
    return sentences.about(author) % _values(subject, author)


def _values(subject: object, author: Author) -> dict[str, str]:
    name = subject._meta.verbose_name if isinstance(subject, models.Model) else subject
    return {
        "object": isolate(subject),
        "name": isolate(name),
        "user": isolate(author.name),
        "when": _ago(author.when),
    }


def tell_open(people: Sequence[Author]) -> str:
    """Return sentences that say who has a page open, and since when; empty for nobody.

    Args:
        people: each with the moment when the page was opened.
    """
    said = [_tell_open(one) for one in people[:_MANY]]
    if more := len(people) - len(said):
        sentence = ngettext(
            "%(n)s more person has this open.",
            "%(n)s more people have this open.",
            more,
        )
        said.append(sentence % {"n": more})
    return " ".join(said)


def _tell_open(person: Author) -> str:
    user = isolate(person.name)
    if person.when is None or _is_recent(person.when):
        return gettext("%(user)s has just opened this.") % {"user": user}
    # Translators: %(time)s is a length of time in Django's words, as in "4 minutes".
    sentence = gettext("%(user)s has had this open for %(time)s.")
    return sentence % {"user": user, "time": timesince(person.when, depth=1)}


def moment(milliseconds: int) -> datetime.datetime:
    """Return the moment so many milliseconds after the epoch, as a token has them.

    Without ``USE_TZ`` it is naive, like those in the database.
    """
    utc = datetime.timezone.utc
    found = datetime.datetime.fromtimestamp(milliseconds / 1000, tz=utc)
    return found if settings.USE_TZ else timezone.make_naive(found)


def _is_recent(when: datetime.datetime) -> bool:
    return timezone.now() - when < datetime.timedelta(minutes=1)


def _ago(when: datetime.datetime | None) -> str:
    if when is None or _is_recent(when):
        return gettext("a moment ago")
    return timesince(when, time_strings=_AGO, depth=1)  # type: ignore[arg-type]  # lazy ones are strings to it, too
