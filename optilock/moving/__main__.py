"""``python -m optilock.moving``: see ``optilock.moving.command``."""

from __future__ import annotations

import sys

try:
    from optilock.moving.command import main
except ModuleNotFoundError as error:
    if error.name != "libcst":
        raise
    sys.exit('This needs libcst: pip install "optilock[move]".')

__all__ = []

if __name__ == "__main__":  # pragma: no branch -- nobody imports it
    sys.exit(main())
