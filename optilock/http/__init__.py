"""The lock over HTTP: a row's version as its ``ETag``, demanded by ``If-Match``."""

from __future__ import annotations

from optilock.http.errors import (
    MalformedPrecondition,
    PreconditionError,
    PreconditionFailed,
    PreconditionRequired,
    VersionMismatch,
)
from optilock.http.preconditions import Preconditions, check_preconditions, not_modified
from optilock.http.refusals import Refusal, refusal_of
from optilock.http.tags import ETag, etag_of, etag_of_list
from optilock.http.views import conditional_view

__all__ = [
    "ETag",
    "MalformedPrecondition",
    "PreconditionError",
    "PreconditionFailed",
    "PreconditionRequired",
    "Preconditions",
    "Refusal",
    "VersionMismatch",
    "check_preconditions",
    "conditional_view",
    "etag_of",
    "etag_of_list",
    "not_modified",
    "refusal_of",
]
