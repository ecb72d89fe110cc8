"""One call of a decorated function: its attempts, and the waits between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from django.db import DatabaseError, connections, transaction

from optilock.attempts import Attempt, LostRow
from optilock.driver_errors import add_note
from optilock.retry import errors, locking
from optilock.retry.hot_rows import HotRows
from optilock.retry.passed import Passed
from optilock.retry.policy import Policy
from optilock.retry.results import finished, name_of
from optilock.rows import name_of as name_of_row
from optilock.signals import gave_up, retried

__all__ = ["Call", "RetryHistory", "skipped_waits"]

logger = logging.getLogger("optilock.retry")

T = TypeVar("T")

#: While this holds a list, waits are noted there, and nobody waits.
skipped_waits: ContextVar[list[float] | None] = ContextVar(
    "optilock_skipped_waits", default=None
)


#: How often an attempt queues up for the rows lost before.
_LOCK_ATTEMPTS = 100

#: How often a call is tried if nothing else is said.
_ATTEMPTS = 10

#: Where no row lock helps: limits of the first wait and of each, and the deadline, in
#: seconds.
_PATIENT_BASE = 0.01
_PATIENT_CAP = 1.0
_PATIENT_DEADLINE = 30.0


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


class Call:
    """One call of a decorated function, and what it has been through."""

    def __init__(
        self,
        policy: Policy,
        sender: Callable[..., object],
        aliases: tuple[str, ...],
        hot: HotRows | None = None,
    ) -> None:
        self.policy = policy
        self.hot = hot
        self.sender = sender
        self.written = aliases
        self.aliases = aliases if policy.atomic else ()
        self.attempts = 0
        #: Attempts that were lost although nothing could have been locked.
        self.unlockable = 0
        self.waited = 0.0
        self.limit = policy.base
        self.started = time.monotonic()
        #: Lost by the attempt before, and by all of them.
        self.lost: set[LostRow] = set()
        self.rows: set[LostRow] = set()
        #: To be locked by the first attempt, if that can be done.
        self.guessed: set[LostRow] = set()
        #: Locked before the function was called.
        self.locked: set[LostRow] = set()
        self.running: Attempt | None = None
        self.committed: set[str] = set()
        self.is_locking = False
        self.is_committing = False

    @property
    def name(self) -> str:
        """The function's name."""
        return name_of(self.sender.__wrapped__)  # type: ignore[attr-defined]

    def begin(self, awaited: LostRow | None = None) -> Attempt:
        """Return an attempt, whose queries read where this call writes."""
        self.running = Attempt(self.written, awaited)
        return self.running

    def attempt(self, function: Callable[[], T]) -> T:
        """Call the function in transactions, with what was lost before locked."""
        self.attempts += 1
        self.is_committing = False
        for _ in range(_LOCK_ATTEMPTS):
            self.is_locking = False
            try:
                return self._attempt(function, self.aliases)
            except DatabaseError as error:
                if not self.is_locking:
                    raise
                # PostgreSQL takes a snapshot before it waits for a lock, so
                # at REPEATABLE READ it comes too late if the row was changed in
                # the meantime. And in a deadlock, whoever has written nothing yet
                # is the one to yield, every time. Nothing is lost yet: queue up
                # again.
                if errors.is_rollback(error) and not self._is_late(0):
                    continue
                if self.guessed:
                    self.guessed.clear()
                elif errors.is_conflict(error):
                    raise
                else:
                    # The table is another schema's, or may not be locked by this
                    # user. The function will say itself if that matters.
                    self.rows.clear()
        self.guessed.clear()
        return self._attempt(function, self.aliases)

    def _attempt(self, function: Callable[[], T], aliases: tuple[str, ...]) -> T:
        if not aliases:
            awaited = self._awaited()
            self._lock_rows(set() if awaited else self.rows | self.guessed)
            with self.begin(awaited):
                result = finished(function())
            self.is_committing = True
            return result
        alias, *others = aliases
        connection = connections[alias]
        is_outermost = not connection.in_atomic_block
        with transaction.atomic(using=alias):
            if is_outermost:
                # Once a transaction is committed, nothing may be done again: what
                # fails after that is another database's COMMIT, or a callback of
                # on_commit().
                connection.on_commit(partial(self.committed.add, alias))
            return self._attempt(function, tuple(others))

    def _awaited(self) -> LostRow | None:
        """Return the row guessed, if the function is sure to read it by its key.

        Its own ``get()`` locks it then. Several rows are locked before, in an order
        all agree on; so is what this call has lost, which it mustn't lose again.
        """
        if self.rows or self.hot is None or not self.hot.reads_by_key:
            return None
        return next(iter(self.guessed)) if len(self.guessed) == 1 else None

    def _lock_rows(self, rows: set[LostRow]) -> None:
        self.locked = set()
        if rows:
            self.is_locking = True
            locking.lock_rows(rows)
            self.is_locking = False
            self.locked = rows

    def _is_unlockable(self, error: Exception, lost: set[LostRow]) -> bool:
        """Tell whether the database refused what was locked, or didn't before COMMIT.

        Where several servers are written to, each knows its own locks alone.
        """
        if not errors.is_rollback(error) or not self.policy.lock_rows:
            return False
        locked = self.locked | (self.running.locked if self.running else set())
        return self.is_committing or (bool(locked) and lost <= locked)

    def _note_how_it_reads(self, lost: set[LostRow]) -> None:
        """Remember whether the function reads by its key what it loses."""
        attempt, hot = self.running, self.hot
        if attempt is None or hot is None:
            return
        if attempt.awaited in lost - attempt.locked:
            hot.reads_by_key = False
        elif hot.reads_by_key is None and lost and lost <= attempt.read:
            hot.reads_by_key = True

    def wait_after(self, error: Exception, passed: Passed) -> float | None:
        """Return the seconds to wait before trying again.

        ``None`` if the error is to be raised.
        """
        policy = self.policy
        if (
            self.committed
            or _has(error, "retry_history")  # of a decorated function further in
            # Nobody knows whether a COMMIT without an answer was carried out, or a
            # statement without a transaction. If the database reports a conflict, that
            # is an answer.
            or _has(error, "may_be_committed")
            or not (errors.is_conflict if self.is_committing else policy.retries)(error)
        ):
            return None
        self.lost = lost = locking.lost_rows(error)
        if self._lost_elsewhere(error):
            return None
        self.guessed.clear()
        if self.running and self.running.awaited and self.running.is_locking:
            lost.add(self.running.awaited)  # reading it was too late for its snapshot
        self._note_how_it_reads(lost)
        cap = policy.cap
        if self._is_unlockable(error, lost):
            self.unlockable += 1
            cap = max(cap, _PATIENT_CAP)
            self.limit = max(self.limit, _PATIENT_BASE)
        wait = policy.uniform(0, self.limit)
        if self.attempts >= self._most() or self._is_late(wait):
            self._give_up(error, passed)
            return None
        if policy.lock_rows:
            self.rows |= lost
        self.waited += wait
        self.limit = min(cap, self.limit * 2)
        logger.info(
            "%s lost attempt %d of %d to %s; next in %.0f ms.",
            self.name,
            self.attempts,
            self._most(),
            type(error).__name__,
            wait * 1000,
        )
        retried.send_robust(self.sender, error=error, attempt=self.attempts, wait=wait)
        return wait

    def skips(self, wait: float) -> bool:
        """Note a wait that is left out, because a test says so."""
        skipped = skipped_waits.get()
        if skipped is None:
            return False
        skipped.append(wait)
        self.started -= wait  # the deadline comes when it would have come
        return True

    def _lost_elsewhere(self, error: Exception) -> bool:
        """Tell whether a row was lost on a database without a transaction of ours."""
        if not self.policy.atomic:
            return False
        elsewhere = {row.using for row in self.lost} - {*self.aliases}
        for alias in elsewhere:
            add_note(
                error,
                f"{self.name} didn't try again: it has no transaction on the "
                f"database {alias!r}. Name all databases it writes to: "
                f"retry_on_conflict(using={[*self.aliases, alias]!r}).",
            )
        return bool(elsewhere)

    def _most(self) -> int:
        """Return how often the call is tried at most, as far as is known now."""
        return self.policy.attempts or _ATTEMPTS + self.unlockable

    def _is_late(self, wait: float) -> bool:
        deadline = self.policy.deadline
        if deadline is None and self.unlockable and self.policy.attempts is None:
            deadline = _PATIENT_DEADLINE
        if deadline is None:
            return False
        return time.monotonic() + wait > self.started + deadline

    def _give_up(self, error: Exception, passed: Passed) -> None:
        elapsed = time.monotonic() - self.started
        history = RetryHistory(self.attempts, self.waited, elapsed)
        error.retry_history = history  # type: ignore[attr-defined]
        note = (
            f"{self.name} gave up after {history.attempts} attempts and "
            f"{history.waited:.3f} s of waiting."
        )
        add_note(error, note)
        for _, instance in errors.refused(error):
            if instance in passed:
                add_note(
                    error,
                    f"{name_of_row(instance)} was loaded before "
                    f"the call, so each attempt lost again. Pass the key instead and "
                    f"load the object in the function, or begin with "
                    f"refresh_from_db().",
                )
        logger.warning("%s", note)
        gave_up.send_robust(self.sender, error=error, history=history)


def _has(error: Exception, name: str) -> bool:
    """Tell whether an error, or what it was raised from, has an attribute."""
    return any(hasattr(part, name) for part in errors.parts(error))
