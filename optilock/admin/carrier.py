"""A token on a confirmation page whose template has no place for one."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME

from optilock.forms import TOKEN

_CARRIER = "optilock:"


class Carrier:
    """A token among the selected objects of a confirmation page.

    All that the page's template takes from an object is its primary key.
    """

    def __init__(self, token: str) -> None:
        self.pk = _CARRIER + token


def take_carrier(request: Any) -> None:
    """Move a posted carrier's token to where the tokens of lists are posted."""
    if request.method != "POST":
        return
    selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
    carriers = [pk for pk in selected if pk.startswith(_CARRIER)]
    if carriers:
        post = request.POST.copy()
        post.setlist(
            ACTION_CHECKBOX_NAME, [pk for pk in selected if pk not in carriers]
        )
        post[TOKEN] = carriers[-1].removeprefix(_CARRIER)
        request.POST = post
