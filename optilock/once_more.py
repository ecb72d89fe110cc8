"""Running a view as one transaction, and again when somebody was faster."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Generic, TypeVar

from django.db import connections, models, router, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers

from optilock.edit_conflicts import EditConflict, told_after
from optilock.exceptions import RecordDeletedError, RecordModifiedError
from optilock.http.preconditions import is_safe
from optilock.retry import errors, retry_on_conflict
from optilock.retry.transactions import (
    AllDatabases,
    atomic_on,
    atomic_requests,
    in_foreign_transaction,
)
from optilock.uploads import rewind_files

if TYPE_CHECKING:
    from django.contrib.messages.storage.base import Message


__all__ = ["in_one_transaction", "once_more", "transactions"]

logger = logging.getLogger("optilock.once_more")

#: How often a request is tried, and for how long: a person waits.
_ATTEMPTS = 5
_SECONDS = 10

_Response = TypeVar("_Response", bound=HttpResponseBase)


def once_more(
    request: HttpRequest,
    view: Callable[[], _Response],
    *,
    models: Iterable[type[models.Model]] = (),
    using: Iterable[str] = (),
    atomic: bool = True,
) -> _Response | HttpResponse:
    """Call a view in a transaction of its own, and again if it loses a conflict.

    Each run is a transaction, and is done again only if that was rolled back. Its
    messages are taken back, and what was posted and uploaded is as it was. A conflict
    is what ``retry_on_conflict`` calls one, or a row that was deleted: the next run
    sees that it is deleted.

    Inside somebody else's transaction each run is a savepoint, and nothing is done
    again once the database itself has ended that transaction.

    Args:
        request: the request. Only a POST is repeated; a request that only reads
            needs no transaction.
        view: what answers it.
        models: what it writes; the router knows in which databases.
        using: aliases of more databases it writes to.
        atomic: ``False`` calls a view once that sees to its transactions itself.

    Returns:
        The view's response; a page with status 409 if it lost each time.
    """
    if is_safe(request.method):
        return view()
    aliases = list(dict.fromkeys([*map(router.db_for_write, models), *using]))
    is_running = hasattr(request, "_optilock_transactions")
    if is_running or request.method != "POST":
        # Whoever runs it does it once more; nobody does where there is no form.
        missing = [a for a in aliases if a not in transactions(request)]
        with atomic_on(missing if atomic else ()):
            return view()
    return _Run(request, view, aliases).answer(atomic=atomic)


def transactions(request: HttpRequest) -> list[str]:
    """Return the aliases of the databases that have a transaction for the request."""
    aliases: list[str] = getattr(request, "_optilock_transactions", [])
    return aliases


def in_one_transaction(
    view: Callable[..., _Response],
    repeat: Callable[..., _Response | HttpResponse] = once_more,
) -> Callable[..., _Response | HttpResponse]:
    """Return a view that ``ATOMIC_REQUESTS`` doesn't wrap, as it does that itself.

    A transaction that Django has begun can't be done again. So this begins it, on the
    same databases.

    Args:
        view: the view, as the URLs name it.
        repeat: called as ``once_more()``.
    """
    excluded = list(getattr(view, "_non_atomic_requests", ()))

    @wraps(view)
    def wrapper(
        request: HttpRequest, *args: object, **kwargs: object
    ) -> _Response | HttpResponse:
        using = atomic_requests(excluded)
        run = partial(view, request, *args, **kwargs)
        if not using:
            return run()
        if request.method == "POST":
            return repeat(request, run, using=using)
        with atomic_on(using):
            return run()

    wrapper._non_atomic_requests = AllDatabases(excluded)  # type: ignore[attr-defined]
    return wrapper


class _Run(Generic[_Response]):
    """What is run, in which databases, and what it began with."""

    def __init__(
        self, request: HttpRequest, view: Callable[[], _Response], aliases: list[str]
    ) -> None:
        self.request = request
        self.view = view
        self.aliases = aliases
        self.count = 0
        self._found: list[EditConflict] = []
        self.committed: set[str] = set()
        self.is_inside = in_foreign_transaction(aliases)
        self._outermost = [a for a in aliases if not connections[a].in_atomic_block]
        self._post = request.POST
        self._files = request.FILES.copy()
        self._said = len(_queued_messages(request))
        self._session = copy.deepcopy(_session_data(request))

    def answer(self, *, atomic: bool) -> _Response | HttpResponse:
        """Return the view's response, or a page that says that it lost."""
        request = self.request
        vars(request)["_optilock_transactions"] = self.aliases if atomic else []
        try:
            with told_after(request) as self._found:
                if not atomic:
                    return self.view()
                if self.is_inside:
                    return self.in_savepoints()
                return self.in_transactions()
        except Exception as error:
            if self.committed or not _is_loss(error):
                raise
            logger.warning(
                "Gave up %s %s: %s", request.method, request.path, error, exc_info=error
            )
            return _give_up(request, was_rolled_back=atomic)
        finally:
            del vars(request)["_optilock_transactions"]

    def in_transactions(self) -> _Response:
        """Run the view until it wins, each time in new transactions."""
        attempt = retry_on_conflict(
            attempts=_ATTEMPTS,
            deadline=_SECONDS,
            using=self.aliases,
            # What is deleted for the second run, too, is so for the third.
            retry_on=lambda e: isinstance(e, RecordDeletedError) and self.count == 1,
        )
        # Not the method itself: there is nothing in a run that has to be put back.
        return attempt(lambda: self._run())()

    def in_savepoints(self) -> _Response:
        """Run the view twice at most, inside somebody else's transaction."""
        try:
            with atomic_on(self.aliases):
                return self._run()
        except RecordModifiedError:
            with atomic_on(self.aliases):
                return self._run()

    def _run(self) -> _Response:
        if self.count:
            self._restore()
            self._found.clear()
        self.count += 1
        for alias in self._outermost:
            # Whatever fails after this mustn't be called "not saved".
            transaction.on_commit(partial(self.committed.add, alias), using=alias)
        return self.view()

    def _restore(self) -> None:
        del _queued_messages(self.request)[self._said :]
        if (session := getattr(self.request, "session", None)) is not None:
            vars(session).pop("_session_cache", None)  # Django reads it again
            if self._session is not None:
                session._session_cache = copy.deepcopy(self._session)
        self.request.POST = self._post
        vars(self.request)["_files"] = self._files.copy()
        rewind_files(self._files)


def _queued_messages(request: HttpRequest) -> list[Message]:
    storage = getattr(request, "_messages", None)
    queued: list[Message] = getattr(storage, "_queued_messages", [])
    return queued


def _session_data(request: HttpRequest) -> dict[str, object] | None:
    """Return what is in the session, ``None`` if it wasn't read yet."""
    return getattr(getattr(request, "session", None), "_session_cache", None)


def _is_loss(error: Exception) -> bool:
    return isinstance(error, RecordModifiedError) or errors.is_conflict(error)


def _give_up(request: HttpRequest, *, was_rolled_back: bool) -> HttpResponse:
    """Return a page that says what happened to the request."""
    # Without the request: a context processor may ask the database, which can't
    # answer where somebody else's transaction was ended.
    context = {"was_rolled_back": was_rolled_back, "url": request.get_full_path()}
    html = render_to_string("optilock/try_again.html", context)
    response = HttpResponse(html, status=409)
    add_never_cache_headers(response)
    return response
