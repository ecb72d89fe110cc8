"""The table of other packages, and the contracts that try them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from contracts.packages import PACKAGES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "packages.md").read_text()
ROWS = {
    row[2]: row
    for row in re.finditer(
        r"^\| (\S+) <!-- (\w+) --> \| (\S+) \| ([\d., ]+) \| (.+) \| (.+) \|$",
        PAGE,
        re.MULTILINE,
    )
}
#: What the extra installs: 4.11 of ``~=4.11.7``.
EXTRA = (
    (ROOT / "pyproject.toml").read_text().split("\ncontracts = [")[1].split("\n]")[0]
)
PINNED = dict(re.findall(r'"([\w-]+)~=(\d+\.\d+)[\d.]*[";]', EXTRA))


def test_each_package_is_in_the_table_and_none_besides():
    assert [*ROWS] == sorted(PACKAGES, key=[*ROWS].index)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_table_names_the_release_that_is_tried(name):
    package = PACKAGES[name]
    plain = name.removeprefix("django_").replace("_", "-")
    distribution = package.distribution or f"django-{plain}"
    assert ROWS[name][1].lower() == distribution
    assert ROWS[name][3] == PINNED[distribution]


@pytest.mark.parametrize("name", PACKAGES)
def test_its_own_tests_are_there(name):
    for module in PACKAGES[name].own:
        assert (ROOT / "tests" / "contracts" / f"{module}.py").is_file()


def test_the_table_names_the_djangos_of_the_contracts():
    found = re.findall(
        r"^\[tool\.tox\.env\.contracts(\d)(\d)\]$",
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE,
    )
    djangos = ", ".join(f"{major}.{minor}" for major, minor in found)
    assert {row[4] for row in ROWS.values()} == {djangos}
