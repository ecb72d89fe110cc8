"""Which of Django's tests fail with the lock, as the documentation tells it."""

from __future__ import annotations

import re
from pathlib import Path

from django_suite.reasons import FILE, listed

ROOT = Path(__file__).parents[2]


def test_the_documentation_has_each_reason_and_no_other():
    page = (ROOT / "docs/internals.md").read_text()
    section = page.partition("## Django's own tests")[2].partition("\n## ")[0]
    _, *told = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    reasons = re.findall(r"^# (.+)", FILE.read_text(), re.MULTILINE)
    assert told == reasons


def test_each_line_is_read():
    lines = [line for line in FILE.read_text().splitlines() if line]
    ids = [line.split("  [")[0] for line in lines if not line.startswith("#")]
    read = {
        name
        for kind in ("base", "field")
        for version in ("5.2", "6.0", "6.1")
        for name in listed(kind, version)
    }
    assert read == {*ids}
