"""What is said about a form that can't be saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from django import forms
from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext_lazy as _

from optilock.forms.token_field import TOKEN

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

__all__ = [
    "CHOOSE_AGAIN",
    "CHOOSE_AGAIN_OR_KEEP",
    "CHOOSE_AGAIN_OR_LEAVE",
    "CODES",
    "CONFLICT",
    "DELETED",
    "HIDDEN",
    "KEY_CHANGED",
    "NO_ACTION",
    "TOO_OLD",
    "TYPE_AGAIN",
    "hide_ours",
    "not_ours",
    "too_old",
]

_Error = TypeVar("_Error")

#: The codes of errors about a conflict.
CODES = ("conflict", "too_old", "deleted")

CONFLICT = _(
    "Somebody else changed this while you were editing. Nothing was saved yet."
)

TOO_OLD = _(
    "This page is too old, incomplete, or isn't the one that was opened. Nothing was "
    "saved yet: compare what you typed with what is stored now, and save again."
)

DELETED = _("This was deleted while you were editing. Nothing was saved.")

HIDDEN = _("This is not there any more, or not visible to you. Nothing was saved.")

KEY_CHANGED = _("This identifies what is being edited, and can't be changed here.")

NO_ACTION = _("No action was chosen, and nothing was saved yet.")

CHOOSE_AGAIN = _("You had chosen %(file)s: choose it again.")

CHOOSE_AGAIN_OR_KEEP = _(
    "You had chosen %(file)s: choose it again, or keep the stored file."
)

CHOOSE_AGAIN_OR_LEAVE = _(
    "You had chosen %(file)s: choose it again, or save without it."
)

TYPE_AGAIN = _("Type this again: a page never gets secret values.")


def not_ours(errors: Iterable[_Error]) -> list[_Error]:
    """Return the errors that aren't about a conflict."""
    return [error for error in errors if getattr(error, "code", None) not in CODES]


def hide_ours(form: forms.BaseForm) -> None:
    """Show no errors that the questions of a page tell already.

    The form stays invalid all the same. Developers are still told what is missing.
    """
    errors = form.errors.get(NON_FIELD_ERRORS)
    if errors is None or (
        settings.DEBUG and form.has_error(NON_FIELD_ERRORS, "too_old")
    ):
        return
    errors.data = not_ours(errors.data)


def too_old(form: forms.BaseForm, message: _StrOrPromise = TOO_OLD) -> ValidationError:
    """Return the error of a form, or formset, without a token that can be trusted.

    With ``DEBUG``, it tells developers that their template has forgotten the token.
    """
    name = form.add_prefix(TOKEN)
    if settings.DEBUG and name not in form.data:
        message = (
            f"{message} (DEBUG: the hidden input “{name}” wasn't sent. The template "
            f"has to render the form's hidden fields, or the formset's management "
            f"form; {{{{ form }}}} and {{{{ formset }}}} do.)"
        )
    return ValidationError(message, code="too_old")
