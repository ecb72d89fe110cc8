"""What a person overwrites: told to receivers, and kept, so that it can be put back.

What was overwritten is kept in the session of whoever did it: it is nobody else's
business, may be long, and is gone with the session. To put it back is to open the form
with it, and to save that like any change. The form's token speaks of what was written
over it; so what a third person has saved since is asked about.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django import forms
from django.contrib.sessions.backends import signed_cookies
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.encoding import escape_uri_path

from optilock import signals
from optilock.forms import FormConflict, tokens
from optilock.forms.form import VersionedFormMixin
from optilock.panel import Author

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class _Row(TypedDict):
        model: str
        pk: str
        theirs: dict[str, tokens.Frozen]
        mine: dict[str, tokens.Frozen]

    class _Kept(TypedDict):
        id: str
        when: int
        rows: list[_Row]


__all__ = ["UNDO", "Overwritten", "address", "note_overwritten"]

#: Names what is to be put back, in the URL of a form.
UNDO = "optilock_undo"

#: How long, and how many of them, can be put back.
_MILLISECONDS = 24 * 3600 * 1000
_MOST = 10

#: How many characters are kept in a session; and in one that is a cookie.
_CHARACTERS = 500_000
_COOKIE_CHARACTERS = 1_000


def address(request: HttpRequest, path: str = "", undo: str = "") -> str:
    """Return the address of a form, to be opened anew.

    Args:
        request: the request, which may be about something that was put back.
        path: the form's path, if that isn't the request's any more.
        undo: what is to be put back, if anything is.
    """
    query = request.GET.copy()
    query.pop(UNDO, None)
    if undo:
        query[UNDO] = undo
    path = path or escape_uri_path(request.path)
    return f"{path}?{query.urlencode()}".removesuffix("?")


def note_overwritten(
    request: HttpRequest, conflicts: Iterable[FormConflict], author: Author
) -> str:
    """Tell receivers what was overwritten, and keep it for a while.

    Args:
        request: the request that has saved it.
        conflicts: those of its page.
        author: who had saved what was overwritten.

    Returns:
        What stands in a URL to put it back; empty if it can't be.
    """
    conflicts = [one for one in conflicts if one.overwritten and not one.deleted]
    for conflict in conflicts:
        using = router.db_for_write(conflict.model, instance=conflict.instance)
        tell = partial(_tell, request, conflict, author, using)
        transaction.on_commit(tell, using=using, robust=True)
    rows = [row for conflict in conflicts if (row := _row(conflict))["theirs"]]
    return _keep(request, rows) if rows else ""


def _tell(
    request: HttpRequest, conflict: FormConflict, author: Author, using: str
) -> None:
    user = getattr(request, "user", None)
    signals.overwritten.send_robust(
        conflict.model,
        instance=conflict.instance,
        pk=conflict.instance.pk,
        version=tokens.look(conflict.instance).version,
        fields={name: conflict[name] for name in conflict.overwritten},
        user=user if user and user.is_authenticated else None,
        author=author,
        request=request,
        using=using,
    )


def _row(conflict: FormConflict) -> _Row:
    """Return what was overwritten in a row, and what stands there now."""
    state = conflict.form._optilock
    names = [
        name
        for name in conflict.overwritten
        if not state.comparison.is_secret(name)
        and name not in state.comparison.unseen
        # No page can fill in a file.
        and not isinstance(conflict.form.fields[name], forms.FileField)
    ]
    written = state.next_row().base
    return {
        "model": conflict.model._meta.label_lower,
        "pk": tokens.key(conflict.instance.pk),
        "theirs": {
            name: tokens.freeze(
                conflict[name].field, conflict.merges.as_theirs(conflict[name])
            )
            for name in names
        },
        "mine": {name: written[name] for name in names if name in written},
    }


def _keep(request: HttpRequest, rows: list[_Row]) -> str:
    if (session := getattr(request, "session", None)) is None:
        return ""
    now = time.time_ns() // 10**6
    kept: _Kept = {"id": secrets.token_urlsafe(8), "when": now, "rows": rows}
    in_cookie = isinstance(session, signed_cookies.SessionStore)
    room = _COOKIE_CHARACTERS if in_cookie else _CHARACTERS
    entries = [kept, *_entries(request)][:_MOST]
    while entries and len(json.dumps(entries)) > room:
        entries.pop()
    session[UNDO] = entries
    return kept["id"] if entries else ""


def _entries(request: HttpRequest) -> list[_Kept]:
    """Return what can be put back, the latest first."""
    oldest = time.time_ns() // 10**6 - _MILLISECONDS
    session = getattr(request, "session", {})
    entries: list[_Kept] = session.get(UNDO, [])
    return [one for one in entries if one["when"] >= oldest]


@dataclass(frozen=True)
class Overwritten:
    """What was overwritten, to be put back into forms that are opened.

    Attributes:
        kept: what the session knows of it.
    """

    kept: _Kept | None

    @classmethod
    def of(cls, request: HttpRequest) -> Overwritten | None:
        """Return what a page is opened to put back, ``None`` if it isn't."""
        name = request.GET.get(UNDO)
        if not name or request.method != "GET":
            return None
        found = (one for one in _entries(request) if one["id"] == name)
        return cls(next(found, None))

    def put_into(self, form: forms.BaseForm) -> list[str]:
        """Let a form show it, as far as its user may edit it; return the fields.

        What is there already is left out.
        """
        kept = self.kept
        if not isinstance(form, VersionedFormMixin) or form.is_bound or not kept:
            return []
        state, names = form._optilock, []
        for name, theirs, mine in _values_of(kept, form):
            comparison = state.comparison
            if name not in comparison.fields or comparison.is_secret(name):
                continue
            field = comparison.fields[name]
            if tokens.freeze(field, comparison.saved(name)) == theirs:
                continue
            names.append(name)
            state.show_overwritten(name, theirs, mine, when=kept["when"])
        return names


def _values_of(
    kept: _Kept, form: VersionedFormMixin
) -> Iterator[tuple[str, tokens.Frozen, tokens.Frozen]]:
    row = form._meta.model._meta.label_lower, tokens.key(form.instance.pk)
    for one in kept["rows"]:
        if (one["model"], one["pk"]) == row:
            for name in one["mine"].keys() & one["theirs"].keys():
                yield name, one["theirs"][name], one["mine"][name]
