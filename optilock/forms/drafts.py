"""What is typed is kept in the tab of the browser until it is saved.

A session may end, a token be too old, a window be left by mistake. The script keeps it;
what is here tells it what to keep, and what was saved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from django import forms
from django.conf import settings
from django.forms.widgets import Script
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin
    from optilock.forms.formset import VersionedFormSetMixin

__all__ = ["draft_media", "drafts_of", "forget_draft"]

#: Says which drafts are saved. It waits for a page with the script.
_COOKIE = "optilock_saved"
_COOKIE_SECONDS = 24 * 3600
#: How many saved drafts the cookie names.
_MANY = 10

_Response = TypeVar("_Response", bound=HttpResponseBase)


def draft_media(
    request: HttpRequest, *parts: VersionedFormMixin | VersionedFormSetMixin
) -> forms.Media:
    """Return a script that keeps what is typed into a form until it is saved.

    It stays in the tab of the browser, and is offered to the same user if it wasn't
    saved. Passwords, hidden inputs, files and ``secret_fields`` aren't kept.

    Args:
        request: the request for the page.
        parts: the forms and formsets inside the page's ``<form>``, one of which
            carries a token.
    """
    secret: set[str] = set()
    for part in parts:
        form = part.form if isinstance(part, forms.BaseFormSet) else part
        secret.update(form.secret_fields)
    return drafts_of(request, secret=secret, posted=any(p.is_bound for p in parts))


def drafts_of(
    request: HttpRequest, *, secret: Iterable[str], posted: bool, form: str = ""
) -> forms.Media:
    """Return the script.

    Args:
        request: the request for the page.
        secret: names of fields that aren't to be kept.
        posted: whether the page shows what was posted.
        form: a CSS selector of the form; by default the one with a token.
    """
    key = str(getattr(getattr(request, "user", None), "pk", ""))
    attributes: dict[str, str | bool] = {
        # Whoever logs in next in the same tab is offered nothing.
        "data-user": salted_hmac("optilock.draft", key, algorithm="sha256").hexdigest(),
        "data-form": form,
        "data-secret": " ".join(sorted(secret)),
        "data-posted": posted,
        "data-told": gettext(
            "You typed this at %(time)s, and it was not saved: %(fields)s."
        ),
        "data-put-back": gettext("Put it back"),
        "data-discard": gettext("Discard it"),
        "data-lost": gettext("There is no place for this any more:"),
    }
    script = Script("optilock/draft.js", **attributes)
    return forms.Media(
        css={"all": ["optilock/conflict.css"]},
        js=["optilock/token.js", script],  # type: ignore[list-item]  # the stubs have no scripts yet
    )


def forget_draft(request: HttpRequest, response: _Response) -> _Response:
    """Tell the browser that what was sent is saved, and return the response.

    Args:
        request: the request that has saved the form.
        response: what answers it, a redirect for instance.
    """
    posted = request.POST.get("optilock_draft", "")
    if re.fullmatch("[a-z0-9]{1,32}", posted):
        known = request.COOKIES.get(_COOKIE, "").split(".")
        known = [one for one in known if re.fullmatch("[a-z0-9]{1,32}", one)]
        response.set_cookie(
            _COOKIE,
            ".".join([*known, posted][-_MANY:]),
            max_age=_COOKIE_SECONDS,
            secure=settings.SESSION_COOKIE_SECURE,
            samesite="Lax",
        )
    return response
