"""The campaign runs, and tells what is wrong if something is.

It takes a minute for each isolation level to say much: see docs/reliability.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import campaign
import pytest
from testapp.models import Ledger

DATABASE = os.environ.get("OPTILOCK_TEST_DATABASE", "sqlite")
LEVEL = "WAL_IMMEDIATE" if DATABASE == "sqlite" else "READ_COMMITTED"


@pytest.mark.race
def test_short_campaign_loses_nothing():
    done = subprocess.run(  # noqa: S603 -- the project's own command
        [
            sys.executable,
            Path(campaign.__file__),
            *("--database", DATABASE, "--level", LEVEL),
            *("--seconds", "3", "--processes", "3"),
        ],
        # Another database than this suite's own.
        env={**os.environ, "OPTILOCK_TEST_SUFFIX": f"campaign_{os.getpid()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names, _, numbers = (
        line.strip("| ").split(" | ") for line in done.stdout.split("\n")[:3]
    )
    row = dict(zip(names, numbers, strict=True))
    assert (row["database"], row["isolation"]) == (DATABASE, LEVEL)
    assert (row["lost"], row["twice"]) == ("0", "0")
    assert int(row["reported"].replace(",", "")) > 0


def audited(noted, **expected):
    result = campaign.Result("any", "level")
    campaign.audit(result, Counter(noted), Ledger)
    assert {name: getattr(result, name) for name in expected} == expected
    return result


@pytest.mark.django_db
def test_audit_is_content_with_what_is_as_reported():
    Ledger.objects.create(entries="a b ", balance=2)
    Ledger.objects.create(entries="c ", balance=-2)
    noted = [("begun", e) for e in "abcdef"]
    noted += [("reported", "a"), ("reported", "b"), ("refused", "d"), ("refused", "e")]
    result = audited(noted, writes=6, reported=2, lost=0, twice=0, refused=2)
    assert (result.unknown, result.unknown_stored, result.wrong) == (2, 1, "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("entries", "known", "lost", "twice"),
    [
        ("a ", [("reported", "a"), ("reported", "b")], 1, 0),
        ("a b b ", [("reported", "a"), ("reported", "b")], 0, 1),
        ("a b ", [("reported", "a"), ("refused", "b")], 0, 1),
    ],
    ids=["lost", "twice", "refused and stored"],
)
def test_audit_finds_what_is_lost_or_twice(entries, known, lost, twice):
    Ledger.objects.create(entries=entries)
    begun = [("begun", entry) for entry in "ab"]
    audited([*begun, *known], lost=lost, twice=twice)


@pytest.mark.django_db
def test_audit_finds_half_a_transfer():
    Ledger.objects.create(balance=3)
    assert "don't add up" in audited([]).wrong
