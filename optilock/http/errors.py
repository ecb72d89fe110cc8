"""What is raised when the precondition of a request isn't met.

None of these is a ``RecordModifiedError``: repeating the request on the server
would only find again what the client hasn't seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from optilock.http.tags import ETag

__all__ = [
    "MalformedPrecondition",
    "PreconditionError",
    "PreconditionFailed",
    "PreconditionRequired",
    "VersionMismatch",
]


class PreconditionError(Exception):
    """A request was refused for its precondition. Nothing was written.

    Attributes:
        status: the status code of the answer.
        slug: names the kind of problem, in a word that doesn't change.
        title: names it for people.
        detail: what happened and what to do next.
        current_version: the version the row has, if it is known and has one.
        tag: the tag of the current representation, if it is known.
    """

    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request was refused"

    def __init__(
        self,
        detail: str,
        *,
        slug: str,
        current_version: int | None = None,
        tag: ETag | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.slug = slug
        self.current_version = current_version
        self.tag = tag


class PreconditionFailed(PreconditionError):  # noqa: N818 -- HTTP's own name
    """412: the client hasn't seen what it wants to change.

    Its ``slug`` is "stale", "exists", "missing", "weak-etag" or "foreign-etag".
    """

    status = 412
    title = "The precondition is false"


class PreconditionRequired(PreconditionError):  # noqa: N818
    """428: the request has to say which version it is about."""

    status = 428
    title = "A precondition is required"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, slug="precondition-required")


class MalformedPrecondition(PreconditionError):  # noqa: N818
    """400: a header field that can't be read. It is never taken as left out."""

    title = "The precondition can't be read"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, slug="malformed-precondition")


class VersionMismatch(PreconditionError):  # noqa: N818
    """409: the version in the body isn't the row's.

    Attributes:
        conflicts: for a list, the ``pk`` of each row that was changed, the
            ``expected`` version and the ``current`` one, ``None`` if it is deleted.
    """

    status = 409
    title = "Somebody else was faster"

    def __init__(
        self,
        detail: str,
        *,
        current_version: int | None = None,
        conflicts: Sequence[dict[str, object]] = (),
    ) -> None:
        super().__init__(detail, slug="conflict", current_version=current_version)
        self.conflicts = list(conflicts)
