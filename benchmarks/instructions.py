"""How many instructions of the processor does it take, beside Django's own?

Counted by valgrind's callgrind: the same figure on a busy machine and a quiet one,
where a clock is too restless for a difference of a few per cent. What the database
server does isn't counted, nor what the kernel does.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from django.db import IntegrityError, connection
from django.db.models import Model

from benchmarks import harness, http, pages
from benchmarks.load import contenders as loaded
from benchmarks.load import getting, loading
from benchmarks.save import in_atomic, saving
from optilock import RecordModifiedError

#: Where callgrind writes to. It is set inside valgrind.
FOLDER = "OPTILOCK_CALLGRIND"

UNIT = "thousand instructions"


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    from benchmarks import models

    begin()

    django, alone = "Django, no lock", "optilock, the field alone"
    six = {django: models.Unlocked, "optilock": models.Locked}
    six[alone] = models.LockedByField
    two = {django: models.UnlockedChild, "optilock": models.LockedChild}
    saves = {name: saving(model) for name, model in six.items()}
    yield counted(plan, "save()", saves)
    one = {"update_fields": ["owner"]}
    yield counted(
        plan,
        "save(update_fields=…)",
        {name: saving(model, **one) for name, model in six.items()},
    )
    yield counted(
        plan,
        "save() in atomic()",
        {name: in_atomic(way) for name, way in saves.items()},
    )
    yield counted(
        plan,
        "save(), two tables",
        {name: saving(model) for name, model in two.items()},
    )
    yield counted(
        plan,
        "a refusal, caught",
        {"Django, IntegrityError": duplicate(), "optilock": stale(models.Locked)}
        | {alone: stale(models.LockedByField)},
    )
    # A plain integer in place of the version, so that the lock is compared, and not one
    # column more.
    seven = {"Django, a plain integer": models.HandWritten, **six}
    del seven[django]
    yield counted(
        plan,
        "create(), in atomic()",
        {
            name: in_atomic(model._default_manager.create)
            for name, model in seven.items()
        },
    )
    yield counted(
        plan,
        "bulk_create() of 100",
        {name: inserting(model, 100) for name, model in seven.items()},
        calls=2,
    )
    rows = loaded(100)
    yield counted(
        plan, "loading one row", {name: getting(model) for name, model in rows.items()}
    )
    yield counted(
        plan,
        "loading 100 rows",
        {name: loading(model) for name, model in rows.items()},
        calls=2,
    )
    patches, gets = http.ways()
    yield counted(plan, "PATCH", patches, calls=3)
    yield counted(plan, "GET", gets, calls=3)
    if plan.quick:
        return  # a page of many rows takes minutes
    client = pages.signed_in()
    for title, urls in pages.pages().items():
        shown = {name: pages.getting(client, url) for name, url in urls.items()}
        sent = {name: pages.opening(client, url) for name, url in urls.items()}
        for open_page in sent.values():
            for _ in range(2):
                open_page()()
        yield harness.Table(
            f"GET of {title}",
            UNIT,
            harness.interleave(
                shown, plan.rounds, lambda page: instructions(page, 1) / 1000
            ),
        )
        yield harness.Table(
            f"POST of {title}",
            UNIT,
            harness.interleave(
                sent, plan.rounds, lambda page: instructions(page(), 1) / 1000
            ),
        )


def counted(
    plan: harness.Plan, name: str, ways: harness.Ways, *, calls: int = 10
) -> harness.Table:
    """Compare the instructions of one call; a sample is the mean of some calls."""
    calls = 1 if plan.quick else calls
    empty = min(instructions(lambda: None, calls) for _ in range(2))

    def sample(way: harness.Way) -> float:
        # Python adapts its code to the classes that it meets: to this way's now.
        for _ in range(10):
            way()
        return (instructions(way, calls) - empty) / calls / 1000

    return harness.Table(name, UNIT, harness.interleave(ways, plan.rounds, sample))


def instructions(way: Callable[[], object], calls: int) -> int:
    """Return the instructions of some calls, and of what counts them."""
    gc.collect()
    gc.disable()
    try:
        control("--zero")
        for _ in range(calls):
            way()
        control("--dump")
    finally:
        gc.enable()
    return dumped()


def dumped() -> int:
    """Return the instructions from ``--zero`` to ``--dump``, and forget them."""
    [file] = Path(os.environ[FOLDER]).glob("*.[0-9]*")
    found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{file} has no totals.")
    file.unlink()
    return int(found[1])


def begin() -> None:
    if connection.vendor != "sqlite":
        sys.exit("It counts on one database, sqlite: its server is in this process.")
    control("--instr=on")


def control(command: str) -> None:
    """Tell callgrind something about this process."""
    program = shutil.which("callgrind_control") or "callgrind_control"
    null = os.devnull, os.O_WRONLY, 0
    quiet = [(os.POSIX_SPAWN_OPEN, number, *null) for number in (1, 2)]
    arguments = [program, command, str(os.getpid())]
    # Not subprocess.run(), which takes more than what is counted.
    pid = os.posix_spawn(program, arguments, os.environ, file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"callgrind_control {command} failed.")


def inserting(model: type[Model], number: int) -> harness.Way:
    """Return a function that inserts so many rows at once."""
    manager = model._default_manager
    return lambda: manager.bulk_create(model() for _ in range(number))


def duplicate() -> harness.Way:
    """Return a function that inserts a key that is taken, in a savepoint's care."""
    from benchmarks.models import Unlocked

    taken = Unlocked(pk=Unlocked.objects.create().pk)

    def way() -> None:
        try:
            taken.save(force_insert=True)
        except IntegrityError:
            return
        raise RuntimeError("there is one already")

    return way


def stale(model) -> harness.Way:
    """Return a function that saves an instance somebody else has overtaken."""
    instance = model._default_manager.get(pk=model._default_manager.create().pk)
    model._default_manager.get(pk=instance.pk).save()

    def way() -> None:
        try:
            instance.save()
        except RecordModifiedError:
            return
        raise RuntimeError("nothing was refused, although it is stale")

    return way


def main(name: str, tables: Callable[[harness.Plan], Iterator[harness.Table]]) -> None:
    """Run a benchmark of this folder that counts instructions, inside valgrind.

    Args:
        name: the module's.
        tables: as for ``harness.main()``.
    """
    if FOLDER in os.environ:
        settings = pages.SETTINGS | http.SETTINGS
        harness.main(name, tables, rounds=3, also=settings)
    elif shutil.which("valgrind") is None:
        sys.exit("Nothing is counted: valgrind isn't installed here.")
    else:
        sys.exit(under_valgrind(name))


def under_valgrind(name: str) -> int:
    """Run a module of this folder once more, inside valgrind."""
    with TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/counted",
            *(sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]),
        ]
        # Dicts and sets have the same order each time, and nobody who measures what
        # lines are reached counts for the package alone.
        environment = os.environ | {FOLDER: folder, "PYTHONHASHSEED": "0"}
        for name in [name for name in environment if name.startswith("COVERAGE_")]:
            del environment[name]
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 -- our own


if __name__ == "__main__":
    main("instructions", tables)
