"""How many examples hypothesis tries."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """Return so many where .ci/run asks for all, and a third of them elsewhere."""
    return number if os.environ.get("OPTILOCK_TEST_EXAMPLES") == "all" else number // 3
