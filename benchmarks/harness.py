"""What every benchmark shares: a command line, databases, fair rounds, tables, JSON.

A benchmark is a module with a function that yields tables; ``main()`` does the rest:

    python -m benchmarks.save --database sqlite postgresql --json save.json
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import django
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test.utils import setup_databases, teardown_databases

Way = Callable[[], object]
Ways = dict[str, Way]
W = TypeVar("W")
T = TypeVar("T")

DATABASES: dict[str, dict[str, Any]] = {
    # In memory: what is measured is the client, and a disk would hide it.
    "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "mysql",
        "HOST": os.environ.get("MYSQL_HOST", "127.0.0.1"),
        "USER": os.environ.get("MYSQL_USER", "root"),
        "PASSWORD": os.environ.get("MYSQL_PASSWORD", ""),
    },
}
#: Galera clusters, which are started for it, and how many nodes they have.
CLUSTERS = {"galera1": 1, "galera3": 3}
PACKAGES = (
    "Django",
    "optilock",
    "django-concurrency",
    "django-optimistic-lock",
    "SQLAlchemy",
    "djangorestframework",
    "drf-extensions",
    "psycopg",
    "mysqlclient",
)

_at_end = ExitStack()
_clusters: list[Any] = []


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    rounds: int
    quick: bool


@dataclass(frozen=True)
class Table:
    """One comparison: for each way a sample per round, the first way the yardstick."""

    name: str
    unit: str
    samples: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)


def main(
    title: str,
    tables: Callable[[Plan], Iterable[Table]],
    *,
    rounds: int,
    threads: bool = False,
    also: Mapping[str, Any] | None = None,
) -> None:
    """Run a benchmark from the command line.

    Args:
        title: what is measured, for the tables and the JSON.
        tables: called once the database is there; yields the tables.
        rounds: rounds if the command line doesn't say; in each, every way has
            its turn.
        threads: whether several threads write, each with its own connection.
        also: further settings of Django. Its apps come before the harness's.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--database", nargs="+", choices=[*DATABASES, *CLUSTERS], default=["sqlite"]
    )
    parser.add_argument("--rounds", type=int, default=None, help=f"default: {rounds}")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.quick else rounds
    if options.rounds < 2:
        parser.error("--rounds has to be 2 or more: one round has no spread.")
    if CLUSTERS.keys() >= {*options.database}:
        title += " of a cluster"
    result: dict[str, Any] = {
        "title": title,
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": installed(),
        "rounds": options.rounds,
        "runs": [],
    }
    plan = Plan(rounds=options.rounds, quick=options.quick)
    for name in options.database:
        arguments = (title, tables, plan, name, threads, also or {})
        if len(options.database) == 1:
            run = measure(*arguments)
        else:
            # Settings are for one database, so each has a process to itself.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                run = process.submit(measure, *arguments).result()
        result["runs"].append(run)
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


def measure(
    title: str,
    tables: Callable[[Plan], Iterable[Table]],
    plan: Plan,
    name: str,
    threads: bool,
    also: Mapping[str, Any],
) -> dict[str, Any]:
    """Run a benchmark on one database, and print its tables as they come."""
    measured = []
    with database(name, threads=threads, also=also):
        for table in tables(plan):
            print(f"\n{title}, {table.name}: {name}, {table.unit}\n")
            print("\n".join([in_text(table.samples), *table.notes]), flush=True)
            measured.append(asdict(table))
        server = server_version()
    for table in measured:
        for values in table["samples"].values():
            values[:] = [round(value, 4) for value in values]
    return {"database": name, "server": server, "tables": measured}


@contextmanager
def database(
    name: str, *, threads: bool = False, also: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Configure Django and make the tables, in a database of their own."""
    also = dict(also or {})
    chosen = start_cluster(CLUSTERS[name]) if name in CLUSTERS else DATABASES[name]
    settings.configure(
        DATABASES={"default": chosen},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            *also.pop("INSTALLED_APPS", ()),
            "optilock",
            "benchmarks",
            *(app for app in ["concurrency"] if find_spec(app)),
        ],
        SECRET_KEY="nothing is signed with it",  # noqa: S106
        USE_TZ=True,
        **also,
    )
    default = settings.DATABASES["default"]
    if name != "sqlite":
        default["TEST"] = {"NAME": f"optilock_benchmarks_{os.getpid()}"}
    elif threads:
        # Connections of their own need a file, and writers that wait in turn.
        folder = tempfile.TemporaryDirectory()
        _at_end.callback(folder.cleanup)
        default["TEST"] = {"NAME": str(Path(folder.name) / "benchmarks.sqlite3")}
        default["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 60,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    django.setup()
    old = setup_databases(verbosity=0, interactive=False)
    _at_end.callback(teardown_databases, old, verbosity=0)
    with _at_end:
        yield


def start_cluster(size: int) -> dict[str, Any]:
    """Start a Galera cluster, and return the settings of its first node."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from cluster.mariadb import Galera

    cluster = Galera(size)
    _at_end.callback(cluster.close)
    _clusters.append(cluster)
    return dict(cluster.nodes[0].settings)


def is_cluster() -> bool:
    return bool(_clusters)


def settle() -> None:
    """Wait until what was committed on any node of a cluster is on each."""
    for cluster in _clusters:
        cluster.wait_until_applied()


@contextmanager
def connected_to(number: int) -> Iterator[None]:
    """Connect this thread; to a node of its own, if it is a cluster."""
    mine = connections.create_connection(DEFAULT_DB_ALIAS)
    for cluster in _clusters:
        node = cluster.nodes[number % len(cluster.nodes)]
        mine.settings_dict = {**mine.settings_dict, "PORT": node.port}
    connections[DEFAULT_DB_ALIAS] = mine
    mine.ensure_connection()
    try:
        yield
    finally:
        mine.close()


def at_end(function: Callable[[], object]) -> None:
    """Call a function before the database goes away."""
    _at_end.callback(function)


def interleave(
    ways: Mapping[str, W], rounds: int, sample: Callable[[W], T]
) -> dict[str, list[T]]:
    """Return a sample of each way per round.

    In each round every way has its turn, so that a busy moment of the machine
    hits them all; whoever begins changes from round to round.
    """
    samples: dict[str, list[T]] = {name: [] for name in ways}
    order = list(ways)
    gc.freeze()  # so that collecting before each sample is quick
    for _ in range(rounds):
        for name in order:
            samples[name].append(sample(ways[name]))
        order.append(order.pop(0))
    return samples


def cpu(
    plan: Plan,
    name: str,
    ways: Ways,
    *,
    calls: int = 100,
    notes: Iterable[str] = (),
) -> Table:
    """Compare the CPU time of one call; a sample is the mean of some calls."""
    calls = 2 if plan.quick else calls
    for way in ways.values():
        for _ in range(min(calls, 20)):
            way()
    samples = interleave(
        ways, plan.rounds, lambda way: 1_000_000 * seconds(way, calls=calls)
    )
    return Table(name, "µs of client CPU", samples, list(notes))


def seconds(
    way: Way, *, calls: int = 1, clock: Callable[[], float] = time.process_time
) -> float:
    """Return the time of one call, without the garbage collector's."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(calls):
            way()
        return (clock() - start) / calls
    finally:
        gc.enable()


def working(ways: Ways) -> tuple[Ways, list[str]]:
    """Return the ways that work here, such as with this Django, and what failed."""
    kept: Ways = {}
    notes = []
    for name, way in ways.items():
        try:
            way()
        except Exception as error:
            notes.append(f"{name} is left out: {type(error).__name__}: {error}")
        else:
            kept[name] = way
    return kept, notes


def quartiles(values: list[float]) -> list[float]:
    """Return where the middle half begins, the median, and where it ends."""
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(samples: dict[str, list[float]], name: str) -> list[float]:
    """Return what a way took over what the yardstick took, round by round."""
    yardstick = next(iter(samples.values()))
    return [
        mine / theirs for mine, theirs in zip(samples[name], yardstick, strict=True)
    ]


def in_text(samples: dict[str, list[float]]) -> str:
    """Return a table: medians, ratios, and the middle half of the rounds of both."""
    width = max(len(name) for name in samples)
    lines = [
        f"| {'way':{width}} |   median |    middle half    | ratio | middle half |",
        f"|{'-' * (width + 2)}|---------:|------------------:|------:|------------:|",
    ]
    for name, values in samples.items():
        low, middle, high = map(number, quartiles(values))
        r_low, r_middle, r_high = quartiles(ratios(samples, name))
        lines.append(
            f"| {name:{width}} | {middle:>8} | {f'{low}-{high}':>17} "
            f"| {r_middle:5.2f} | {f'{r_low:.2f}-{r_high:.2f}':>11} |"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return f"{os.cpu_count()} cores of {processor}, {platform.system()}"


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
