"""The answer to a refused request."""

from __future__ import annotations

from collections.abc import Mapping

from rest_framework import exceptions, views
from rest_framework.request import Request
from rest_framework.response import Response

from optilock.http.refusals import PROBLEM_JSON, Refusal, refusal_of

__all__ = ["Refused", "exception_handler", "with_problem"]


class Refused(exceptions.APIException):
    """A request that was refused, for handlers of exceptions.

    Attributes:
        refusal: the answer, see ``optilock.http.Refusal``.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(detail=refusal.detail, code=refusal.slug)
        self.status_code = refusal.status
        self.refusal = refusal


def exception_handler(exc: Exception, context: Mapping[str, object]) -> Response | None:
    """``EXCEPTION_HANDLER`` for views without ``ConditionalMixin``.

    Answers conflicts and preconditions, and hands everything else on to Django
    REST framework's own. With ``ATOMIC_REQUESTS`` the whole request is rolled back.
    What a client may see of the row isn't shown: the request's transaction is still
    open here.
    """
    refusal = refusal_of(exc, context["request"], may_read=False)
    if refusal is None:
        return views.exception_handler(exc, context)
    response = views.exception_handler(Refused(refusal), context)
    return with_problem(response, refusal, context["request"])


def with_problem(response: Response, refusal: Refusal, request: Request) -> Response:
    """Put what the framework's plain ``detail`` leaves out into the answer."""
    for name, value in refusal.headers.items():
        response[name] = value
    # A handler with its own form of errors, such as JSON:API's, is left alone.
    if response.data == {"detail": refusal.detail}:
        response.data = refusal.problem()
        renderer = getattr(request, "accepted_renderer", None)
        if getattr(renderer, "media_type", None) == "application/json":
            response.content_type = PROBLEM_JSON
    return response
