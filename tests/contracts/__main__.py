"""Runs the contracts with each package, one after the other.

Those that need a database of their own are skipped where its server isn't running.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from packages import PACKAGES

PORTS = {"postgresql": 5432}


def is_running(database: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", PORTS[database]), timeout=1).close()
    except OSError:
        return False
    return True


failed = []
for name, package in PACKAGES.items():
    print(f"== {name}", flush=True)  # noqa: T201 -- a command
    settings = os.environ | {"OPTILOCK_TEST_ADMIN": name}
    if package.database and is_running(package.database):
        settings["OPTILOCK_TEST_DATABASE"] = package.database
    pytest = [sys.executable, "-m", "pytest", str(Path(__file__).parent)]
    if subprocess.run([*pytest, *sys.argv[1:]], env=settings).returncode:  # noqa: S603
        failed.append(name)
sys.exit(f"Broken contracts: {', '.join(failed)}" if failed else 0)
