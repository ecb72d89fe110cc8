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
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as option
from pathlib import Path

import django
import inside
from reasons import FILE, listed


@dataclass(frozen=True)
class Run:
    """What one run of the tests came to."""

    ids: frozenset[str] = frozenset()
    failed: dict[str, str] = option(default_factory=dict)
    models: int = 0
    seconds: float = 0


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
            parallel=options.parallel,
        )
        return 0
    labels = options.labels or sorted(_labels(source))
    lock = _run("lock", options, labels)
    again = labels if options.pairs else sorted(map(_label, lock.failed))
    control = _run("control", options, again) if again else Run()
    pairs = [(lock, control)]
    for number in range(1, options.pairs):
        order = ("control", "lock") if number % 2 else ("lock", "control")
        runs = {which: _run(which, options, labels) for which in order}
        pairs.append((runs["lock"], runs["control"]))
    if options.pairs:
        _report_time(pairs)
    return _report(options, lock, control)


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
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch) / "found.json"
        command = [sys.executable, __file__, "--inside", which, "--into", str(into)]
        command += ["--field"] * options.field
        ran = subprocess.run(  # noqa: S603
            [*command, f"--parallel={options.parallel}", *labels],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if not into.exists():
            sys.exit(ran.stdout.decode(errors="replace")[-5000:])
        found = json.loads(into.read_text())
    return Run(**found | {"ids": frozenset(found["ids"])})


def _label(test: str) -> str:
    """Return what runs a test: of "setUpClass (basic.tests.X)", what is in brackets."""
    return test.partition("(")[2].rstrip(")") or test


def _report_time(pairs: list[tuple[Run, Run]]) -> None:
    ratios = [lock.seconds / control.seconds for lock, control in pairs]
    _say(
        f"Client CPU, lock ÷ control: {statistics.median(ratios):.3f} "
        f"({', '.join(f'{ratio:.3f}' for ratio in ratios)})."
    )


def _report(options: argparse.Namespace, lock: Run, control: Run) -> int:
    beyond = lock.failed.keys() - control.failed.keys()
    # These measure time, and so what else the machine is doing.
    beyond -= {test for test in beyond if test.endswith("_performance")}
    kind = "field" if options.field else "base"
    expected = listed(kind, f"{django.VERSION[0]}.{django.VERSION[1]}")
    new = sorted(beyond - expected.keys())
    over = sorted((expected.keys() & lock.ids) - beyond)
    if options.show:
        for name in sorted(beyond):
            _say(f"== {name}\n{lock.failed[name]}")
    _say(
        f"Django {django.__version__}, {kind}: {lock.models} models, {len(lock.ids)} "
        f"tests; {len(control.failed)} fail in the control, {len(beyond)} beyond it."
    )
    _say(f"Not in {FILE.name}: {len(new)}", *new)
    _say(f"In {FILE.name}, but not failing: {len(over)}", *over)
    return bool(new or over)


def _say(*lines: str) -> None:
    print(*lines, sep="\n  ", flush=True)  # noqa: T201 -- a command


if __name__ == "__main__":
    sys.exit(main())
