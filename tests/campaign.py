"""Processes race for a few rows while connections and processes are killed.

    python tests/campaign.py --database sqlite postgresql mariadb --seconds 60

The databases are those of the test suite. With ``--restart`` the servers are its own,
and are ended and started again, too; those of a Galera cluster always are.

Each write adds an entry of its own to the text of a row: it reads the text, appends,
and saves. A lost update takes an entry away that was reported as written; a write done
twice leaves its entry twice. What a process was about to write and what it has heard
of it stands in a file, so that it outlives the process.

The last line tells what is wrong, and the exit status is 1, if one entry is lost,
doubled, or there although its write was refused. ``--without-rollback`` switches
off what puts the numbers back: there must then be losses, or the campaign is worth
nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
DATABASES = ("sqlite", "postgresql", "mariadb", "galera")
HOT_ROWS, OTHER_ROWS = 6, 4


@dataclass
class Result:
    """A row of the table: what became of the writes on one isolation level."""

    database: str
    isolation: str
    writes: int = 0
    reported: int = 0
    lost: int = 0
    twice: int = 0
    refused: int = 0
    given_up: int = 0
    unknown: int = 0
    unknown_stored: int = 0
    connections_killed: int = 0
    processes_killed: int = 0
    servers_restarted: int = 0
    wrong: str = ""


# The writes. Each is given the journal, and dice.


class Journal:
    """What this process was about to write, and what it has heard of it."""

    def __init__(self, path):
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.count = 0
        self.write = None  # the function that is writing

    def note(self, kind, *entries):
        os.write(self.file, "".join(f"{kind} {e}\n" for e in entries).encode())

    def begin(self):
        self.count += 1
        number = WRITES.index(self.write)
        entry = f"{os.getpid():x}-{self.count:x}-{number}"
        self.note("begun", entry)
        return entry


@contextmanager
def outcome(journal, *entries):
    """Note what is known of the entries' write when it is over.

    An error that doesn't say that it may have been done is taken at its word.
    """
    from django.db import Error

    try:
        yield
    except Undo:
        journal.note("refused", *entries)
        raise
    except Error as error:
        if hasattr(error, "retry_history"):
            journal.note("given-up", entries[0])
        if not getattr(error, "may_be_committed", False):
            journal.note("refused", *entries)
        raise
    else:
        journal.note("reported", *entries)


def is_refusal(error):
    from optilock import RecordModifiedError

    return isinstance(error, RecordModifiedError)


@contextmanager
def block():
    from django.db import transaction

    with transaction.atomic():
        yield


class Undo(Exception):  # noqa: N818 -- nothing went wrong
    pass


def load(dice, model=None):
    from testapp.models import Daybook, Ledger

    model = model or dice.choice([Ledger, Ledger, Daybook])
    keys = model.objects.filter(balance__gt=-(10**6)).values_list("pk", flat=True)
    return model.objects.get(pk=dice.choice(sorted(keys)[:HOT_ROWS]))


def add(row, entry):
    row.entries += entry + " "


def plain_save(journal, dice):
    row, entry = load(dice), journal.begin()
    add(row, entry)
    with outcome(journal, entry):
        row.save()


def save_of_some_fields(journal, dice):
    row, entry = load(dice), journal.begin()
    add(row, entry)
    with outcome(journal, entry):
        row.save(update_fields=["entries"])


@cache  # it remembers which rows are hot, and locks them in reading them
def appending():
    from testapp.models import Ledger

    from optilock import retry_on_conflict

    @retry_on_conflict
    def append(key, entry):
        row = Ledger.objects.get(pk=key)
        add(row, entry)
        row.save()

    return append


def retried(journal, dice):
    entry, key = journal.begin(), load(dice).pk
    with outcome(journal, entry):
        appending()(key, entry)


def nested_blocks(journal, dice):
    """Saves in savepoints, each of which may be rolled back, as may the whole."""
    row, kept, undone = load(dice), [], []

    def level(depth):
        entry, before = journal.begin(), (row.entries, len(kept))
        kept.append(entry)
        add(row, entry)
        row.save()
        if depth and dice.random() < 0.7:
            attempt(depth - 1)
        if dice.random() < 0.3:
            # What the program has typed it takes back itself, optilock the rest.
            row.entries, count = before
            undone.extend(kept[count:])
            del kept[count:]
            raise Undo

    def attempt(depth):
        try:
            with block():
                level(depth)
        except Undo:
            pass

    before, version = row.entries, row.version
    try:
        with block():
            level(2)
            level(1)
    except Undo:
        journal.note("refused", *kept, *undone)
        row.entries = before
    except Exception:
        journal.note("refused", *undone)
        with outcome(journal, *kept):
            raise
    else:
        # Killed just when a savepoint was to be rolled back: Django lets that error
        # go, and the block ends like one that was committed.
        is_committed = row.version != version
        journal.note("refused", *undone)
        journal.note("reported" if is_committed else "refused", *kept)
        return
    pause(dice)
    entry = journal.begin()
    add(row, entry)
    with outcome(journal, entry):
        row.save()


def rolled_back_and_repeated(journal, dice):
    from django.db import transaction

    row, entry = load(dice), journal.begin()
    add(row, entry)
    with outcome(journal, entry):
        with block():
            row.save()
            transaction.set_rollback(True)
        pause(dice)  # somebody else takes the number
        row.save()


def lost_without_a_word(journal, dice):
    """Swallow an error in a block, and go on as if it were committed.

    PostgreSQL and SQLite give up the transaction at this error, and InnoDB, like
    PostgreSQL, if it ends in a deadlock.
    """
    from django.db import Error, connection

    row, other, entry = load(dice), load(dice), journal.begin()
    add(row, entry)
    before = row.version
    sql = {
        "sqlite": f"INSERT OR ROLLBACK INTO testapp_ledger (id) VALUES ({row.pk})",
        "postgresql": "SELECT * FROM no_such_table",
        "mysql": "SELECT * FROM no_such_table",
    }[connection.vendor]
    if connection.vendor != "sqlite" and dice.random() < 0.5:
        sql = f"SELECT * FROM testapp_ledger WHERE id = {other.pk} FOR UPDATE"
    with outcome(journal, entry):
        with block():
            row.save()
            try:
                with connection.cursor() as cursor:
                    cursor.execute(sql)
            except Error:
                pass
        if row.version == before:
            pause(dice)
            row.save()


def bulk_update(journal, dice):
    from testapp.models import Ledger

    rows = {row.pk: row for row in (load(dice, Ledger) for _ in range(3))}
    entries = []
    for row in rows.values():
        entries.append(journal.begin())
        add(row, entries[-1])
    with outcome(journal, *entries), block():
        Ledger.objects.bulk_update(list(rows.values()), ["entries"])
        if dice.random() < 0.2:
            raise Undo


def update(journal, dice):
    from django.db.models import F, Value
    from django.db.models.functions import Concat
    from testapp.models import Ledger

    row, entry = load(dice), journal.begin()
    with outcome(journal, entry):
        Ledger.objects.filter(pk=row.pk).update(
            entries=Concat(F("entries"), Value(f"{entry} "))
        )


def transfer(journal, dice):
    from testapp.models import Ledger

    entries = [journal.begin(), journal.begin()]
    giving, taking = load(dice, Ledger), load(dice, Ledger)
    if giving.pk == taking.pk:
        taking = giving
    amount = dice.randint(1, 9)
    add(giving, entries[0])
    add(taking, entries[1])
    giving.balance -= amount
    taking.balance += amount
    with outcome(journal, *entries), block():
        giving.save()
        taking.save()


def replace_a_row(journal, dice):
    """Move a row's entries, delete it, and make another one in its place."""
    from testapp.models import Ledger

    entry = journal.begin()
    taking = load(dice, Ledger)
    old = Ledger.objects.filter(daybook=None).order_by("-pk")[0]
    if old.pk == taking.pk:
        journal.note("refused", entry)
        return
    taking.entries += old.entries
    taking.balance += old.balance
    add(taking, entry)
    with outcome(journal, entry), block():
        old.delete()
        taking.save()
        Ledger.objects.create()
        if dice.random() < 0.3:
            raise Undo


def delete_rolled_back(journal, dice):
    """Delete a row, roll back, and save it: there must not be two of it."""
    from django.db import transaction
    from testapp.models import Ledger

    row = Ledger.objects.filter(daybook=None).order_by("-pk")[0]
    entry = journal.begin()
    with outcome(journal, entry):
        with block():
            row.delete()
            transaction.set_rollback(True)
        pause(dice)
        add(row, entry)
        row.save()


def touch(journal, dice):
    load(dice).touch()


WRITES = [
    plain_save,
    save_of_some_fields,
    retried,
    nested_blocks,
    rolled_back_and_repeated,
    lost_without_a_word,
    bulk_update,
    update,
    transfer,
    replace_a_row,
    delete_rolled_back,
    touch,
]


def pause(dice):
    time.sleep(dice.random() / 200)


# Processes


def work(path, options, server, seed, end, without_rollback):
    """Write until the time is over."""
    from django.db import Error, connection
    from levels import connected

    from optilock import rollback

    if without_rollback:
        rollback.remember = lambda *args: None
    journal, dice = Journal(path), random.Random(seed)
    with connected(options, **server):
        while time.time() < end:
            try:
                journal.write = dice.choice(WRITES)
                journal.write(journal, dice)
            except Undo:
                pass
            except Error as error:
                if not is_refusal(error):
                    connection.close()
                    time.sleep(0.01)  # perhaps there is no server just now
            except Exception as error:
                journal.note("unexpected", repr(error).replace("\n", " "))
                raise


def kill_a_connection(name, dice):
    """End one of the other connections to the database; return how many."""
    from django.db import connection

    own, others, kill = {
        "postgresql": (
            "pg_backend_pid()",
            "SELECT pid FROM pg_stat_activity WHERE datname = %s",
            "SELECT pg_terminate_backend(%s)",
        ),
        "mysql": (
            "CONNECTION_ID()",
            "SELECT id FROM information_schema.processlist WHERE db = %s",
            "KILL %s",
        ),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {own}")
        mine = cursor.fetchone()
        cursor.execute(others, [name])
        pids = sorted(pid for [pid] in {*cursor.fetchall()} - {mine})
        if not pids:
            return 0
        try:
            cursor.execute(kill, [dice.choice(pids)])
        except Exception:  # it went by itself
            return 0
    return 1


class Race:
    """Processes that write at one isolation level, and what is done to them.

    Args:
        result: where it is counted.
        options: of the connections.
        servers: which may be restarted, if any.
        arguments: of the command.
    """

    def __init__(self, result, options, servers, arguments):
        self.result, self.options = result, options
        self.servers, self.arguments = servers, arguments
        self.dice = random.Random(arguments.seed)
        self.processes = []

    def server(self, number):
        return self.servers.settings(number) if self.servers else {}

    def start(self, number, folder):
        from django.db import connections

        connections.close_all()  # a child must not use its parent's
        path = Path(folder, f"{self.dice.random()}")
        process = multiprocessing.get_context("fork").Process(
            target=work,
            args=(
                path,
                self.options,
                self.server(number),
                self.dice.random(),
                self.end,
                self.arguments.without_rollback,
            ),
        )
        process.start()
        self.processes[number : number + 1] = [process]

    def run(self, folder):
        """Let them write until the time is over; the folder is for their journals."""
        self.end = time.time() + self.arguments.seconds
        for number in range(self.arguments.processes):
            self.start(number, folder)
        restart = time.time() + self.dice.uniform(2, 6)
        while time.time() < self.end and all(
            process.exitcode in (None, 0) for process in self.processes
        ):
            time.sleep(self.dice.uniform(0, 0.3))
            if self.servers and restart < time.time() < self.end - 1:
                self.servers.restart(self.dice)
                self.result.servers_restarted += 1
                restart = time.time() + self.dice.uniform(4, 12)
            else:
                self.kill(folder)
        for process in self.processes:
            process.join(60)
            if process.exitcode is None:
                process.kill()
                process.join()
                self.result.wrong = "a process did not come to its end"

    def kill(self, folder):
        """End a connection or a process."""
        from django.db import connection
        from levels import connected

        number = self.dice.randrange(len(self.processes))
        if connection.vendor != "sqlite" and self.dice.random() < 0.8:
            name = connection.settings_dict["NAME"]
            with connected(self.options, **self.server(number)):
                self.result.connections_killed += kill_a_connection(name, self.dice)
            return
        os.kill(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].join()
        self.result.processes_killed += 1
        self.start(number, folder)


def run(database, isolation, options, servers, arguments):
    """Let processes write and be killed; return what became of it."""
    from django.db import connections
    from levels import connected
    from testapp.models import Daybook, Ledger

    result = Result(database, isolation)
    Daybook.objects.all().delete()
    Ledger.objects.all().delete()
    for _ in range(HOT_ROWS // 2):
        Ledger.objects.create()
        Daybook.objects.create()
    for _ in range(OTHER_ROWS):
        Ledger.objects.create()
    if servers:
        servers.settle()
    noted = Counter()
    with tempfile.TemporaryDirectory() as folder:
        race = Race(result, options, servers, arguments)
        race.run(folder)
        for path in Path(folder).iterdir():
            for line in path.read_text().splitlines():
                kind, _, entry = line.partition(" ")
                noted[kind, entry] += 1
    connections.close_all()  # the server may have been another one since
    if servers:
        servers.settle()
    audit(result, noted, Ledger)
    rows = []
    for number in range(len(servers.all) if servers else 0):
        with connected(options, **servers.settings(number)):
            rows.append([*Ledger.objects.order_by("pk").values_list()])
    if any(of_one != rows[0] for of_one in rows):
        result.wrong = "the nodes of the cluster don't have the same rows"
    return result


def audit(result, noted, model):
    """Compare what the processes have heard with what stands in the rows."""
    of_kind = {kind: set() for kind, _ in noted}
    for kind, entry in noted:
        of_kind[kind].add(entry)
    begun, reported, refused = (
        of_kind.get(kind, set()) for kind in ("begun", "reported", "refused")
    )
    rows = model.objects.values_list("entries", "balance")
    stored = Counter(entry for entries, _ in rows for entry in entries.split())
    unknown = begun - reported - refused
    result.writes, result.reported = len(begun), len(reported)
    result.refused, result.unknown = len(refused), len(unknown)
    result.given_up = len(of_kind.get("given-up", ()))
    result.unknown_stored = sum(entry in stored for entry in unknown)
    lost = reported - {*stored}
    # What was refused may be tried again: if it is there, that would be twice.
    twice = {entry for entry, count in stored.items() if count > 1}
    twice |= refused & {*stored}
    result.lost, result.twice = len(lost), len(twice)
    if lost or twice:
        writes = Counter(name_of(entry) for entry in lost | twice)
        result.wrong = f"entries of {dict(writes)}"
    if total := sum(balance for _, balance in rows):
        result.wrong = f"transfers don't add up: {total}"
    if "unexpected" in of_kind:
        result.wrong = " ".join(of_kind["unexpected"])
    if set(stored) - begun:
        result.wrong = "a row has entries that nobody has written"


def name_of(entry):
    number = entry.rpartition("-")[2]
    return WRITES[int(number)].__name__ if number.isdigit() else entry


# The command


def campaign(database, arguments):
    """Run on each isolation level of this database."""
    sys.path[:0] = [str(TESTS), str(TESTS.parent / "example_project")]
    if database == "sqlite" or not (arguments.restart or database == "galera"):
        run_levels(database, None, arguments)
        return
    from cluster.processes import Missing
    from cluster.restarts import Servers

    try:
        servers = Servers(database)
    except (ImportError, Missing) as missing:
        print(f"{database} is skipped: {missing}", file=sys.stderr)  # noqa: T201
        return
    try:
        os.environ.update(servers.variables)
        run_levels(database, servers, arguments)
    finally:
        servers.close()


def run_levels(database, servers, arguments):
    os.environ["DJANGO_SETTINGS_MODULE"] = "testapp.settings"
    import django
    from django.db import connections
    from django.test.utils import setup_databases, teardown_databases

    django.setup()
    from levels import LEVELS, connected

    levels = arguments.level or list(LEVELS)
    if unknown := {*levels} - {*LEVELS}:
        raise SystemExit(
            f"{database} has no {', '.join(unknown)}; choose of {', '.join(LEVELS)}."
        )
    before = setup_databases(verbosity=0, interactive=False, aliases=["default"])
    try:
        for level in levels:
            with connected(LEVELS[level]):
                result = run(database, level, LEVELS[level], servers, arguments)
            print(json.dumps(asdict(result)), flush=True)  # noqa: T201
    finally:
        connections.close_all()
        teardown_databases(before, verbosity=0)


def table(results):
    """Return the results in Markdown, and their sum if there are several."""
    names = [field.name for field in fields(Result) if field.name != "wrong"]
    if len(results) > 1:
        sums = {name: sum(result[name] for result in results) for name in names[2:]}
        results = [*results, {"database": "all", "isolation": "", **sums}]
    lines = [
        [name.replace("_", " ") for name in names],
        ["---" if name in names[:2] else "--:" for name in names],
        *(
            [
                f"{value:,}" if isinstance(value, int) else str(value)
                for value in map(result.get, names)
            ]
            for result in results
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--database", nargs="+", default=["sqlite"], choices=DATABASES, metavar="NAME"
    )
    parser.add_argument(
        "--seconds", type=float, default=30, help="for each isolation level"
    )
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--level", nargs="+", help="isolation levels; all by default")
    parser.add_argument(
        "--restart", action="store_true", help="servers of its own, and restart them"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--without-rollback", action="store_true")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        campaign(arguments.inside, arguments)
        return 0
    results, status = [], 0
    for database in arguments.database:
        # The settings choose the database when they are imported.
        done = subprocess.run(  # noqa: S603 -- this file
            [sys.executable, __file__, *sys.argv[1:], "--inside", database],
            env={
                **os.environ,
                "OPTILOCK_TEST_DATABASE": {"galera": "mariadb"}.get(database, database),
            },
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        status = status or done.returncode
        results += [json.loads(line) for line in done.stdout.splitlines()]
    print(table(results))  # noqa: T201
    wrong = [r for r in results if r["lost"] or r["twice"] or r["wrong"]]
    for result in wrong:
        print(f"\nWRONG: {result}")  # noqa: T201
    return 1 if wrong or status or not results else 0


if __name__ == "__main__":
    sys.exit(main())
