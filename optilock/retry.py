"""``@retry_on_conflict``: who loses a conflict tries again."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.http import HttpRequest

from optilock import losses
from optilock.signals import gave_up, retried

logger = logging.getLogger("optilock.retry")

P = ParamSpec("P")
T = TypeVar("T")

#: What is retried besides conflicts: exception classes, or a function that is
#: asked about each exception.
RetryOn = (
    type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | None]
)

#: While this holds a list, waits are noted there instead of being waited.
skipped_waits: ContextVar[list[float] | None] = ContextVar(
    "optilock_skipped_waits", default=None
)


#: How often an attempt queues up for the rows lost before.
_LOCK_ATTEMPTS = 100


@dataclass(frozen=True)
class RetryHistory:
    """What a call had been through when it gave up: ``error.retry_history``.

    Attributes:
        attempts: how often it was tried.
        waited: seconds waited between these attempts, in all.
        elapsed: seconds since the first attempt began.
    """

    attempts: int
    waited: float
    elapsed: float


@overload
def retry_on_conflict(
    function: Callable[P, T],
    /,
    *,
    attempts: int = ...,
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
    attempts: int = ...,
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
    attempts: int = 10,
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
    that the database reports at COMMIT counts as well. So the function has to
    load what it changes itself: it can't win with an instance that was loaded
    before.

    A conflict is a ``RecordModifiedError`` that isn't a ``RecordDeletedError``,
    a serialization failure, a deadlock, or a lock not obtained in time, as told
    by the database's error code. Everything else is raised at once.

    Inside somebody else's transaction the function is called once, and the
    conflict is let out: only who began the transaction can retry. (The blocks
    of Django's ``TestCase`` don't count.) A decorated view is not put into a
    transaction by ``ATOMIC_REQUESTS``; its attempts are, on the same databases.

    Args:
        function: what to decorate. Without it, a decorator is returned.
        attempts: how often it is tried at most.
        base: upper limit of the first wait, in seconds. Each limit is twice
            the one before; the wait itself is drawn evenly from zero to the
            limit ("full jitter").
        cap: the highest limit of a wait, in seconds.
        deadline: seconds after which no new attempt begins, counted from the
            first. ``None`` for no such limit.
        using: alias or aliases of the databases the function writes to.
        retry_on: what is retried besides conflicts: an exception class, a
            tuple of these, or a function that takes an exception and returns
            whether to retry.
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
    policy = _Policy(
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
        return policy.decorate
    return policy.decorate(function)


@dataclass(frozen=True, kw_only=True)
class _Policy:
    """The arguments of ``retry_on_conflict()``."""

    attempts: int
    base: float
    cap: float
    deadline: float | None
    using: tuple[str, ...]
    retry_on: RetryOn
    lock_rows: bool
    atomic: bool
    # By default the function of the module: it is seeded anew after a fork, so
    # workers that were forked don't all wait for the same time.
    uniform: Callable[[float, float], float]

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts!r}.")
        if not 0 <= self.base <= self.cap:
            raise ValueError(
                f"The waits must satisfy 0 <= base <= cap (in seconds); got "
                f"base={self.base!r}, cap={self.cap!r}."
            )
        if self.deadline is not None and self.deadline <= 0:
            raise ValueError(
                f"deadline must be a positive number of seconds, or None for no "
                f"deadline; not {self.deadline!r}."
            )
        if not self.using:
            raise ValueError(
                "using is empty. Name the databases the function writes to."
            )

    def decorate(self, function: Callable[P, T]) -> Callable[P, T]:
        _refuse_what_runs_later(function, self.atomic)
        if iscoroutinefunction(function):
            return self._decorate_coroutine(function)

        own = _AllDatabases(getattr(function, "_non_atomic_requests", ()))
        hot = losses.HotRows()

        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            aliases = self.aliases(args, own)
            if _in_foreign_transaction(aliases):
                return _finished(function(*args, **kwargs))
            call = _Call(self, wrapper, aliases)
            # One test's conflicts are nothing to the next.
            remembers = self.lock_rows and not _in_test_case(aliases)
            if remembers:
                call.rows = hot.expected(args, kwargs)
            while True:
                try:
                    return call.attempt(partial(function, *args, **kwargs))
                except Exception as error:
                    wait = call.wait_after(error)
                    if wait is None:
                        raise
                    if remembers:
                        hot.add(losses.lost_rows(error), args, kwargs)
                if call.skips(wait):
                    continue
                time.sleep(wait)

        if self.atomic:
            # Django looks here for the databases of ATOMIC_REQUESTS on which
            # the view sees to its transactions itself.
            wrapper._non_atomic_requests = own  # type: ignore[attr-defined]
        return wrapper

    def _decorate_coroutine(self, function: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            call = _Call(self, wrapper, self.using)
            while True:
                try:
                    call.attempts += 1
                    return await function(*args, **kwargs)
                except Exception as error:
                    # The connection that counts is that of the thread which
                    # runs the coroutine's queries.
                    if await sync_to_async(_in_foreign_transaction)(self.using):
                        raise
                    wait = call.wait_after(error)
                    if wait is None:
                        raise
                if call.skips(wait):
                    continue
                await asyncio.sleep(wait)

        return wrapper

    def aliases(self, args: tuple[Any, ...], excluded: set[str]) -> tuple[str, ...]:
        """Return the databases on which an attempt has a transaction."""
        # A view gets the request first, after `self` if it is a method.
        if not any(isinstance(argument, HttpRequest) for argument in args[:2]):
            return self.using
        requested = (
            alias
            for alias, settings in connections.settings.items()
            if settings["ATOMIC_REQUESTS"] and alias not in list(excluded)
        )
        return tuple(dict.fromkeys([*self.using, *requested]))

    def retries(self, error: Exception) -> bool:
        if losses.is_conflict(error):
            return True
        if isinstance(self.retry_on, type | tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))


class _AllDatabases(set[str]):
    """The databases on which Django isn't to wrap a view: any that it asks for.

    What is really in the set was put there by ``non_atomic_requests()``.
    """

    def __contains__(self, alias: object) -> bool:
        return True


class _Call:
    """One call of a decorated function, and what it has been through."""

    def __init__(
        self, policy: _Policy, sender: Callable[..., Any], aliases: tuple[str, ...]
    ) -> None:
        self.policy = policy
        self.sender = sender
        self.aliases = aliases if policy.atomic else ()
        self.attempts = 0
        self.waited = 0.0
        self.limit = policy.base
        self.started = time.monotonic()
        self.rows: set[losses.Row] = set()
        self.committed: set[str] = set()
        self.has_locked = False

    def attempt(self, function: Callable[[], T]) -> T:
        """Call the function in transactions, with what was lost before locked."""
        self.attempts += 1
        for _ in range(_LOCK_ATTEMPTS):
            self.has_locked = False
            try:
                return self._attempt(function, self.aliases)
            except DatabaseError as error:
                # PostgreSQL's snapshots are taken before a lock is waited for, so
                # at REPEATABLE READ it comes too late if the row was changed in
                # the meantime. And in a deadlock, whoever has written nothing yet
                # is the one to yield, every time. Nothing is lost yet: queue up
                # again.
                if self.has_locked or self._is_late(0) or not losses.is_rollback(error):
                    raise
        return self._attempt(function, self.aliases)

    def _attempt(self, function: Callable[[], T], aliases: tuple[str, ...]) -> T:
        if not aliases:
            if self.rows:
                losses.lock_rows(self.rows)
            self.has_locked = True
            return _finished(function())
        alias, *others = aliases
        is_outermost = not connections[alias].in_atomic_block
        with transaction.atomic(using=alias):
            if is_outermost:
                # Once a transaction is committed, nothing may be done again: what
                # fails after that is another database's COMMIT, or a callback of
                # on_commit().
                committed = partial(self.committed.add, alias)
                transaction.on_commit(committed, using=alias)
            return self._attempt(function, tuple(others))

    def wait_after(self, error: Exception) -> float | None:
        """Return the seconds to wait before trying again.

        ``None`` if the error is to be raised.
        """
        policy = self.policy
        if (
            self.committed
            or hasattr(error, "retry_history")  # somebody further in gave up
            or not policy.retries(error)
            or self._lost_elsewhere(error)
        ):
            return None
        wait = policy.uniform(0, self.limit)
        if self.attempts >= policy.attempts or self._is_late(wait):
            self._give_up(error)
            return None
        if policy.lock_rows:
            self.rows |= losses.lost_rows(error)
        self.waited += wait
        self.limit = min(policy.cap, self.limit * 2)
        logger.info(
            "%s lost attempt %d of %d to %s; next in %.0f ms.",
            _name(self.sender),
            self.attempts,
            policy.attempts,
            type(error).__name__,
            wait * 1000,
        )
        retried.send_robust(self.sender, error=error, attempt=self.attempts, wait=wait)
        return wait

    def skips(self, wait: float) -> bool:
        """Note a wait that is not to be waited, because a test says so."""
        skipped = skipped_waits.get()
        if skipped is None:
            return False
        skipped.append(wait)
        self.started -= wait  # the deadline comes as it would have come
        return True

    def _lost_elsewhere(self, error: Exception) -> bool:
        """Tell whether a row was lost on a database without a transaction of ours."""
        if not self.policy.atomic:
            return False
        elsewhere = {row.using for row in losses.lost_rows(error)} - {*self.aliases}
        for alias in elsewhere:
            _add_note(
                error,
                f"{_name(self.sender)} didn't try again: it has no transaction on the "
                f"database {alias!r}. Name all databases it writes to: "
                f"retry_on_conflict(using={[*self.aliases, alias]!r}).",
            )
        return bool(elsewhere)

    def _is_late(self, wait: float) -> bool:
        deadline = self.policy.deadline
        if deadline is None:
            return False
        return time.monotonic() + wait > self.started + deadline

    def _give_up(self, error: Exception) -> None:
        elapsed = time.monotonic() - self.started
        history = RetryHistory(self.attempts, self.waited, elapsed)
        error.retry_history = history  # type: ignore[attr-defined]
        note = (
            f"{_name(self.sender)} gave up after {history.attempts} attempts and "
            f"{history.waited:.3f} s of waiting."
        )
        _add_note(error, note)
        logger.warning("%s", note)
        gave_up.send_robust(self.sender, error=error, history=history)


def _in_foreign_transaction(aliases: Iterable[str]) -> bool:
    """Tell whether somebody else's transaction is open on one of the databases."""
    for alias in aliases:
        connection = connections[alias]
        if connection.in_atomic_block:
            # Django marks the blocks that a TestCase puts around each test.
            blocks: list[Any] = connection.atomic_blocks
            if not all(block._from_testcase for block in blocks):
                return True
        elif not connection.get_autocommit():
            return True
    return False


def _in_test_case(aliases: Iterable[str]) -> bool:
    """Tell whether a transaction that is nobody else's is open: a TestCase's."""
    return any(connections[alias].in_atomic_block for alias in aliases)


def _refuse_what_runs_later(function: Callable[..., Any], atomic: bool) -> None:
    """Raise an error for what isn't finished when it returns."""
    name = _name(function)
    if isinstance(function, classmethod | staticmethod):
        kind = type(function).__name__
        raise TypeError(
            f"{name} is a {kind} object. Put @{kind} above @retry_on_conflict."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name} is a generator function, and what it has yielded can't be "
            f"taken back. Let it return a list, or decorate a function that "
            f"consumes the generator."
        )
    if atomic and iscoroutinefunction(function):
        raise TypeError(_COROUTINE.format(name=name))


_COROUTINE = (
    "{name} is a coroutine function, and Django has no transactions for these. Make "
    "it a plain function f and call it by sync_to_async(retry_on_conflict(f)), or "
    "retry it without a transaction per attempt: retry_on_conflict(atomic=False)."
)


def _finished(result: T) -> T:
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(_COROUTINE.format(name=result.__qualname__))
    return result


def _add_note(error: Exception, note: str) -> None:
    if hasattr(error, "add_note"):  # since Python 3.11
        error.add_note(note)


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
