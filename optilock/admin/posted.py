"""What is read from a request, and what is moved to where Django looks for it.

A token has to travel with a confirmation, whose template has no place for it. And Enter
presses the first button of a form. In a change list, and from Django 6.1 on in a
change form, that is the button that runs an action. Where no action is chosen, Django
loads the page again, without what was typed.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.http import HttpRequest, QueryDict

from optilock.forms import tokens
from optilock.forms.token_field import TOKEN

__all__ = [
    "CHANGED",
    "CHANGE_FORM",
    "Carrier",
    "action_name",
    "action_prefix",
    "drop_what_is_no_key",
    "hold_without_action",
    "is_for_all",
    "is_on_hold",
    "is_saved",
    "pressed_button",
    "read_token",
    "take_carrier",
    "to_field",
]

#: What the inputs of the action form in a change form begin with.
CHANGE_FORM = "CHANGE_FORM-"

#: The rows that were changed, which a confirmation names.
CHANGED = "optilock_changed"

_CARRIER = "optilock:"

_SAVE_BUTTONS = ("_continue", "_addanother", "_saveasnew", "_save")


class Carrier:
    """A token among the selected objects of a confirmation page.

    All that the page's template takes from an object is its primary key.
    """

    def __init__(self, token: str) -> None:
        self.pk = _CARRIER + token


def take_carrier(request: HttpRequest) -> None:
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
        _replace_post(request, post)


def hold_without_action(request: HttpRequest, *, prefix: str = "") -> None:
    """Let a form be shown again, as if it was to be saved and had an error.

    Args:
        request: the request.
        prefix: what the inputs of the action form begin with.
    """
    if not is_saved(request) and not action_name(request, prefix):
        vars(request)["_optilock_on_hold"] = True
        post = request.POST.copy()
        post.pop(f"{prefix}action", None)
        post["_save"] = ""
        _replace_post(request, post)


def is_saved(request: HttpRequest) -> bool:
    """Return whether a button that saves was pressed."""
    return any(name in request.POST for name in _SAVE_BUTTONS)


def pressed_button(request: HttpRequest) -> str:
    """Return the name of the button that saves, so that the next one means the same."""
    return next((name for name in _SAVE_BUTTONS if name in request.POST), "_save")


def is_on_hold(request: HttpRequest) -> bool:
    """Return whether the form is to be shown again."""
    return getattr(request, "_optilock_on_hold", False)


def action_name(request: HttpRequest, prefix: str) -> str:
    """Return the name of the action whose button was pressed, as Django does."""
    names = request.POST.getlist(f"{prefix}action")
    try:
        return names[int(request.POST.get("index", 0))]
    except (IndexError, ValueError):
        return names[0] if names else ""


def read_token(
    parameters: Mapping[str, str], model: type[models.Model]
) -> tokens.Token | None:
    """Return the token that was sent, ``None`` if it can't be trusted."""
    return tokens.trusted(parameters.get(TOKEN), model)


def drop_what_is_no_key(request: HttpRequest, model: type[models.Model]) -> None:
    """Leave out of the selection what can't be a key, and would be an error."""
    for name in (ACTION_CHECKBOX_NAME, CHANGED):
        posted = request.POST.getlist(name)
        keys = [text for text in posted if tokens.is_key(model, text)]
        if keys != posted:
            post = request.POST.copy()
            post.setlist(name, keys)
            _replace_post(request, post)


def _replace_post(request: HttpRequest, post: QueryDict) -> None:
    request.POST = post  # type: ignore[assignment]  # Django takes any QueryDict here


def is_for_all(request: HttpRequest) -> bool:
    """Return whether an action is to run on all rows of the list, not only a page's."""
    return request.POST.get("select_across") == "1"


def action_prefix(kwargs: Mapping[str, object]) -> str:
    """Return what the inputs of an action form begin with, in a change form."""
    location = getattr(kwargs.get("action_location"), "value", "")
    return CHANGE_FORM if location == "CHANGE_FORM" else ""


def to_field(request: HttpRequest) -> str | None:
    """Return the name of the field that finds the object, ``None`` for its key."""
    return request.POST.get("_to_field", request.GET.get("_to_field")) or None
