"""``{% load optilock %}``: the questions of a conflict, in any template."""

from __future__ import annotations

from django import forms, template
from django.db import models
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from optilock import panel
from optilock.forms import (
    VersionedFormMixin,
    VersionedFormSetMixin,
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
)
from optilock.panel import NOBODY, Author

__all__ = []

register = template.Library()


@register.simple_tag(takes_context=True)
def conflict(
    context: Context,
    *pieces: object,
    author: Author = NOBODY,
    subject: object = None,
    reload_url: str | None = None,
    button: str = "",
) -> SafeString:
    """Show what somebody else has changed, and ask what is to become of it.

    ``{% conflict form %}``, or ``{% conflict form lines %}`` for all that is on a page,
    formsets too; inside the ``<form>``, in front of its inputs. It shows nothing as
    long as there is nothing to decide.

    Args:
        pieces: the forms and formsets, which have to be versioned ones.
        author: who it was, an ``optilock.panel.Author``.
        subject: the object the page is about, by default that of the first form; or
            what it is called, as in "order".
        reload_url: where to begin again; by default the URL of the request.
        button: the name of the button that saves, if that matters to the view.
    """
    versioned = [_versioned(one) for one in pieces]
    if not versioned:
        raise TypeError("{% conflict %} needs a form: {% conflict form %}.")
    # One that was saved may be shown again, with all that was decided.
    if all(one.is_valid() for one in versioned) or not panel.asks(versioned):
        return SafeString("")
    panel.ask_for_files(versioned)
    conflicts = panel.find_conflicts(versioned)
    if reload_url is None and "request" in context:
        reload_url = context["request"].get_full_path()
    html = panel.render(
        conflicts,
        subject=_subject(versioned[0]) if subject is None else subject,
        author=author,
        added=panel.find_added(versioned),
        too_old=panel.is_too_old(versioned),
        reload_url=reload_url or "",
        button=button,
        can_recreate=any(
            one.deleted and one.can_recreate for one in conflicts if not one.formset
        ),
    )
    return format_html("{}{}", html, panel.MEDIA)


def _versioned(piece: object) -> VersionedFormMixin | VersionedFormSetMixin:
    """Return a form or formset, if it would notice a conflict at all."""
    if isinstance(piece, VersionedFormMixin | VersionedFormSetMixin):
        return piece
    if isinstance(piece, forms.BaseInlineFormSet):
        hint = f"Make it with formset={VersionedInlineFormSet.__name__}."
    elif isinstance(piece, forms.BaseFormSet):
        hint = f"Make it with formset={VersionedModelFormSet.__name__}."
    else:
        hint = f"Give it a {VersionedModelForm.__name__}, or a versioned formset."
    what = repr(piece) if piece in ("", None) else type(piece).__name__
    raise TypeError(
        f"{{% conflict %}} was given {what}, which has no conflicts. {hint}"
    )


def _subject(piece: VersionedFormMixin | VersionedFormSetMixin) -> object:
    if isinstance(piece, VersionedFormMixin):
        saved = piece.instance
        return panel.saved_object(piece.conflict) if piece.conflict else saved
    model: type[models.Model] = piece._optilock.model
    return getattr(piece, "instance", model._meta.verbose_name)
