"""The campaign of docs/reliability.md, for some seconds, with servers of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import campaign
import pytest


@pytest.mark.parametrize("database", ["postgresql", "galera"])
def test_nothing_is_lost_while_servers_are_restarted(database):
    done = subprocess.run(  # noqa: S603 -- the project's own command
        [
            *(sys.executable, campaign.__file__, "--restart"),
            *("--database", database, "--level", "REPEATABLE_READ", "--seconds", "8"),
        ],
        env={**os.environ, "OPTILOCK_TEST_SUFFIX": f"campaign_{os.getpid()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "is skipped" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    names, _, numbers = (
        line.strip("| ").split(" | ") for line in done.stdout.split("\n")[:3]
    )
    row = dict(zip(names, numbers, strict=True))
    assert (row["lost"], row["twice"]) == ("0", "0")
    assert int(row["servers restarted"]) > 0
    assert int(row["reported"].replace(",", "")) > 100
