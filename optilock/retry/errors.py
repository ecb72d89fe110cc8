"""Which errors mean that somebody else was faster."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from django.db import models

from optilock.driver_errors import mysql_code, sqlstate
from optilock.exceptions import RecordDeletedError, RecordModifiedError

__all__ = ["group_members", "is_conflict", "is_rollback", "parts", "refused"]

#: "Serialization failure" and "deadlock detected", in SQL's own words.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {"40001", "40P01"}

#: Deadlock, and "record has changed since last read".
#: https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference
_MYSQL_ROLLBACKS = {1213, 1020}

#: TiDB's own, after which the whole transaction may be tried again: write conflicts
#: (8002, 8005, 9007), a COMMIT that was rolled back, and a table that was changed.
#: https://docs.pingcap.com/tidb/stable/error-codes
_TIDB_ERRORS = {8002, 8005, 8022, 8028, 9007}

#: All of these, and a lock not obtained in time.
_MYSQL_ERRORS = {*_MYSQL_ROLLBACKS, *_TIDB_ERRORS, 1205}

#: SQLITE_BUSY and SQLITE_LOCKED, the low byte of the extended codes.
#: https://www.sqlite.org/rescode.html
_SQLITE_ERRORS = {5, 6}


def is_conflict(error: BaseException) -> bool:
    """Tell whether an error means that somebody else was faster.

    That is a write refused by the lock, unless the row was deleted, or what a
    database reports when it can't run concurrent transactions to their end. An
    error raised ``from`` one of these is a conflict too, and so is an exception
    group of nothing but conflicts.
    """
    for cause in _causes(error):
        if members := group_members(cause):
            return all(map(is_conflict, members))
        if isinstance(cause, RecordModifiedError):
            return not isinstance(cause, RecordDeletedError)
        if _is_database_conflict(cause):
            return True
    return False


def is_rollback(error: BaseException) -> bool:
    """Tell whether the database ended the transaction to let another one go on.

    That is after a deadlock, or because a row was changed after the transaction
    took its snapshot; not when it waited for a lock for too long.
    """
    return any(
        sqlstate(part) in _SQLSTATES or mysql_code(part) in _MYSQL_ROLLBACKS
        for part in parts(error)
    )


def refused(error: BaseException) -> Iterator[tuple[str, models.Model]]:
    """Yield each instance whose write was refused, and the alias of the database."""
    for part in parts(error):
        if isinstance(part, RecordModifiedError):
            # A bulk write names every conflict it met.
            for conflict in getattr(part, "conflicts", ()) or (part,):
                yield part.using, conflict.instance


def parts(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and the members of groups."""
    for cause in _causes(error):
        yield cause
        for member in group_members(cause):
            yield from parts(member)


def group_members(error: BaseException) -> Sequence[BaseException]:
    """Return the exceptions in an exception group; of any other error, none."""
    # Told by what it can do: Python 3.10 has groups from a package, if at all.
    return getattr(error, "exceptions", ()) if hasattr(error, "derive") else ()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = []
    while error is not None and error not in seen:  # `raise error from error`
        yield error
        seen.append(error)
        error = error.__cause__


def _is_database_conflict(error: BaseException) -> bool:
    if sqlstate(error) in _SQLSTATES:
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in _SQLITE_ERRORS
    if sys.version_info < (3, 11):  # pragma: no cover -- there, sqlite3 has no codes
        import sqlite3

        if isinstance(error, sqlite3.OperationalError):
            return "is locked" in str(error)
    return mysql_code(error) in _MYSQL_ERRORS
