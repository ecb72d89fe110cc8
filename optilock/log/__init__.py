"""A log of edit conflicts, as an app of its own: ``"optilock.log"``."""

from __future__ import annotations

__all__ = ()
