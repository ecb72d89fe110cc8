"""Celery: a task that loses a conflict goes back into the queue.

Needs ``celery`` (``pip install optilock[celery]``).
"""

from __future__ import annotations

from typing import TypedDict

from optilock.exceptions import RecordDeletedError, RecordModifiedError

__all__ = ["retry_options"]


class _RetryOptions(TypedDict):
    autoretry_for: tuple[type[Exception], ...]
    dont_autoretry_for: tuple[type[Exception], ...]
    max_retries: int
    retry_backoff: int
    retry_backoff_max: int
    retry_jitter: bool


def retry_options(
    *, max_retries: int = 5, backoff: int = 1, backoff_max: int = 60
) -> _RetryOptions:
    """Return options for a task that is to be tried again after a conflict.

    ``@shared_task(**retry_options())``. It is for what ``retry_on_conflict`` has
    given up, which tries again at once and in the same worker; both go together.
    A deleted row doesn't come back, so its task isn't tried again.

    Args:
        max_retries: how often it is tried again at most.
        backoff: the limit of the first wait, in seconds. Each is twice the one
            before; the wait itself is drawn evenly from zero to the limit.
        backoff_max: the highest limit, in seconds.
    """
    return {
        "autoretry_for": (RecordModifiedError,),
        "dont_autoretry_for": (RecordDeletedError,),
        "max_retries": max_retries,
        "retry_backoff": backoff,
        "retry_backoff_max": backoff_max,
        "retry_jitter": True,
    }
