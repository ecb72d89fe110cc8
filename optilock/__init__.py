"""Optimistic locking for Django: no update is ever lost.

Names are imported on first use, because a model can't be imported while
Django's app registry is still loading.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optilock.changes import FieldChange, FieldState
    from optilock.conflicts import Conflict
    from optilock.decisions import MergeConflict
    from optilock.exceptions import RecordDeletedError, RecordModifiedError, RowConflict
    from optilock.fields import IntegerVersionField
    from optilock.loaded import UNKNOWN
    from optilock.managers import versioned_manager
    from optilock.models import VersionedModel
    from optilock.query import VersionedManager, VersionedQuerySet
    from optilock.retry import RetryHistory, retry_on_conflict
    from optilock.rows import get_version_field
    from optilock.triggers import VersionTrigger
    from optilock.unlocking import unlocked

__all__ = [
    "UNKNOWN",
    "Conflict",
    "FieldChange",
    "FieldState",
    "IntegerVersionField",
    "MergeConflict",
    "RecordDeletedError",
    "RecordModifiedError",
    "RetryHistory",
    "RowConflict",
    "VersionTrigger",
    "VersionedManager",
    "VersionedModel",
    "VersionedQuerySet",
    "get_version_field",
    "retry_on_conflict",
    "unlocked",
    "versioned_manager",
]

#: The release; what is installed is called so, too.
__version__ = "0.1.0"

_MODULES = {
    "UNKNOWN": "loaded",
    "Conflict": "conflicts",
    "FieldChange": "changes",
    "FieldState": "changes",
    "IntegerVersionField": "fields",
    "MergeConflict": "decisions",
    "RecordDeletedError": "exceptions",
    "RecordModifiedError": "exceptions",
    "RetryHistory": "retry",
    "RowConflict": "exceptions",
    "VersionTrigger": "triggers",
    "VersionedManager": "query",
    "VersionedModel": "models",
    "VersionedQuerySet": "query",
    "get_version_field": "rows",
    "retry_on_conflict": "retry",
    "unlocked": "unlocking",
    "versioned_manager": "managers",
}


if not TYPE_CHECKING:  # pragma: no branch -- so that they see what there is

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
