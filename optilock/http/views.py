"""A decorator for plain views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import DEFAULT_DB_ALIAS, transaction
from django.http import HttpResponse

from optilock.http.preconditions import is_safe
from optilock.http.refusals import may_hold, refusal_of
from optilock.http.targets import Request, forget_noted
from optilock.installation import note_need
from optilock.retry.transactions import atomic_on
from optilock.uploads import rewind_files

__all__ = ["conditional_view", "request_in"]

View = TypeVar("View", bound=Callable[..., object])

#: Answers that say that nothing was done.
_REFUSALS = (409, 412, 428)


@overload
def conditional_view(view: View, /, *, using: str | Iterable[str] = ...) -> View: ...


@overload
def conditional_view(*, using: str | Iterable[str] = ...) -> Callable[[View], View]: ...


def conditional_view(
    view: View | None = None, /, *, using: str | Iterable[str] = DEFAULT_DB_ALIAS
) -> View | Callable[[View], View]:
    """Answer a view's refused requests, and leave nothing of them behind.

    A request that may write runs in a transaction, or in a savepoint of the one
    that ``ATOMIC_REQUESTS`` has begun. If it is refused, whatever it has written
    before is rolled back; only then is the answer made. The same goes for a 409, 412
    or 428 that the view itself answers with. A view that is decorated with
    ``retry_on_conflict`` has its own transactions, and is given no other.

    An ``async`` view is given none, because Django has no transactions for
    coroutines. Let it write in one function:
    ``await sync_to_async(transaction.atomic(write))(...)``.

    Where ``If-Match`` names several versions and somebody goes from one to the next
    just before the save, the view is called once more.

    Args:
        view: a view, also what ``as_view()`` returns; for a class, use Django's
            ``method_decorator`` with ``dispatch``.
        using: alias or aliases of the databases it writes to.
    """
    if view is None:
        return cast("Callable[[View], View]", partial(conditional_view, using=using))
    aliases = (using,) if isinstance(using, str) else tuple(using)
    wrapper = _async(view) if iscoroutinefunction(view) else _sync(view, aliases)
    wrapper._optilock_conditional = True  # type: ignore[attr-defined]  # for the system checks
    note_need(wrapper)
    return cast("View", wrapper)


def _sync(view: Callable[..., Any], aliases: tuple[str, ...]) -> Callable[..., object]:
    own = getattr(view, "_non_atomic_requests", ())
    answering = _async(view)

    @wraps(view)
    def wrapper(*args: object, **kwargs: object) -> object:
        if _is_async_dispatch(view, args):
            return answering(*args, **kwargs)
        request = request_in(args)
        blocks = [a for a in aliases if not (is_safe(request.method) or a in own)]

        def attempt() -> object:
            with atomic_on(blocks):
                response = view(*args, **kwargs)
                if getattr(response, "status_code", None) in _REFUSALS:
                    for alias in blocks:
                        transaction.set_rollback(True, using=alias)
                return response

        try:
            try:
                return attempt()
            except Exception as error:
                if not (may_hold(error, request) and _rewind(request)):
                    raise
            return attempt()
        except Exception as error:
            return _answer(error, request)

    return wrapper


def _async(view: Callable[..., Awaitable[object]]) -> Callable[..., object]:
    @wraps(view)
    async def wrapper(*args: object, **kwargs: object) -> object:
        try:
            return await view(*args, **kwargs)
        except Exception as error:
            return await sync_to_async(_answer)(error, request_in(args))

    return wrapper


def _is_async_dispatch(view: object, args: Sequence[object]) -> bool:
    """Tell whether this is ``dispatch()`` of a class whose handlers are async."""
    # method_decorator() binds the method before it is decorated.
    owner = getattr(getattr(view, "func", None), "__self__", args[0])
    return bool(getattr(owner, "view_is_async", False))


def _answer(error: Exception, request: Request) -> HttpResponse:
    refusal = refusal_of(error, request)
    if refusal is None:
        raise error
    return refusal.response(request)


def request_in(args: Sequence[Any]) -> Request:
    """Return the request among a view's arguments: the first, or after ``self``."""
    return next(argument for argument in args[:2] if hasattr(argument, "META"))


def _rewind(request: Request) -> bool:
    """Make the request ready to be read once more, if that can be done."""
    is_stream = request._read_started and not (  # type: ignore[union-attr]  # it has it
        hasattr(request, "_body") or hasattr(request, "_files")
    )
    if is_stream:
        return False
    if hasattr(request, "_files"):
        rewind_files(request.FILES)
    forget_noted(request)
    return True
