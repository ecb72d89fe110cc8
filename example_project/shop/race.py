"""Races that are arranged, so that their outcome isn't a matter of luck.

Each worker is a thread with a database connection of its own. All of them read
before any of them writes, whatever the code being run looks like: a gate in
front of the connection holds back its first statement that writes or locks
until everybody has got there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

from django.db import connection

from optilock import RecordModifiedError
from optilock.signals import retried
from shop.story import Result

#: Seconds to wait for the others before a race is given up as stuck.
PATIENCE = 30


def race(
    way: Callable[..., int], requests: Sequence[tuple[Any, ...]]
) -> tuple[list[int], float]:
    """Run ``way(*request)`` for each request, each in a worker of its own.

    Returns:
        For each request what ``way`` returned: how much was confirmed. A conflict
        that reached the caller is a request refused, 0. And how many seconds it
        took, once all had read.
    """
    opened: list[float] = []
    gate = Barrier(len(requests), lambda: opened.append(time.perf_counter()))

    def work(request: tuple[Any, ...]) -> int:
        try:
            with _held_back(gate):
                return int(way(*request))
        except RecordModifiedError:
            return 0
        finally:
            connection.close()

    with ThreadPoolExecutor(len(requests)) as pool:
        try:
            answers = list(pool.map(work, requests))
        except BaseException:
            gate.abort()  # whoever still waits goes home
            raise
    return answers, time.perf_counter() - opened[0]


@contextmanager
def _held_back(gate: Barrier) -> Iterator[None]:
    """Hold back the first statement that writes until every worker has read."""
    passed = False

    def pass_through() -> None:
        nonlocal passed
        if not passed:
            passed = True
            gate.wait(PATIENCE)

    def hold(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        # SQLite's writers queue at BEGIN, the other databases' at the row.
        writes = sql.startswith(("UPDATE", "INSERT", "DELETE", "BEGIN IMMEDIATE"))
        if writes or "FOR UPDATE" in sql:
            pass_through()
        return execute(sql, *arguments)

    try:
        with connection.execute_wrapper(hold):
            yield
    finally:
        pass_through()  # the others count on it, even after an error


def run_round(result: Result, workers: int) -> None:
    """Run one round of a way, and add what came out of it to its result."""
    this_round = result.story.new_round(result.way, workers)
    lost_attempts: list[int] = []

    def count(attempt: int, **kwargs: Any) -> None:
        lost_attempts.append(attempt)

    retried.connect(count)
    try:
        answers, seconds = race(this_round.run, this_round.requests)
    finally:
        retried.disconnect(count)
    result.retries += len(lost_attempts)
    result.seconds += seconds
    result.asked += this_round.asked
    result.possible += this_round.possible
    result.confirmed += this_round.confirmed(answers)
    result.stored += this_round.stored()
