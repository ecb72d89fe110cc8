"""Each benchmark runs, in a few rounds that say nothing about speed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
DATABASE = os.environ.get("OPTILOCK_TEST_DATABASE", "sqlite")
pytestmark = [
    pytest.mark.skipif(
        DATABASE != "sqlite",
        reason="It starts a Django for each benchmark; run once, with SQLite.",
    ),
    pytest.mark.timeout(1200),  # the first test waits for all of them
]
ALL = re.findall(
    r"\| `python -m benchmarks\.(\w+)`", (BENCHMARKS / "README.md").read_text()
)
COUNTS = os.environ.get("OPTILOCK_TEST_INSTRUCTIONS") == "1"
NAMES = [name for name in ALL if name not in ("instructions", "parts") or COUNTS]


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- the project's own commands
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def done(results):
    """What each command did; they run side by side, since each starts Django twice."""

    def run(name):
        options = [
            "--quick",
            "--database",
            DATABASE,
            "--json",
            results / f"{name}.json",
        ]
        return python("-m", f"benchmarks.{name}", *options)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(NAMES, pool.map(run, NAMES), strict=True))


def test_the_readme_names_every_benchmark():
    assert sorted(ALL) == sorted(
        path.stem
        for path in BENCHMARKS.glob("*.py")
        if re.search(r'\bmain\("', path.read_text())
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_prints_its_tables_and_writes_them(name, done, results):
    assert done[name].returncode == 0, done[name].stderr
    result = json.loads((results / f"{name}.json").read_text())
    [run] = result["runs"]
    assert run["database"] == DATABASE
    for table in run["tables"]:
        assert f"{result['title']}, {table['name']}: {DATABASE}" in done[name].stdout
        assert any(way.startswith("optilock") for way in table["samples"])
        for way, samples in table["samples"].items():
            assert f"| {way} " in done[name].stdout
            assert len(samples) == result["rounds"] == 2


#: By how much a save may be heavier than Django's own, in instructions.
HEAVIEST = {
    "PATCH": 1.15,
    "GET": 1.25,
    "save()": 0.55,
    "save(update_fields=…)": 0.62,
    "save() in atomic()": 0.67,
    "save(), two tables": 0.55,
    "loading one row": 1.03,
    "create(), in atomic()": 1.05,
    "bulk_create() of 100": 1.1,
    "loading 100 rows": 1.07,
    "a refusal, caught": 1.5,
}


@pytest.mark.skipif(
    not COUNTS,
    reason="It takes minutes: install valgrind, and set OPTILOCK_TEST_INSTRUCTIONS=1.",
)
def test_the_lock_takes_few_instructions(done, results):
    assert done["instructions"].returncode == 0
    [run] = json.loads((results / "instructions.json").read_text())["runs"]
    for table in run["tables"]:
        samples = table["samples"]
        [yardstick, *_] = map(min, samples.values())
        ours = next(name for name in samples if name.startswith("optilock"))
        assert min(samples[ours]) <= HEAVIEST[table["name"]] * yardstick


def test_without_valgrind_the_reason_is_told(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.instructions"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "valgrind isn't installed" in finished.stderr


def test_one_round_is_refused():
    finished = python("-m", "benchmarks.memory", "--rounds", "1")
    assert finished.returncode == 2
    assert "--rounds has to be 2 or more" in finished.stderr


def test_the_report_replaces_the_figures_and_nothing_else(done, results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- figures -->\nold\n<!-- end of figures -->\nbelow\n")
    finished = python("-m", "benchmarks.report", results, "-o", page)
    assert finished.returncode == 0, finished.stderr
    text = page.read_text()
    assert text.startswith("above\n<!-- figures -->\n")
    assert text.endswith("\n<!-- end of figures -->\nbelow\n")
    assert "old" not in text
    for name in NAMES:
        title = json.loads((results / f"{name}.json").read_text())["title"]
        assert f"\n### {title}\n" in text


def test_the_report_says_which_files_it_misses(tmp_path):
    finished = python("-m", "benchmarks.report", tmp_path)
    assert finished.returncode == 2
    assert "save.json" in finished.stderr


def test_the_picture_shows_save_and_bulk_update(done, results, tmp_path):
    picture = tmp_path / "picture.svg"
    finished = python("-m", "benchmarks.picture", results, "-o", picture)
    assert finished.returncode == 0, finished.stderr
    texts = [text.text for text in ElementTree.parse(picture).iter() if text.text]  # noqa: S314 -- our own file
    assert "save() of six fields" in texts
    assert "bulk_update() of 10 rows" in texts


def test_the_readme_shows_what_the_stored_results_say(tmp_path):
    page = tmp_path / "page.md"
    page.write_text((BENCHMARKS / "README.md").read_text())
    finished = python("-m", "benchmarks.report", BENCHMARKS / "results", "-o", page)
    assert finished.returncode == 0, finished.stderr
    assert page.read_text() == (BENCHMARKS / "README.md").read_text()
