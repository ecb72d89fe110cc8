"""Whose transaction is open, and on which databases a view gets one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from django.db import connections, transaction

__all__ = [
    "AllDatabases",
    "atomic_on",
    "atomic_requests",
    "in_foreign_transaction",
    "in_transaction",
]


class AllDatabases(set[str]):
    """The databases on which Django must not wrap a view: any that it asks for.

    What the set really holds was put there by ``non_atomic_requests()``.
    """

    def __contains__(self, alias: object) -> bool:
        return True


def atomic_requests(excluded: Iterable[str]) -> list[str]:
    """Return the databases on which ``ATOMIC_REQUESTS`` wraps a view.

    Args:
        excluded: where the view has said ``non_atomic_requests()``.
    """
    # Not by `in excluded`: a view decorated twice has AllDatabases.
    names = list(excluded)
    return [
        alias
        for alias, settings in connections.settings.items()
        if settings["ATOMIC_REQUESTS"] and alias not in names
    ]


@contextmanager
def atomic_on(aliases: Iterable[str]) -> Iterator[None]:
    """Run a block in transactions on these databases."""
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield


def in_foreign_transaction(aliases: Iterable[str]) -> bool:
    """Tell whether somebody else's transaction is open on one of the databases."""
    for alias in aliases:
        connection = connections[alias]
        if connection.in_atomic_block:
            # Django marks the blocks that a TestCase puts around each test.
            blocks = connection.atomic_blocks
            if not all(block._from_testcase for block in blocks):  # type: ignore[attr-defined]  # not in the stubs
                return True
        elif not connection.get_autocommit():
            return True
    return False


def in_transaction(aliases: Iterable[str]) -> bool:
    """Tell whether any transaction is open; a TestCase's is nobody else's."""
    for alias in aliases:
        connection = connections[alias]
        # It is known, unless the connection isn't open yet.
        in_autocommit = connection.autocommit or connection.get_autocommit()
        if connection.in_atomic_block or not in_autocommit:
            return True
    return False
