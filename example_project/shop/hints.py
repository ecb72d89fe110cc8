"""Commands to be typed next, as they work where the reader stands."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"


def command(name: str) -> str:
    """Return the command line for one of manage.py's commands."""
    return shlex.join([_short(sys.executable), _short(MANAGE), name])


def _short(path: str | Path) -> str:
    """Return a path from here if it leads down, else in full."""
    # Not resolved: a virtual environment's python is a link out of it.
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative
