"""Who has a row open: an app of its own, because it has a table.

``INSTALLED_APPS`` needs ``"optilock.presence"``. Pages announce themselves through
``optilock.lookout``, and are forgotten when they are closed.
"""

from __future__ import annotations

__all__ = []
