"""Runs the contracts with each package, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from packages import PACKAGES

failed = []
for name in PACKAGES:
    print(f"== {name}", flush=True)  # noqa: T201 -- a command
    pytest = [sys.executable, "-m", "pytest", str(Path(__file__).parent)]
    settings = os.environ | {"OPTILOCK_TEST_ADMIN": name}
    if subprocess.run([*pytest, *sys.argv[1:]], env=settings).returncode:  # noqa: S603
        failed.append(name)
sys.exit(f"Broken contracts: {', '.join(failed)}" if failed else 0)
