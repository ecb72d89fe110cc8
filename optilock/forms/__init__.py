"""Model forms and formsets that notice what others saved while they were open."""

from __future__ import annotations

from optilock.forms.conflict import FormConflict
from optilock.forms.drafts import draft_media, forget_draft
from optilock.forms.form import VersionedFormMixin, VersionedModelForm
from optilock.forms.formset import (
    VersionedFormSetMixin,
    VersionedInlineFormSet,
    VersionedModelFormSet,
)
from optilock.forms.recreate import get_opened_or_404

__all__ = [
    "FormConflict",
    "VersionedFormMixin",
    "VersionedFormSetMixin",
    "VersionedInlineFormSet",
    "VersionedModelForm",
    "VersionedModelFormSet",
    "draft_media",
    "forget_draft",
    "get_opened_or_404",
]
