"""Races that are arranged, so that their outcome isn't a matter of luck.

Each worker is a thread with a database connection of its own. All of them read
before any of them writes, whatever the code being run looks like: a gate in
front of the connection holds back its first statement that writes or locks
until everybody has got there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import TracebackType
from typing import Any

from django.db import connection

from optilock import RecordModifiedError
from optilock.signals import retried
from shop.story import Result

#: Seconds to wait for the others before a race is given up as stuck.
PATIENCE = 30


class Gate:
    """Holds back a connection's first write until every worker has read.

    To be installed with ``connection.execute_wrapper()``.
    """

    def __init__(self, start: Barrier) -> None:
        self.start = start
        self.passed = False

    def __call__(
        self, execute: Callable[..., Any], sql: str, *arguments: Any
    ) -> object:
        # SQLite's writers queue at BEGIN, the other databases' at the row.
        writes = sql.startswith(("UPDATE", "INSERT", "DELETE", "BEGIN IMMEDIATE"))
        if writes or "FOR UPDATE" in sql:
            self.pass_through()
        return execute(sql, *arguments)

    def pass_through(self) -> None:
        if not self.passed:
            self.passed = True
            self.start.wait(PATIENCE)


class Crew:
    """Workers that make their requests at the same moment."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.start = Barrier(workers)
        self.pool = ThreadPoolExecutor(workers)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.start.abort()  # whoever still waits goes home
        home = Barrier(self.workers)
        for _ in range(self.workers):
            self.pool.submit(_go_home, home)
        self.pool.shutdown()

    def race(
        self, way: Callable[..., int], requests: Sequence[tuple[Any, ...]]
    ) -> list[int]:
        """Run ``way(*request)`` for each request, one in each worker.

        Returns:
            For each request what ``way`` returned: how much was confirmed. A
            conflict that reached the caller is a request refused, 0.
        """
        work = [self.pool.submit(self._work, way, request) for request in requests]
        return [future.result() for future in work]

    def _work(self, way: Callable[..., int], request: tuple[Any, ...]) -> int:
        gate = Gate(self.start)
        try:
            with connection.execute_wrapper(gate):
                return int(way(*request))
        except RecordModifiedError:
            return 0
        finally:
            gate.pass_through()  # the others count on it, even after an error


def _go_home(home: Barrier) -> None:
    """Close the thread's connection; wait, so that each thread does it once."""
    connection.close()
    home.wait(PATIENCE)


def run_round(crew: Crew, result: Result) -> None:
    """Run one round of a way, and add what came out of it to its result."""
    this_round = result.story.new_round(result.way, crew.workers)
    lost_attempts: list[int] = []

    def count(attempt: int, **kwargs: Any) -> None:
        lost_attempts.append(attempt)

    retried.connect(count)
    start = time.perf_counter()
    try:
        answers = crew.race(this_round.run, this_round.requests)
    finally:
        retried.disconnect(count)
    result.seconds += time.perf_counter() - start
    result.asked += this_round.asked
    result.possible += this_round.possible
    result.confirmed += this_round.confirmed(answers)
    result.stored += this_round.stored()
    result.retries += len(lost_attempts)
