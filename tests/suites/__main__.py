"""Runs the tests of the packages people come from, with optilock behind their names.

Their tests are in the source distributions, which are fetched for that. Each that
doesn't pass has its reason in ``reasons.py``; any other is an error, and so is a reason
for a test that passes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from reasons import CONCURRENCY, OPTIMISTIC_LOCK

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """Tests of theirs.

    Attributes:
        requirement: the distribution that has them.
        source: the folder in it with the package.
        path: the folders in it that have to be on the path.
        settings: their settings, and those with optilock.
        tests: what to run.
        reasons: why which tests fail.
    """

    requirement: str
    source: str
    path: Sequence[str]
    settings: tuple[str, str]
    tests: str
    reasons: Mapping[str, str]


SUITES = [
    Suite(
        # Later distributions have no tests.
        "django-concurrency==2.6.0",
        "src/concurrency",
        ["tests/demoapp", "tests"],
        ("demo.settings", "concurrency_settings"),
        "tests",
        CONCURRENCY,
    ),
    Suite(
        "django-optimistic-lock==1.0.0",
        "ool",
        ["tests"],
        ("tests.sqlite_settings", "tests.sqlite_settings"),
        "tests/tests/tests.py",
        OPTIMISTIC_LOCK,
    ),
]


def fetch(suite: Suite, into: Path) -> Path:
    """Return the folder of an unpacked source distribution."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    options = ["--no-binary", ":all:", "-d", str(into), suite.requirement]
    subprocess.run([*pip, *options], check=True)  # noqa: S603
    [archive] = into.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    archive.unlink()
    [folder] = into.iterdir()
    return folder


def run(suite: Suite, folder: Path, *, ours: bool) -> tuple[dict[str, str], int]:
    """Return what failed, by name, and how many were run (some are skipped)."""
    shims, source = HERE / "shims", folder / suite.source
    path = [shims if ours else source.parent, shims, *map(folder.joinpath, suite.path)]
    if not ours:
        del path[1]
        path.append(shims)  # for the plugin
    report = folder / "report.xml"
    settings = os.environ | {
        "DBENGINE": "sqlite",
        "DBNAME": ":memory:",
        "DJANGO_SETTINGS_MODULE": suite.settings[ours],
        "PYTHONSAFEPATH": "1",  # their package lies in the folder, too
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "THEIR_SOURCE": str(source),
    }
    (folder / "suite.ini").write_text("[pytest]\ndjango_find_project = false\n")
    options = ["-q", "-c", "suite.ini", "--rootdir", ".", "-p", "no:warnings"]
    options += ["-p", "no:cacheprovider", "-p", "older_django", "--tb=no", "-r", "N"]
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}"]
    command += ["-k", "not test_concurrently", suite.tests]  # a helper of theirs
    subprocess.run(command, cwd=folder, env=settings)  # noqa: S603
    failed: dict[str, str] = {}
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 -- ours
    cases = [case for case in cases if case.find("skipped") is None]
    for case in cases:
        outcome = next((one for one in case if one.tag in ("failure", "error")), None)
        if outcome is not None:
            name = f"{case.get('classname')}.{case.get('name')}".removeprefix("tests.")
            failed[name] = (outcome.get("message") or "").split("\n")[0]
    return failed, len(cases)


def judge(suite: Suite, failed: Mapping[str, str]) -> list[str]:
    """Return what is wrong: failures without a reason, reasons without a failure."""
    wrong = []
    for name, message in failed.items():
        if name in suite.reasons:
            print(f"  {name}: {suite.reasons[name]}")
        else:
            wrong.append(f"{name} fails, and nobody knows why: {message}")
    passed = suite.reasons.keys() - failed.keys()
    return [*wrong, *(f"{name} is to fail, and doesn't" for name in sorted(passed))]


def main() -> str | int:
    wrong: list[str] = []
    for suite in SUITES:
        with tempfile.TemporaryDirectory() as into:
            folder = fetch(suite, Path(into))
            theirs, _ = run(suite, folder, ours=False)
            failed, count = run(suite, folder, ours=True)
        print(f"== {suite.requirement}: {count} tests run")
        print(f"  {count - len(theirs)} pass with the package itself")
        print(f"  {count - len(failed)} pass with optilock behind its names")
        wrong += judge(suite, failed)
    return "\n".join(wrong) or 0


if __name__ == "__main__":
    sys.exit(main())
