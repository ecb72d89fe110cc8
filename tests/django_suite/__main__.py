"""Runs Django's own tests with the lock put into every one of their models.

    python tests/django_suite [--field] [--parallel N] [--pairs N] [--show] [label ...]

What fails is run again with a plain column in place of the version: what fails then,
too, is broken by any further column, and doesn't count. What fails beyond that must
stand, with its reason, in ``reasons.txt``; and what stands there must fail. With
``--pairs`` everything is run again, that often, and the time compared.

The tests are those of the installed Django, on SQLite. pip gets them from its source
distribution, and they are kept in the user's cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django
import inside
from comparison import Run, label, report, report_time, run, together
from reasons import listed

FILE = Path(__file__).with_name("reasons.txt")
#: How many folders' tests have their tables in one database.
TOGETHER = 10


def main() -> int:
    options = _options()
    source = _source()
    if options.inside:
        inside.run(
            source,
            options.labels,
            options.into,
            is_lock=options.inside == "lock",
            field_alone=options.field,
        )
        return 0
    labels = options.labels or sorted(_labels(source))
    lock = _run("lock", options, labels)
    again = labels if options.pairs else sorted(map(label, lock.failed))
    control = _run("control", options, again) if again else Run()
    pairs = [(lock, control)]
    for number in range(1, options.pairs):
        order = ("control", "lock") if number % 2 else ("lock", "control")
        runs = {which: _run(which, options, labels) for which in order}
        pairs.append((runs["lock"], runs["control"]))
    if options.pairs:
        report_time(pairs)
    kind = "field" if options.field else "base"
    expected = listed(FILE, kind, f"{django.VERSION[0]}.{django.VERSION[1]}")
    what = f"Django {django.__version__}, {kind}"
    return report(what, lock, control, expected, is_showing=options.show)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--field", action="store_true", help="the field alone, without the base class")
    add("--parallel", type=int, default=os.cpu_count(), help="how many processes")
    add("--pairs", type=int, default=0, help="how often, to compare the time it takes")
    add("--show", action="store_true", help="show how each test failed")
    add("--inside", choices=["lock", "control"], help=argparse.SUPPRESS)
    add("--into", type=Path, help=argparse.SUPPRESS)
    add("labels", nargs="*", help="Django's tests: `basic`, `delete_regress.tests`")
    return parser.parse_args()


def _source() -> Path:
    """Return the folder of the installed Django's tests; pip gets what is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "optilock")
    name = f"django-{django.__version__}"
    tests = cache / name / "tests"
    if tests.is_dir():
        return tests
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        what = ["--no-deps", "--no-binary", "django", f"django=={django.__version__}"]
        pip = [sys.executable, "-m", "pip", "download", "-q", "-d", scratch, *what]
        subprocess.run(pip, check=True)  # noqa: S603
        with tarfile.open(Path(scratch, f"{name}.tar.gz")) as archive:
            archive.extractall(scratch, filter="data")
        Path(scratch, name).rename(cache / name)
    return tests


def _labels(source: Path) -> Iterator[str]:
    """Yield the folders whose tests have models, with tables made from them."""
    left_out = inside.LEFT_OUT | inside.OF_OTHER_THINGS
    for folder in source.iterdir():
        texts = (path.read_text(errors="ignore") for path in folder.rglob("*.py"))
        if (
            (folder / "__init__.py").exists()
            and folder.name not in left_out
            and not (folder / "migrations").exists()
            and any("models.Model)" in text for text in texts)
        ):
            yield folder.name


def _run(which: str, options: argparse.Namespace, labels: list[str]) -> Run:
    """Run tests some folders at a time.

    After each of most tests, SQLite looks for missing rows in every table there is.
    """
    command = [sys.executable, __file__, "--inside", which]
    command += ["--field"] * options.field
    starts = range(0, len(labels), TOGETHER)
    groups = [labels[start : start + TOGETHER] for start in starts]
    with ThreadPoolExecutor(options.parallel) as pool:
        return together(pool.map(lambda group: run(command, *group), groups))


if __name__ == "__main__":
    sys.exit(main())
