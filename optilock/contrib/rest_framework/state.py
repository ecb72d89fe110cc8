"""What a view knows of the request that it handles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optilock.http.tags import ETag

__all__ = ["RequestState"]


@dataclass
class RequestState:
    """How far a request has come.

    Attributes:
        is_showing: the row is read for an answer that refuses a request.
        is_listing: the GET is of a list.
        is_replaying: what was sent is only compared with the row.
        ends_if_fresh: a GET whose answer the client has already ends in
            ``get_object()``.
        is_plain: only the framework's own handlers write.
        is_checked: the preconditions were about a collection, and are true.
        found: the object that ``get_object()`` has found.
        result: what the answer is a representation of.
        tag: the tag of the answer, if it isn't a row's.
    """

    is_showing: bool = False
    is_listing: bool = False
    is_replaying: bool = False
    ends_if_fresh: bool = False
    is_plain: bool = False
    is_checked: bool = False
    found: Any = None
    result: object = None
    tag: ETag | None = None
