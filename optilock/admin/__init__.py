"""Versioned models in Django's admin.

Whoever loses the race sees who changed what, keeps what they typed, and
chooses.
"""

from __future__ import annotations

from optilock.admin.options import (
    VersionedAdminMixin,
    VersionedInlineMixin,
    VersionedModelAdmin,
    VersionedStackedInline,
    VersionedTabularInline,
)

__all__ = [
    "VersionedAdminMixin",
    "VersionedInlineMixin",
    "VersionedModelAdmin",
    "VersionedStackedInline",
    "VersionedTabularInline",
]
