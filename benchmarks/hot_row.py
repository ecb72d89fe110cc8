"""How writers fare that all want the same row.

Each writer is a thread with its own connection that increments a number as fast
as it can: always the same row's, or that of one of 1,000 rows picked at random.
The ways to do it are measured in turn, in short rounds and in an order drawn for
each round, so that what else the machine does hits all of them; the figures are
medians over the rounds. ``throughput`` and ``p99`` at the right are ratios to
``select_for_update`` in the same round. ``CPU ms`` is what a success costs the writers'
process; it depends least on what else the machine does.

    python benchmarks/hot_row.py --database postgresql mariadb --json hot_row.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"hot row": 1, "random rows": 1000}
BY_HAND = "select_for_update"
MEDIANS = ("per_second", "wasted", "p50_ms", "p99_ms", "cpu_ms")

Way = Callable[[int], None]


class Counter:
    """Counts the attempts of a round, over all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value = 0

    def __call__(self) -> None:
        with self.lock:
            self.value += 1


def ways(attempt: Counter) -> dict[str, Way]:
    """Return the ways to increment the number of a row."""
    from django.db import transaction
    from django.db.models import F
    from testapp.models import Account

    from optilock import retry_on_conflict

    def read_modify_write(pk: int) -> None:
        attempt()
        account = Account.objects.get(pk=pk)
        account.balance += 1
        account.save(update_fields=["balance"])

    @transaction.atomic
    def by_hand(pk: int) -> None:
        attempt()
        account = Account.objects.select_for_update().get(pk=pk)
        account.balance += 1
        account.save(update_fields=["balance"])

    def one_update(pk: int) -> None:
        attempt()
        Account.objects.filter(pk=pk).update(balance=F("balance") + 1)

    no_waiting = {"attempts": 10_000, "base": 0, "cap": 0, "lock_rows": False}
    return {
        "no waiting": retry_on_conflict(**no_waiting)(read_modify_write),
        "full jitter": retry_on_conflict(lock_rows=False)(read_modify_write),
        "default": retry_on_conflict(read_modify_write),
        BY_HAND: by_hand,
        "F()": one_update,
    }


def measure(way: Way, pks: list[int], writers: int, seconds: float) -> dict[str, Any]:
    """Let the writers run; return what they achieved, and how long they waited."""
    from django.db import DatabaseError, connection

    latencies: list[float] = []
    errors: list[Exception] = []
    start = threading.Barrier(writers + 1)

    def write(seed: int) -> None:
        choose = random.Random(seed)
        mine = []
        connection.ensure_connection()
        start.wait()
        end = time.perf_counter() + seconds
        while (before := time.perf_counter()) < end:
            try:
                way(choose.choice(pks))
            except DatabaseError as error:
                errors.append(error)
            else:
                mine.append(time.perf_counter() - before)
        latencies.extend(mine)
        connection.close()

    threads = [
        threading.Thread(target=write, args=(seed,), daemon=True)
        for seed in range(writers)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    before, cpu_before = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - before
    cpu = time.process_time() - cpu_before
    latencies.sort()
    return {
        "successes": len(latencies),
        "gave_up": len(errors),
        "per_second": len(latencies) / elapsed,
        "cpu_ms": 1000 * cpu / len(latencies),
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
        "max_ms": 1000 * latencies[-1],
    }


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    from django.db.models import Sum
    from testapp.models import Account

    def total() -> int:
        return Account.objects.aggregate(total=Sum("balance"))["total"]

    results = []
    attempt = Counter()
    every = {
        name: way
        for name, way in ways(attempt).items()
        if not options.ways or name in options.ways
    }
    for rows in options.rows:
        Account.objects.all().delete()
        Account.objects.bulk_create([Account() for _ in range(ROWS[rows])])
        pks = list(Account.objects.values_list("pk", flat=True))
        for writers in options.writers:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in every}
            for _ in range(options.rounds):
                for name in random.sample(list(every), len(every)):
                    before = total()
                    attempt.value = 0
                    result = measure(every[name], pks, writers, options.seconds)
                    result["wasted"] = attempt.value / result["successes"] - 1
                    if total() - before != result["successes"]:
                        raise SystemExit(
                            f"{name}: {result['successes']} increments were reported, "
                            f"{total() - before} are in the database."
                        )
                    rounds[name].append(result)
            results += [
                {
                    "database": os.environ["OPTILOCK_TEST_DATABASE"],
                    "rows": rows,
                    "writers": writers,
                    "way": name,
                    **summarize(measured, rounds.get(BY_HAND, measured)),
                }
                for name, measured in rounds.items()
            ]
            print_table(results[-len(every) :])
    return results


def summarize(
    measured: list[dict[str, Any]], by_hand: list[dict[str, Any]]
) -> dict[str, Any]:
    def median(key: str) -> float:
        return statistics.median(result[key] for result in measured)

    def ratio(key: str) -> float:
        return statistics.median(
            result[key] / other[key]
            for result, other in zip(measured, by_hand, strict=True)
        )

    return {
        **{key: median(key) for key in MEDIANS},
        "max_ms": max(result["max_ms"] for result in measured),
        "gave_up": sum(result["gave_up"] for result in measured),
        "successes": sum(result["successes"] for result in measured),
        "throughput_ratio": ratio("per_second"),
        "p99_ratio": ratio("p99_ms"),
    }


def print_table(results: list[dict[str, Any]]) -> None:
    first = results[0]
    print(f"\n{first['database']}, {first['rows']}, {first['writers']} writers")
    print(
        f"{'':20}{'per second':>12}{'wasted':>9}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'max ms':>9}{'CPU ms':>9}{'gave up':>9}{'throughput':>12}{'p99':>7}"
    )
    for r in results:
        print(
            f"{r['way']:20}{r['per_second']:12.0f}{r['wasted']:9.2f}"
            f"{r['p50_ms']:9.1f}{r['p99_ms']:9.1f}{r['max_ms']:9.1f}{r['cpu_ms']:9.2f}"
            f"{r['gave_up']:9}"
            f"{r['throughput_ratio']:11.2f}x{r['p99_ratio']:6.1f}x",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--database", nargs="+", default=["postgresql"], help="postgresql, mariadb"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--writers", nargs="+", type=int, default=[1, 2, 4, 8, 16, 20])
    parser.add_argument("--ways", nargs="+", help="measure only these")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    if len(options.database) > 1:  # settings are for one database: a process each
        run_each(options)
        return
    os.environ["OPTILOCK_TEST_DATABASE"] = options.database[0]
    os.environ["DJANGO_SETTINGS_MODULE"] = "testapp.settings"
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "example_project")]

    import django
    from django.test.utils import setup_databases, teardown_databases

    django.setup()
    databases = setup_databases(verbosity=0, interactive=False, aliases={"default"})
    try:
        results = run(options)
    finally:
        teardown_databases(databases, verbosity=0)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def run_each(options: argparse.Namespace) -> None:
    results = []
    arguments = sys.argv[1:]
    for name in options.database:
        path = Path(f"{options.json}.{name}") if options.json else None
        command = [
            sys.executable,
            __file__,
            *arguments,
            *("--database", name),
            *(("--json", str(path)) if path else ()),
        ]
        subprocess.run(command, check=True)  # noqa: S603 -- this file itself
        if path:
            results += json.loads(path.read_text())
            path.unlink()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
