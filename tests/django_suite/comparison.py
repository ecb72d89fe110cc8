"""Compares what fails with the lock with what fails without it, and with a list."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Run", "label", "report", "report_time", "run", "together"]


@dataclass(frozen=True)
class Run:
    """What one run of the tests came to."""

    ids: frozenset[str] = frozenset()
    failed: dict[str, str] = field(default_factory=dict)
    models: int = 0
    seconds: float = 0


def run(command: Iterable[str], *labels: str) -> Run:
    """Run tests in another process, and return what became of them.

    Args:
        command: takes the file to write that into, as ``--into``.
        labels: which tests.
    """
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch) / "found.json"
        ran = subprocess.run(  # noqa: S603
            [*command, "--into", str(into), *labels],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if not into.exists():
            sys.exit(ran.stdout.decode(errors="replace")[-5000:])
        found = json.loads(into.read_text())
    return Run(**found | {"ids": frozenset(found["ids"])})


def together(runs: Iterable[Run]) -> Run:
    """Return runs of different tests as one."""
    runs = list(runs)
    failed = {test: text for run in runs for test, text in run.failed.items()}
    return Run(
        ids=frozenset().union(*(run.ids for run in runs)),
        failed=failed,
        models=sum(run.models for run in runs),
        seconds=sum(run.seconds for run in runs),
    )


def label(test: str) -> str:
    """Return what runs a test: of "setUpClass (basic.tests.X)", what is in brackets."""
    return test.partition("(")[2].rstrip(")") or test


def report_time(pairs: Iterable[tuple[Run, Run]]) -> None:
    pairs = list(pairs)
    ratios = [lock.seconds / control.seconds for lock, control in pairs]
    lock, control = (
        statistics.median(r.seconds for r in runs) for runs in zip(*pairs, strict=True)
    )
    _say(
        f"Client CPU, lock ÷ control: {statistics.median(ratios):.3f} "
        f"({', '.join(f'{ratio:.3f}' for ratio in ratios)}); "
        f"{lock:.1f} s and {control:.1f} s."
    )


def report(
    what: str,
    lock: Run,
    control: Run,
    expected: Mapping[str, str],
    *,
    is_showing: bool = False,
) -> int:
    """Say what fails beyond the control, and return 1 if that isn't what should.

    Args:
        what: the tests that were run.
        lock: with the lock.
        control: with a plain column.
        expected: the tests that should fail, with the reasons.
        is_showing: say how they failed, too.
    """
    beyond = lock.failed.keys() - control.failed.keys()
    # These measure time, and so what else the machine is doing.
    beyond -= {test for test in beyond if test.endswith("_performance")}
    new = sorted(beyond - expected.keys())
    over = sorted((expected.keys() & lock.ids) - beyond)
    if is_showing:
        for name in sorted(beyond):
            _say(f"== {name}\n{lock.failed[name]}")
    _say(
        f"{what}: {lock.models} models, {len(lock.ids)} tests; "
        f"{len(control.failed)} fail in the control, {len(beyond)} beyond it."
    )
    _say(f"Not in reasons.txt: {len(new)}", *new)
    _say(f"In reasons.txt, but not failing: {len(over)}", *over)
    return int(bool(new or over))


def _say(*lines: str) -> None:
    print(*lines, sep="\n  ", flush=True)  # noqa: T201 -- a command
