"""Optimistic locking for Django: no update is ever lost.

Names are imported on first use, because a model can't be imported while
Django's app registry is still loading.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optilock.conflicts import Conflict, FieldChange, FieldState
    from optilock.exceptions import (
        MergeConflict,
        RecordDeletedError,
        RecordModifiedError,
    )
    from optilock.fields import IntegerVersionField
    from optilock.models import VersionedModel
    from optilock.query import VersionedManager, VersionedQuerySet
    from optilock.retry import retry_on_conflict
    from optilock.triggers import VersionTrigger

__all__ = [
    "Conflict",
    "FieldChange",
    "FieldState",
    "IntegerVersionField",
    "MergeConflict",
    "RecordDeletedError",
    "RecordModifiedError",
    "VersionTrigger",
    "VersionedManager",
    "VersionedModel",
    "VersionedQuerySet",
    "retry_on_conflict",
]

_MODULES = {
    "Conflict": "conflicts",
    "FieldChange": "conflicts",
    "FieldState": "conflicts",
    "IntegerVersionField": "fields",
    "MergeConflict": "exceptions",
    "RecordDeletedError": "exceptions",
    "RecordModifiedError": "exceptions",
    "VersionTrigger": "triggers",
    "VersionedManager": "query",
    "VersionedModel": "models",
    "VersionedQuerySet": "query",
    "retry_on_conflict": "retry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
