"""Enter, which presses the first button of a form.

In a change list, and from Django 6.1 on in a change form, that is the button that
runs an action. Where no action is chosen, Django loads the page anew, without what
was typed.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

_SAVE_BUTTONS = {"_save", "_saveasnew", "_continue", "_addanother"}


def hold_without_action(request: Any, *, prefix: str = "") -> None:
    """Let a form be shown again, as if it was to be saved and had an error.

    Args:
        request: the request.
        prefix: what the inputs of the action form begin with.
    """
    if _SAVE_BUTTONS.isdisjoint(request.POST) and not action_name(request, prefix):
        request._optilock_on_hold = True
        request.POST = request.POST.copy()
        del request.POST[f"{prefix}action"]
        request.POST["_save"] = ""


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
