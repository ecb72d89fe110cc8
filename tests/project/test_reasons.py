"""Which of Django's and Wagtail's tests fail with the lock, as the pages tell it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django_suite.reasons import listed

ROOT = Path(__file__).parents[2]
DJANGO = ROOT / "tests/django_suite/reasons.txt"
WAGTAIL = ROOT / "tests/wagtail_suite/reasons.txt"


def section(page, title):
    return (ROOT / page).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


SECTIONS = {
    DJANGO: section("docs/internals.md", "Django's own tests"),
    WAGTAIL: section("docs/packages.md", "Wagtail's own tests"),
}


@pytest.mark.parametrize("file", SECTIONS)
def test_the_documentation_has_each_reason_and_no_other(file):
    _, *told = re.findall(r"^\| ([^|]+) \|", SECTIONS[file], re.MULTILINE)
    reasons = re.findall(r"^# (.+)", file.read_text(), re.MULTILINE)
    assert told == reasons


@pytest.mark.parametrize("file", SECTIONS)
def test_each_line_is_read(file):
    lines = [line for line in file.read_text().splitlines() if line]
    ids = [line.split("  [")[0] for line in lines if not line.startswith("#")]
    read = {
        name
        for kind in ("base", "field")
        for version in ("5.2", "6.0", "6.1")
        for name in listed(file, kind, version)
    }
    assert read == {*ids}


def test_the_documentation_counts_them():
    counts = [
        len(listed(DJANGO, kind, version))
        for kind in ("base", "field")
        for version in ("5.2", "6.0", "6.1")
    ]
    told = re.search(
        r"(\d+) fail beyond the control on Django 5.2, and (\d+) on 6.0 and 6.1; "
        r"with the field alone it is (\d+), and (\d+)\.",
        SECTIONS[DJANGO].replace("\n", " "),
    )
    base, later, alone, later_alone = map(int, told.groups())
    assert counts == [base, later, later, alone, later_alone, later_alone]
    told = re.search(r"(\d+) of \d+ fail beyond", SECTIONS[WAGTAIL])
    assert int(told[1]) == len(listed(WAGTAIL, "base", "5.2"))
