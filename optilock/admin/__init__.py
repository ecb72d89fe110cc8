"""Versioned models in Django's admin.

Whoever loses the race sees who changed what, keeps what they typed, and
decides.
"""

from __future__ import annotations

from django.contrib import admin

from optilock.admin.actions import ActionsMixin
from optilock.admin.base import VersionedAdminBase
from optilock.admin.change import ChangeFormMixin
from optilock.admin.deleting import DeletingMixin
from optilock.admin.drafts import DraftMixin
from optilock.admin.inlines import (
    VersionedInlineMixin,
    VersionedStackedInline,
    VersionedTabularInline,
)
from optilock.admin.lists import ListMixin
from optilock.admin.poll import PollMixin
from optilock.admin.reverts import RevertMixin
from optilock.admin.undo import UndoMixin

__all__ = [
    "VersionedAdminMixin",
    "VersionedInlineMixin",
    "VersionedModelAdmin",
    "VersionedStackedInline",
    "VersionedTabularInline",
]


class VersionedAdminMixin(
    DraftMixin,
    UndoMixin,
    PollMixin,
    ChangeFormMixin,
    DeletingMixin,
    ListMixin,
    ActionsMixin,
    RevertMixin,
    VersionedAdminBase,
):
    """For a ``ModelAdmin`` of a versioned model: ``(VersionedAdminMixin, ModelAdmin)``.

    It works for a model without a version as well, if its inlines have one.

    Attributes:
        optilock_ask_always: show the conflict page for every change somebody
            else made to a field of the form, whether or not it overlaps.
        optilock_merge_together: fields that only make sense together, as in
            ``[("amount", "currency")]``. By default the model's
            ``merge_together``.
        optilock_merge_decisions: what to do with fields that both changed, as in
            ``{"data": "keys", "note": "ask"}``. For fields that aren't named, the
            model's ``merge_decisions``.
        optilock_secret_fields: names of fields whose values are neither put in
            tokens nor shown when they conflict; a ``PasswordInput``'s needn't be
            named.
        optilock_compare_also: names of fields that aren't on the form, but count: if
            somebody else has changed one, as a soft delete does, the person is
            asked. To keep theirs is to save nothing.
        optilock_actions: names of actions that ask before they touch rows that
            were changed since the list was shown. "delete_selected" always
            does.
        optilock_drafts: whether the browser keeps what is typed until it is saved,
            in its tab, and asks before a page is left where something isn't.
        optilock_poll: every how many seconds an open form asks whether somebody
            else has saved; ``None`` never asks.
        optilock_tell_overwritten: whether somebody whose values another person has
            overwritten is told so, on their next page of such an admin. Needs
            ``"optilock.log"`` in ``INSTALLED_APPS``.
        optilock_presence: whether an open form says who else has it open. It asks
            every 15 seconds, unless ``optilock_poll`` says otherwise, and needs
            ``"optilock.presence"`` in ``INSTALLED_APPS``.
    """


class VersionedModelAdmin(VersionedAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """A ``ModelAdmin`` for a versioned model; see ``VersionedAdminMixin``."""
