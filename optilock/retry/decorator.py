"""``@retry_on_conflict``: a function that loses a conflict is tried again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial, wraps
from typing import ParamSpec, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import DEFAULT_DB_ALIAS

from optilock.retry import hot_rows
from optilock.retry.call import Call
from optilock.retry.passed import Passed
from optilock.retry.policy import Policy, RetryOn
from optilock.retry.results import bound_to, code_of, finished, refuse_what_runs_later
from optilock.retry.transactions import (
    AllDatabases,
    in_foreign_transaction,
    in_transaction,
)

__all__ = ["retry_on_conflict"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def retry_on_conflict(
    function: Callable[P, T],
    /,
    *,
    attempts: int | None = ...,
    base: float = ...,
    cap: float = ...,
    deadline: float | None = ...,
    using: str | Iterable[str] = ...,
    retry_on: RetryOn = ...,
    lock_rows: bool = ...,
    atomic: bool = ...,
    rng: random.Random | None = ...,
) -> Callable[P, T]: ...


@overload
def retry_on_conflict(
    *,
    attempts: int | None = ...,
    base: float = ...,
    cap: float = ...,
    deadline: float | None = ...,
    using: str | Iterable[str] = ...,
    retry_on: RetryOn = ...,
    lock_rows: bool = ...,
    atomic: bool = ...,
    rng: random.Random | None = ...,
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def retry_on_conflict(
    function: Callable[P, T] | None = None,
    /,
    *,
    attempts: int | None = None,
    base: float = 0.010,
    cap: float = 0.100,
    deadline: float | None = None,
    using: str | Iterable[str] = DEFAULT_DB_ALIAS,
    retry_on: RetryOn = (),
    lock_rows: bool = True,
    atomic: bool = True,
    rng: random.Random | None = None,
) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
    """Call a function again, in a new transaction, when it loses a conflict.

    Each attempt is a transaction of its own. What a failed attempt wrote is
    rolled back, its ``on_commit()`` callbacks are never called, and a conflict
    that the database reports at COMMIT counts as well. Model instances among the
    arguments are put back to what they were at the call. So the function has to
    load what it changes itself: it can't win with an instance whose row was
    changed since it was loaded.

    A conflict is a ``RecordModifiedError`` that isn't a ``RecordDeletedError``,
    a serialization failure, a deadlock, or (MySQL, MariaDB) a lock not obtained in
    time, as told by the database's error code; or an exception group of nothing
    but conflicts. Everything else is raised at once.

    Inside somebody else's transaction the function is called once, and a
    conflict is raised: only whoever began the transaction can retry. (The blocks
    of Django's ``TestCase`` don't count.) A decorated view is not put into a
    transaction by ``ATOMIC_REQUESTS``; its attempts are, on the same databases.

    Args:
        function: what to decorate. Without it, a decorator is returned.
        attempts: how often it is tried at most. By default ten times; and where no
            row lock helps, because the database finds conflicts only at COMMIT (a
            cluster with several primaries), for as long as ``deadline`` allows.
        base: upper limit of the first wait, in seconds. Each limit is twice
            the one before; the wait itself is drawn evenly from zero to the
            limit ("full jitter").
        cap: the highest limit of a wait, in seconds. Where no row lock helps, the
            limit goes on growing, up to a second.
        deadline: seconds after which no new attempt begins, counted from the
            first. ``None`` for no such limit, or 30 seconds where no row lock helps
            and ``attempts`` isn't given.
        using: alias or aliases of the databases the function writes to.
        retry_on: what is retried besides conflicts: an exception class, a
            tuple of these, or a function that takes an exception and returns
            whether to retry. Not asked about what comes out of COMMIT: if its
            answer was lost, nobody knows whether it was carried out.
        lock_rows: begin an attempt by locking the rows that were lost before, so
            that they can't be lost again (SQLite locks the whole database).
        atomic: ``False`` for no transaction per attempt, the only way to retry
            a coroutine function. What a failed attempt wrote then stays,
            unless the function sees to it.
        rng: source of the waits, for reproducible ones.

    Raises:
        TypeError: ``function`` is a generator function, a class or static
            method object, or a coroutine function without ``atomic=False``.
        ValueError: an argument makes no sense.

    When the attempts are used up, the last conflict itself is raised, with a
    ``RetryHistory`` as its ``retry_history``.
    """
    policy = Policy(
        attempts=attempts,
        base=base,
        cap=cap,
        deadline=deadline,
        using=(using,) if isinstance(using, str) else tuple(using),
        retry_on=retry_on,
        lock_rows=lock_rows and atomic,
        atomic=atomic,
        uniform=rng.uniform if rng is not None else random.uniform,
    )
    if function is None:
        return partial(_decorate, policy)
    return _decorate(policy, function)


def _decorate(policy: Policy, function: Callable[P, T]) -> Callable[P, T]:
    refuse_what_runs_later(function, policy.atomic)
    if iscoroutinefunction(code_of(function)):
        coroutine = cast("Callable[P, Awaitable[object]]", function)
        return cast("Callable[P, T]", _decorate_coroutine(policy, coroutine))

    bound = bound_to(function)
    excluded = getattr(function, "_non_atomic_requests", None)
    own = AllDatabases(excluded if isinstance(excluded, set) else ())  # a Mock's
    hot = hot_rows.HotRows()

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        aliases = policy.aliases(args, own)
        is_inside = in_transaction(aliases)
        if is_inside and in_foreign_transaction(aliases):
            return finished(function(*args, **kwargs))
        call = Call(policy, wrapper, aliases, hot)
        passed = Passed((*bound, *args, *kwargs.values()))
        # One test's conflicts don't concern the next.
        remembers = policy.lock_rows and not is_inside
        if remembers:
            call.guessed = hot.expected(args, kwargs)
        while True:
            try:
                return call.attempt(partial(function, *args, **kwargs))
            except Exception as error:
                wait = call.wait_after(error, passed)
                if wait is None:
                    raise
                if remembers:
                    hot.add(call.lost, args, kwargs)
                passed.put_back()
            if call.skips(wait):
                continue
            time.sleep(wait)

    if policy.atomic:
        # Django looks here for the databases of ATOMIC_REQUESTS on which
        # the view sees to its transactions itself.
        wrapper._non_atomic_requests = own  # type: ignore[attr-defined]
    return wrapper


def _decorate_coroutine(
    policy: Policy, function: Callable[P, Awaitable[T]]
) -> Callable[P, Awaitable[T]]:
    bound = bound_to(function)

    @wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        call = Call(policy, wrapper, policy.using)
        passed = Passed((*bound, *args, *kwargs.values()))
        while True:
            try:
                call.attempts += 1
                with call.begin():
                    return finished(await function(*args, **kwargs))
            except Exception as error:
                # The connection that counts is that of the thread which
                # runs the coroutine's queries.
                if await sync_to_async(in_foreign_transaction)(policy.using):
                    raise
                wait = call.wait_after(error, passed)
                if wait is None:
                    raise
                await sync_to_async(passed.put_back)()
            if call.skips(wait):
                continue
            await asyncio.sleep(wait)

    return wrapper
