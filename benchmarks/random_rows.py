"""How do writers fare who want any of 1,000 rows, and so seldom meet?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import harness
from benchmarks.hot_row import contest


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    return contest(plan, rows=1000)


if __name__ == "__main__":
    harness.main("random rows", tables, rounds=15, threads=True)
