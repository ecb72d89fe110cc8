"""If-Match for generic views and viewsets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from django.db import router
from django.db.models import Model, QuerySet
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.functional import cached_property
from django.utils.translation import get_language
from rest_framework import views
from rest_framework.request import Request
from rest_framework.response import Response

from optilock.contrib.rest_framework.errors import Refused, with_problem
from optilock.contrib.rest_framework.handling import (
    check_collection,
    handle,
    hold_for_delete,
    refuse_media_type,
    requires_header,
    tag_of_list,
    transaction_of,
    transaction_of_update,
)
from optilock.contrib.rest_framework.showing import shown_by_get
from optilock.contrib.rest_framework.state import RequestState
from optilock.http.preconditions import Preconditions, check_preconditions, is_safe
from optilock.http.refusals import refusal_of
from optilock.http.tags import ETag, etag_of
from optilock.http.targets import noted
from optilock.rows import as_of_now

if TYPE_CHECKING:
    from rest_framework.generics import GenericAPIView as _View
    from rest_framework.serializers import BaseSerializer
else:  # it is mixed into one
    _View = object

__all__ = ["ConditionalMixin"]
_PERFORM = ("perform_create", "perform_update", "perform_destroy")


class ConditionalMixin(_View):
    """Checks ``If-Match`` and sends ``ETag``, for a view of a versioned model.

    Put it first among the bases of a generic view or viewset.

    ``retrieve`` answers with an ``ETag``, or with 304 if the client has it. A
    request that changes the object is compared with ``If-Match`` where
    ``get_object()`` returns: after authentication, permissions and 404, and before
    the body is validated.

    What a refused request has written is rolled back. Django REST framework's own
    handlers write in ``perform_create()``, ``perform_update()`` and
    ``perform_destroy()``, and have a transaction around these; handlers of your
    own (``@action``) have it around the whole.

    Attributes:
        precondition_required: answer 428 to a change without ``If-Match``, unless
            the serializer has a ``VersionField``, which then is required.
        accept_weak: take ``W/"7"`` for version 7.
        include_current: show the client whose request is refused what a GET would
            answer, if it may GET it.
        answer_replays: answer 200 to a PUT whose ``If-Match`` is stale, if all that
            it would write is in the row already: its answer was lost. Not for
            counters, where two clients that send the same mean two changes.
        etag_on_put: answer a PUT with the ``ETag`` of the result. RFC 9110 (9.3.4)
            allows that only where the body is stored as it was sent.
        claims_first: bump the object's version before anything is written. For an
            object whose parts are rows of their own.
    """

    precondition_required: ClassVar[bool] = False
    accept_weak: ClassVar[bool] = True
    include_current: ClassVar[bool] = True
    etag_on_put: ClassVar[bool] = True
    claims_first: ClassVar[bool] = False
    answer_replays: ClassVar[bool] = False

    @cached_property
    def _optilock(self) -> RequestState:
        return RequestState()

    def get_etag_variant(self, instance: Any) -> str | None:
        """Return what the representation depends on besides the row.

        By default: its media type, the query string, the language and the user. Two
        clients for whom this differs never share a 304. ``None`` gives the plain
        version, ``"7"``, for a representation that depends on nothing else.
        """
        request = self.request
        return "\n".join(
            [
                str(getattr(request, "accepted_media_type", "")),
                request.META.get("QUERY_STRING", ""),
                str(get_language()),
                str(getattr(request.user, "pk", None)),
            ]
        )

    def get_etag_epoch(self, instance: Any) -> str | None:
        """Return what tells an object from a deleted one that had the same key.

        Such as the time it was created at. Without it, the first version of the new
        object has the tag that the old one's had.
        """
        return None

    def get_list_etag(self, rows: Any) -> ETag | None:
        """Return the tag of a list, by default ``None``: lists have none.

        ``optilock.http.etag_of_list(rows, self.get_etag_variant(None))`` is exact if
        the list shows nothing but these rows. What a paginator puts around them is
        added to the tag.

        Args:
            rows: the objects that the list shows: those of the page.
        """
        return None

    def get_etag(self, instance: Any) -> ETag:
        """Return the tag of an object's representation."""
        variant, epoch = self.get_etag_variant(instance), self.get_etag_epoch(instance)
        return etag_of(instance, variant, epoch)

    # --- where the object is found -------------------------------------------

    def filter_queryset(self, queryset: Any) -> Any:
        queryset = super().filter_queryset(queryset)
        is_rows = isinstance(queryset, QuerySet)
        is_showing = self._optilock.is_showing
        if not is_rows or (is_safe(self.request.method) and not is_showing):
            return queryset
        if not (router.routers or is_showing):
            return queryset  # there is one database for both
        # What is compared must be what is written: never a replica's row.
        using = queryset._db or router.db_for_write(queryset.model, **queryset._hints)
        queryset = queryset.using(using)
        return as_of_now(queryset, using) if is_showing else queryset

    def get_object(self) -> Any:
        instance = super().get_object()
        self._optilock.found = instance
        # The metadata and the browsable API look at objects on behalf of requests
        # other than the one that was sent.
        if (
            self._optilock.is_showing
            or self.request.method != self.request._request.method
        ):
            return instance
        self._optilock_check(instance)
        if self._optilock.ends_if_fresh:
            preconditions = Preconditions.of(self.request)
            if preconditions.if_none_match is not None and preconditions.is_fresh(
                self.get_etag(instance)
            ):
                raise _FreshError
        return instance

    def _optilock_check(self, instance: Model) -> None:
        refuse_media_type(self.request)
        check_preconditions(
            self.request,
            instance,
            required=requires_header(self),
            accept_weak=self.accept_weak,
            **self._optilock_shown(),
        )

    def _optilock_shown(self) -> _Shown:
        """Return how to show a client that is refused what is there."""
        return {
            "variant": self.get_etag_variant,
            "epoch": self.get_etag_epoch,
            "current": partial(shown_by_get, self) if self.include_current else None,
        }

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        if self._optilock.is_listing:
            tag = self._optilock.tag = tag_of_list(self, queryset, page)
            preconditions = Preconditions.of(self.request)
            preconditions.check_tag(tag)
            if tag is not None and preconditions.is_fresh(tag):
                raise _FreshError
        return page

    # --- what is done with it ------------------------------------------------

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        method = request.method.lower()
        handler = getattr(self, method, None)
        if handler is not None and not is_safe(request.method):
            setattr(self, method, partial(handle, self, handler))

    @classmethod
    def _optilock_performs(cls) -> bool:
        """Tell whether all is written inside the transactions of these methods."""
        return all(
            getattr(cls, name) is getattr(ConditionalMixin, name) for name in _PERFORM
        )

    def perform_create(self, serializer: BaseSerializer) -> None:
        with transaction_of(self, None):
            super().perform_create(serializer)
        self._optilock.result = serializer.instance

    def perform_update(self, serializer: BaseSerializer) -> None:
        # A plain GenericAPIView, as for a list of changes, has no such method.
        save = getattr(super(), "perform_update", lambda serializer: serializer.save())
        write = partial(save, serializer)
        self._optilock_write(
            serializer.instance, write, transaction_of_update(self, serializer)
        )
        self._optilock.result = serializer.instance

    def perform_destroy(self, instance: Any) -> None:
        destroy = super().perform_destroy

        def write() -> None:
            hold_for_delete(instance)
            destroy(instance)

        self._optilock_write(instance, write, transaction_of(self, instance))

    def _optilock_write(
        self,
        instance: Any,
        write: Callable[[], None],
        in_transaction: AbstractContextManager[object],
    ) -> None:
        is_row = hasattr(instance, "_state")
        if not is_row:
            check_collection(self)
        elif noted(self.request, instance) is None:
            self._optilock_check(instance)  # get_object() didn't come by here
        with in_transaction:
            if self.claims_first and is_row:
                instance.touch()
            write()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self._optilock.is_listing = not self._optilock.is_showing
        try:
            return super().list(request, *args, **kwargs)
        except _FreshError:
            return Response(status=304)
        finally:
            self._optilock.is_listing = False

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self._optilock.ends_if_fresh = not self._optilock.is_showing
        try:
            response = super().retrieve(request, *args, **kwargs)
        except _FreshError:
            response = Response(status=304)
        finally:
            self._optilock.ends_if_fresh = False
        if not self._optilock.is_showing:
            self._optilock.result = self._optilock.found
        return response

    # --- the answer ----------------------------------------------------------

    def handle_exception(self, exc: Exception) -> Response:
        refusal = refusal_of(exc, self.request)
        if refusal is None:
            return super().handle_exception(exc)
        response = super().handle_exception(Refused(refusal))
        # A project's own handler may not have done it.
        views.set_rollback()
        return with_problem(response, refusal, self.request)

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        result, tag = self._optilock.result, self._optilock.tag
        if getattr(response, "exception", False) or (result is None and tag is None):
            return response
        if hasattr(result, "_state") and (self.etag_on_put or request.method != "PUT"):
            tag = self.get_etag(result)
        if tag is not None:
            response.headers.setdefault("ETag", str(tag))
        if request.method in ("GET", "HEAD"):
            # A cache that doesn't ask would hand out old tags.
            if not response.has_header("Cache-Control"):
                patch_cache_control(response, private=True, no_cache=True)
            patch_vary_headers(response, ["Accept", "Accept-Language", "Cookie"])
        return response


class _Shown(TypedDict):
    """Arguments for ``check_preconditions()``."""

    variant: Callable[[Model], str | None]
    epoch: Callable[[Model], str | None]
    current: Callable[[Model], object] | None


class _FreshError(Exception):
    """The client has the representation already."""
