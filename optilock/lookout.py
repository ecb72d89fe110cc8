"""Knows what happens to a row that somebody has open, and tells the page's script.

The script asks now and then. It is told whether somebody else has saved the row, or
has it open, and can put new values where nothing was typed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

from django import forms
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.http import HttpRequest, JsonResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext

from optilock import panel
from optilock.forms import tokens
from optilock.forms.form import VersionedFormMixin
from optilock.forms.renewal import changed_fields, renew
from optilock.forms.token_field import TOKEN
from optilock.panel import Author
from optilock.presence import people
from optilock.rows import row_exists

__all__ = ["Lookout", "WatchedInput", "is_question"]

#: What the script wants: "look", "show" (the new values), or "leave".
_QUESTION = "optilock_poll"

#: The version that it has been told of, and the names of inputs that were changed.
_TOLD, _TOUCHED = "optilock_told", "optilock_touched"


def is_question(request: HttpRequest) -> bool:
    """Return whether a request comes from the script of an open page."""
    return request.method == "POST" and _QUESTION in request.POST


class WatchedInput(forms.HiddenInput):
    """The hidden input of a token, with the script that asks."""

    class Media:
        css: ClassVar = {"all": ["optilock/conflict.css"]}
        js = ("optilock/token.js", "optilock/poll.js")


class Lookout:
    """Knows what happens to a row that somebody has open.

    Args:
        request: the request, of the page or of its script.
        obj: the row as it is now, which whoever asks may see; unsaved if it is gone.
        seconds: how often the page asks.
        presence: whether to say who has it open.
        announces: whether whoever asks can change it, and so concerns others.
        author: returns who changed it since a moment, in milliseconds since the epoch.
        name: returns what a user is called, or an empty text.
        prefix: that of the form.
    """

    def __init__(
        self,
        request: HttpRequest,
        obj: models.Model,
        *,
        author: Callable[[int | None], Author],
        name: Callable[[AbstractBaseUser], str],
        seconds: int,
        presence: bool,
        announces: bool = True,
        prefix: str | None = None,
    ) -> None:
        self.request, self.obj = request, obj
        self.author, self.name = author, name
        self.seconds, self.announces = seconds, announces
        self._token_name = f"{prefix}-{TOKEN}" if prefix else TOKEN
        user = getattr(request, "user", None)
        #: Whoever isn't logged in has no name, and learns none.
        self.user: AbstractBaseUser | None = (
            user if presence and user and user.is_authenticated else None
        )

    @cached_property
    def others(self) -> list[Author]:
        """Who else has the row open."""
        if self.user is None or self.obj._state.adding:
            return []
        return people.others(self.obj, self.user, self.name)

    def line(self) -> SafeString:
        """Return what is said when the page is opened, as HTML; empty for nothing."""
        if not self.others:
            return SafeString()
        return format_html(
            '<div id="optilock-banner" class="optilock-banner">'
            '<div role="status" aria-live="polite"><p class="optilock-people">{}</p>'
            "</div></div>",
            panel.tell_open(self.others),
        )

    def attributes(self, url: str, form: forms.BaseForm) -> dict[str, object]:
        """Return what tells the page's script where to ask, and what to say.

        Args:
            url: where it asks.
            form: the page's.
        """
        texts = {
            "gone": gettext(panel.OUT_OF_SIGHT),
            "kept": gettext("What you have typed is still here."),
            "show": gettext("Show the new values"),
            "reload": gettext("Reload the page"),
            "lost": gettext("What you have typed here would be lost."),
            "anyway": gettext("Reload all the same"),
            "cancel": gettext("Cancel"),
            "close": gettext("Close this notice"),
        }
        return {
            "data-optilock-poll": url,
            "data-optilock-seconds": self.seconds,
            "data-optilock-presence": str(bool(self.user)).lower(),
            "data-optilock-show": str(_shows_what_is_saved(form)).lower(),
            "data-optilock-texts": json.dumps(texts, ensure_ascii=False),
        }

    # --- answering -------------------------------------------------------

    def answer(self, make_form: Callable[[], forms.BaseForm]) -> JsonResponse:
        """Return the answer to what the script has asked.

        Args:
            make_form: returns a form for the row as it is now, as if it were just
                opened; called only if there is something to say about its fields.
        """
        question = self.request.POST[_QUESTION]
        self._note(is_open=question != "leave" and not self.obj._state.adding)
        if question == "leave":
            return JsonResponse({})
        if self.obj._state.adding:
            return JsonResponse(self._gone())
        version = tokens.look(self.obj).version
        answer: dict[str, object] = {"version": version}
        if question == "show":
            answer |= self._show(make_form())
        elif self._opened.version != version and self._told != str(version):
            answer |= self._news(make_form())
        if self.user is not None:
            answer["who"] = [person.name for person in self.others]
            answer["people"] = panel.tell_open(self.others)
        return JsonResponse(answer)

    @cached_property
    def _token(self) -> tokens.Token:
        posted = self.request.POST.get(self._token_name)
        return tokens.trusted(posted, type(self.obj)) or tokens.Token({})

    @property
    def _opened(self) -> tokens.OpenedRow:
        return self._token.row(self.obj.pk)

    @property
    def _since(self) -> int | None:
        # Without the token of a page, nobody is told who saved after it was opened.
        return None if self._opened is tokens.UNSEEN else self._token.loaded

    @property
    def _told(self) -> str | None:
        return self.request.POST.get(_TOLD)

    def _note(self, *, is_open: bool) -> None:
        """Note that the page is open, or isn't any more."""
        if self.user is None or self._since is None or not self.announces:
            return
        if is_open:
            people.announce(self.obj, self.user, self._since, seconds=self.seconds)
        else:
            people.withdraw(self.obj, self.user, self._since)

    def _gone(self) -> dict[str, object]:
        """Tell of a row that isn't there any more, or only not for whoever asks."""
        if row_exists(type(self.obj), self.obj.pk):
            text = gettext(panel.OUT_OF_SIGHT)
        else:
            who = self.author(self._since)
            text = panel.tell_who(panel.name_of(self.obj), who, deleted=True)
        return {"gone": True, "text": text}

    def _news(self, form: forms.BaseForm) -> dict[str, object]:
        """Tell who has saved since the page was opened, and what."""
        said = [panel.tell_who(self.obj, self.author(self._since))]
        names = []
        if isinstance(form, VersionedFormMixin):
            names = changed_fields(form, self._opened)
            can_show = bool(renew(form, self._opened, touched=()).shown)
        if names:
            said.append(
                gettext("What changed: %(fields)s.") % {"fields": _labels(form, names)}
            )
        advice = gettext("You can go on, and decide when you save.")
        return {
            "text": " ".join(said),
            "advice": advice if self.announces else "",
            "show": bool(names) and can_show,
        }

    def _show(self, form: forms.BaseForm) -> dict[str, object]:
        """Return new values for inputs that weren't touched, and a token to match."""
        if not isinstance(form, VersionedFormMixin):
            return {}
        touched = self.request.POST.getlist(_TOUCHED)
        renewal = renew(form, self._opened, touched=touched)
        rows = {**self._token.rows, tokens.key(self.obj.pk): renewal.row}
        said = []
        if renewal.shown:
            fields = _labels(form, renewal.shown)
            said.append(gettext("Shown now: %(fields)s.") % {"fields": fields})
        if renewal.left:
            fields = _labels(form, renewal.left)
            said.append(gettext("Still as it was: %(fields)s.") % {"fields": fields})
        return {
            "text": " ".join(said),
            "inputs": {
                form.add_prefix(name): form[name].as_widget() for name in renewal.shown
            },
            "token": replace(self._token, rows=rows).sign(type(self.obj)),
        }


def _shows_what_is_saved(form: forms.BaseForm) -> bool:
    """Return whether an input that nobody has touched has nothing to be kept."""
    puts_back = isinstance(form, VersionedFormMixin) and form._optilock.written_over
    return not form.is_bound and not puts_back


def _labels(form: forms.BaseForm, names: list[str]) -> str:
    """Return what people call fields, as one text."""
    labels = [panel.isolate(capfirst(str(form[name].label or name))) for name in names]
    return panel.listed(labels)
