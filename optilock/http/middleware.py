"""Answers for conflicts and preconditions that leave a view as errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from optilock.http.refusals import TEMPLATE, refusal_of

__all__ = ["ConflictMiddleware"]

_GetResponse: TypeAlias = Callable[
    [HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]
]


class ConflictMiddleware:
    """Turns a refused write into an answer: 412, 409, 404, 428, 400 or 503.

    As problem details (``application/problem+json``), or as a page for clients
    that prefer HTML. Transactions of the request, as ``ATOMIC_REQUESTS`` makes them,
    are rolled back by then. What a view wrote outside of a transaction stays:
    ``conditional_view`` gives it one.

    Attributes:
        template_name: the template of the page. Its context has the ``refusal``
            with ``status``, ``slug``, ``detail``, and a ``text`` for people.
    """

    sync_capable = True
    async_capable = True

    template_name = TEMPLATE

    def __init__(self, get_response: _GetResponse) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        refusal = refusal_of(exception, request)
        return (
            None if refusal is None else refusal.response(request, self.template_name)
        )
