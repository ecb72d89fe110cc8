"""What every benchmark shares: databases, fair rounds, a table, JSON.

A benchmark module defines its ways of doing one thing as functions and hands
them to ``run()``:

    python -m benchmarks.save --database postgresql --json save-postgresql.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

Ways = dict[str, Callable[[], object]]

_at_end = ExitStack()

DATABASES: dict[str, dict[str, Any]] = {
    # In memory: what is measured is the client, and a disk would hide it.
    "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "TEST": {"NAME": f"optilock_benchmarks_{os.getpid()}"},
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "mysql",
        "HOST": os.environ.get("MYSQL_HOST", "127.0.0.1"),
        "USER": os.environ.get("MYSQL_USER", "root"),
        "PASSWORD": os.environ.get("MYSQL_PASSWORD", ""),
        "TEST": {
            "NAME": f"optilock_benchmarks_{os.getpid()}",
            "CHARSET": "utf8mb4",
        },
    },
}
PACKAGES = (
    "Django",
    "optilock",
    "django-concurrency",
    "django-optimistic-lock",
    "SQLAlchemy",
    "psycopg",
    "mysqlclient",
)


def run(
    title: str,
    ways: Callable[[], dict[str, Ways]],
    *,
    calls: int = 100,
    rounds: int = 60,
) -> None:
    """Run a benchmark from the command line.

    Args:
        title: what is measured, for the table and the JSON.
        ways: called once the database is there. Returns, for each table to
            print, the ways to compare; the first one is the yardstick.
        calls: calls of one way in one round.
        rounds: rounds; in each, every way has its turn.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--calls", type=int, default=calls)
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    with database(options.database):
        groups = {
            name: interleave(group, calls=options.calls, rounds=options.rounds)
            for name, group in ways().items()
        }
        server = server_version()
    for name, samples in groups.items():
        heading = f"{title}, {name}" if name else title
        print(f"\n{heading}: {options.database}, client CPU\n")
        print(table(samples))
    if options.json:
        result = {
            "title": title,
            "database": options.database,
            "server": server,
            "python": platform.python_version(),
            "packages": installed(),
            "calls": options.calls,
            "microseconds": groups,
        }
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


@contextmanager
def database(name: str) -> Iterator[None]:
    """Configure Django and make the tables, in a database of their own."""
    settings.configure(
        DATABASES={"default": DATABASES[name]},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "optilock",
            "benchmarks",
            *(app for app in ["concurrency"] if find_spec(app)),
        ],
        SECRET_KEY="nothing is signed with it",  # noqa: S106
        USE_TZ=True,
    )
    django.setup()
    old = setup_databases(verbosity=0, interactive=False)
    try:
        yield
    finally:
        _at_end.close()
        teardown_databases(old, verbosity=0)


def at_end(function: Callable[[], object]) -> None:
    """Call a function before the database goes away."""
    _at_end.callback(function)


def working(ways: Ways) -> Ways:
    """Leave out, and name, those that fail here, such as with this Django."""
    kept: Ways = {}
    for name, way in ways.items():
        try:
            way()
        except Exception as error:
            print(f"{name} is left out: {type(error).__name__}: {error}")
        else:
            kept[name] = way
    return kept


def interleave(ways: Ways, *, calls: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU microseconds of one call, one sample per round.

    In each round every way has its turn, so that a busy moment of the machine
    hits them all; whoever begins changes from round to round.
    """
    samples: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for way in ways.values():
        for _ in range(20):
            way()
    for _ in range(rounds):
        for name in order:
            way = ways[name]
            gc.collect()
            gc.disable()
            try:
                start = time.process_time_ns()
                for _ in range(calls):
                    way()
                elapsed = time.process_time_ns() - start
            finally:
                gc.enable()
            samples[name].append(elapsed / calls / 1000)
        order.append(order.pop(0))
    return samples


def ratios(samples: dict[str, list[float]], name: str) -> list[float]:
    """Return a way's time over the yardstick's, round by round."""
    yardstick = next(iter(samples.values()))
    return [
        mine / theirs for mine, theirs in zip(samples[name], yardstick, strict=True)
    ]


def table(samples: dict[str, list[float]]) -> str:
    """Return a Markdown table: medians, the middle half of the rounds, ratios."""
    width = max(len(name) for name in samples)
    lines = [
        f"| {'way':{width}} | median µs |   middle half   | ratio | middle half |",
        f"|{'-' * (width + 2)}|----------:|----------------:|------:|------------:|",
    ]
    for name, values in samples.items():
        low, middle, high = statistics.quantiles(values, n=4)
        r_low, r_middle, r_high = statistics.quantiles(ratios(samples, name), n=4)
        lines.append(
            f"| {name:{width}} | {middle:9.1f} | {f'{low:.1f}-{high:.1f}':>15} "
            f"| {r_middle:5.2f} | {f'{r_low:.2f}-{r_high:.2f}':>11} |"
        )
    return "\n".join(lines)


def installed() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def server_version() -> str:
    if connection.vendor == "sqlite":
        return sqlite3.sqlite_version
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        return str(cursor.fetchone()[0])
