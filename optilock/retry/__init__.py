"""``@retry_on_conflict``: a function that loses a conflict is tried again."""

from __future__ import annotations

from optilock.retry.call import RetryHistory
from optilock.retry.decorator import retry_on_conflict

__all__ = ["RetryHistory", "retry_on_conflict"]
