"""How do writers fare that all want the same row?

Each writer is a thread with its own connection that adds 1 to a number as fast as
it can. In the end the numbers are counted: an addition that is lost is an error.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from django.db import DatabaseError, connection, transaction
from django.db.models import F, Sum

from benchmarks import harness

WRITERS = (1, 4, 20)
SECONDS = 0.5  # of one round
CLUSTER_SECONDS = 2.0  # where a wait may last that long
MEASURES = {
    "throughput": "additions per second; more is better",
    "usual": "ms that half of the additions stay below",
    "slowest": "ms that 99 % of the additions stay below",
    "attempts": "attempts for each success",
}

#: Adds 1 to the row with this key.
Adding = Callable[[int], object]


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    return contest(plan, rows=1)


def contest(plan: harness.Plan, *, rows: int) -> Iterator[harness.Table]:
    """Yield the tables of writers who want any of so many rows."""
    from benchmarks import models

    pks = range(1, rows + 1)
    for model in models.Unlocked, models.Locked:
        model._default_manager.bulk_create(model(pk=pk, balance=0) for pk in pks)
    attempts: list[int] = []
    notes = []
    if connection.vendor == "sqlite":
        notes.append(
            "SQLite locks the whole database when a transaction begins (in IMMEDIATE "
            "mode): there are no row locks, and no conflicts."
        )
    for count in (2,) if plan.quick else WRITERS:
        seconds = CLUSTER_SECONDS if harness.is_cluster() else SECONDS
        with Writers(count) as writers:
            fight = partial(
                compete,
                attempts=attempts,
                pks=pks,
                writers=writers,
                duration=0.1 if plan.quick else seconds,
            )
            rounds = harness.interleave(ways(attempts), plan.rounds, fight)
        gave_up = [
            f"{name}: {lost:.0f} calls gave up."
            for name, samples in rounds.items()
            if (lost := sum(sample["gave up"] for sample in samples))
        ]
        for measure, unit in MEASURES.items():
            yield harness.Table(
                f"{count} writer{'s' * (count > 1)}, {measure}",
                unit,
                {
                    name: [sample[measure] for sample in samples]
                    for name, samples in rounds.items()
                },
                notes + gave_up if measure == "attempts" else [],
            )


def ways(attempts: list[int]) -> dict[str, Adding]:
    """Return the ways to add 1; each notes its attempts."""
    from benchmarks.models import Locked, Unlocked
    from optilock import retry_on_conflict

    @transaction.atomic
    def by_hand(pk: int) -> None:
        attempts.append(pk)
        row = Unlocked.objects.select_for_update().get(pk=pk)
        row.balance += 1
        row.save(update_fields=["balance"])

    def read_and_save(pk: int) -> None:
        attempts.append(pk)
        row = Locked.objects.get(pk=pk)
        row.balance += 1
        row.save(update_fields=["balance"])

    def expression(pk: int) -> None:
        attempts.append(pk)
        Unlocked.objects.filter(pk=pk).update(balance=F("balance") + 1)

    def remembering_nothing(pk: int) -> None:
        # What was lost is remembered by the decorated function, and this is a new one.
        retry_on_conflict(read_and_save)(pk)

    return {
        "Django, select_for_update()": by_hand,
        "optilock, retry_on_conflict": retry_on_conflict(read_and_save),
        "optilock, no memory of hot rows": remembering_nothing,
        "optilock, jitter alone": retry_on_conflict(lock_rows=False)(read_and_save),
        "Django, F() + 1": expression,
    }


class Writers:
    """Threads that write when they are told to, each with its own connection.

    The connections last, as a server's do: how one is made isn't measured, nor what a
    database does for the first time on each.
    """

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count + 1, timeout=300)
        self.task: Callable[[int], None] | None = None
        self.threads = [
            threading.Thread(target=self._work, args=(number,))
            for number in range(count)
        ]

    def __enter__(self) -> Writers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.task = None
        with suppress(threading.BrokenBarrierError):
            self.barrier.wait()
        for thread in self.threads:
            thread.join()

    def run(self, task: Callable[[int], None]) -> float:
        """Let each of them do this, with its number; return how long it took."""
        self.task = task
        self.barrier.wait()
        before = time.perf_counter()
        self.barrier.wait()
        return time.perf_counter() - before

    def _work(self, number: int) -> None:
        try:
            with harness.connected_to(number):
                self._obey(number)
        except BaseException:
            self.barrier.abort()  # nobody shall wait for this one
            raise

    def _obey(self, number: int) -> None:
        while True:
            self.barrier.wait()
            if self.task is None:
                return
            self.task(number)
            self.barrier.wait()


def compete(
    add: Adding,
    *,
    attempts: list[int],
    pks: range,
    writers: Writers,
    duration: float,
) -> dict[str, float]:
    """Let the writers add for so many seconds; return what they achieved."""
    latencies: list[float] = []
    gave_up: list[DatabaseError] = []

    def write(number: int) -> None:
        choose = random.Random(number)
        end = time.perf_counter() + duration
        while (before := time.perf_counter()) < end:
            try:
                add(choose.choice(pks))
            except DatabaseError as error:
                gave_up.append(error)
            else:
                latencies.append(time.perf_counter() - before)

    attempts.clear()
    expected = total()
    elapsed = writers.run(write)
    expected += len(latencies)
    if total() != expected:
        raise SystemExit(f"{expected} should be in the database, {total()} are.")
    latencies.sort()
    return {
        "throughput": len(latencies) / elapsed,
        "usual": 1000 * statistics.median(latencies),
        "slowest": 1000 * latencies[int(len(latencies) * 0.99)],
        "attempts": len(attempts) / len(latencies),
        "gave up": len(gave_up),
    }


def total() -> int:
    from benchmarks.models import Locked, Unlocked

    harness.settle()
    return sum(
        model._default_manager.aggregate(total=Sum("balance"))["total"]
        for model in (Locked, Unlocked)
    )


if __name__ == "__main__":
    harness.main("a hot row", tables, rounds=20, threads=True)
