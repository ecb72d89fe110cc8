from __future__ import annotations

from testapp.models.lock import *  # noqa: F403
