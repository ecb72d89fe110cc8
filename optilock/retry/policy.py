"""How often, how long and on what databases: the arguments of the decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest

from optilock.retry import errors
from optilock.retry.transactions import atomic_requests

__all__ = ["Policy", "RetryOn"]

#: What is retried besides conflicts: exception classes, or a function that is
#: asked about each exception.
RetryOn = (
    type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | None]
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The arguments of ``retry_on_conflict()``."""

    attempts: int | None
    base: float
    cap: float
    deadline: float | None
    using: tuple[str, ...]
    retry_on: RetryOn
    lock_rows: bool
    atomic: bool
    # By default the function of the module: it is seeded again after a fork, so
    # workers that were forked don't all wait for the same time.
    uniform: Callable[[float, float], float]

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
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

    def aliases(self, args: tuple[object, ...], excluded: set[str]) -> tuple[str, ...]:
        """Return the databases on which an attempt has a transaction."""
        # A view gets the request first, after `self` if it is a method.
        # Its type is asked, not isinstance(): that would load request.user.
        for argument in args[:2]:
            if issubclass(type(argument), HttpRequest):
                return tuple(dict.fromkeys([*self.using, *atomic_requests(excluded)]))
        return self.using

    def retries(self, error: Exception) -> bool:
        """Tell whether an error is a conflict, or one of those to be retried too."""
        if errors.is_conflict(error) or self._adds(error):
            return True
        members = errors.group_members(error)
        return bool(members) and all(
            isinstance(member, Exception) and self.retries(member) for member in members
        )

    def _adds(self, error: Exception) -> bool:
        if isinstance(self.retry_on, type | tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))
