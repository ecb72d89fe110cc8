"""Django Ninja: answers for preconditions and conflicts.

Needs ``django-ninja`` (``pip install optilock[ninja]``).
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from ninja import Header, NinjaAPI, Schema

from optilock.exceptions import RecordModifiedError
from optilock.http.errors import PreconditionError
from optilock.http.refusals import refusal_of

__all__ = ["IfMatch", "Problem", "install"]

#: The type of a parameter that puts the header into the API's schema. What decides
#: is ``check_preconditions(request, instance)``, which reads the header itself.
IfMatch = Annotated[str | None, Header(alias="If-Match")]


class Problem(Schema):
    """Problem details (RFC 9457), for ``response={412: Problem}``."""

    type: str
    title: str
    status: int
    detail: str
    current_version: int | None = None
    current: Any = None
    conflicts: list[dict[str, Any]] = []  # noqa: RUF012 -- pydantic copies it


def install(api: NinjaAPI) -> None:
    """Let an API answer for preconditions and conflicts, even with ``DEBUG``.

    Under ``ATOMIC_REQUESTS`` the whole request is rolled back. Without it, put
    ``@transaction.atomic`` under the operation's decorator, so that nothing of a
    refused request stays. What a client may see of the row isn't shown where the
    request's transaction is still open, nor by async operations.

    Deadlocks and the like are left to ``ConflictMiddleware``.
    """
    for error in (PreconditionError, RecordModifiedError):
        api.add_exception_handler(error, _answer)


def _answer(request: HttpRequest, error: Any) -> HttpResponse:
    open_aliases = [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.settings_dict["ATOMIC_REQUESTS"] and connection.in_atomic_block
    ]
    may_read = not open_aliases and not _in_event_loop()
    refusal = refusal_of(error, request, may_read=may_read)
    if refusal is None:  # pragma: no cover -- there is one for each of these errors
        raise error
    for alias in open_aliases:
        transaction.set_rollback(True, using=alias)
    return refusal.response(request)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
