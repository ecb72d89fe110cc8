"""What was lost in a conflict, and what keeps it from being lost again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, models

from optilock.exceptions import RecordDeletedError, RecordModifiedError
from optilock.fields import version_field

#: "Serialization failure" and "deadlock detected", in SQL's own words.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {"40001", "40P01"}

#: Deadlock, lock wait timeout, "record has changed since last read".
#: https://mariadb.com/kb/en/mariadb-error-codes/
_MYSQL_ERRORS = {1213, 1205, 1020}

#: SQLITE_BUSY and SQLITE_LOCKED, the low byte of the extended codes.
#: https://www.sqlite.org/rescode.html
_SQLITE_ERRORS = {5, 6}


class Row(NamedTuple):
    """A row that was lost, in the table that holds its version."""

    using: str
    model: type[models.Model]
    pk: Any


def is_conflict(error: BaseException) -> bool:
    """Tell whether an error means that somebody else was faster.

    That is a write refused by the lock, unless the row is gone, or what a
    database reports when it can't run concurrent transactions to their end. An
    error raised ``from`` one of these is a conflict too.
    """
    for cause in _causes(error):
        if isinstance(cause, RecordModifiedError):
            return not isinstance(cause, RecordDeletedError)
        if _is_database_conflict(cause):
            return True
    return False


def lost_rows(error: BaseException) -> set[Row]:
    """Return the rows an error says were lost. A database's own error doesn't."""
    rows = set()
    for cause in _causes(error):
        if isinstance(cause, RecordModifiedError):
            # A bulk write names every conflict it met.
            for conflict in getattr(cause, "conflicts", ()) or (cause,):
                instance = conflict.instance
                field = version_field(type(instance))
                if field is not None:
                    pk = instance._get_pk_val(field.model._meta)
                    rows.add(Row(cause.using, field.model, pk))
    return rows


def lock_rows(rows: Iterable[Row]) -> None:
    """Lock the rows for the transaction that is open, in an order all agree on."""
    ordered = sorted(rows, key=_table)
    for (using, _), group in groupby(ordered, key=_table):
        first, *others = group
        pks = [first.pk, *(row.pk for row in others)]
        locked: models.QuerySet[Any, Any] = (
            models.QuerySet(first.model, using=using)
            .filter(pk__in=pks)
            .order_by("pk")
            .select_for_update()
            .values_list("pk")
        )
        list(locked)


def has_row_locks(using: str) -> bool:
    return bool(connections[using].features.has_select_for_update)


def _table(row: Row) -> tuple[str, str]:
    return row.using, row.model._meta.db_table


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_database_conflict(error: BaseException) -> bool:
    # psycopg says sqlstate, psycopg2 pgcode. Not every driver's sqlstate is of
    # use: that of PyMySQL's errors is HY000 for nearly all of them.
    for attribute in ("sqlstate", "pgcode"):
        if getattr(error, attribute, None) in _SQLSTATES:
            return True
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in _SQLITE_ERRORS
    if sys.version_info < (3, 11):  # pragma: no cover -- there, sqlite3 has no codes
        import sqlite3

        if isinstance(error, sqlite3.OperationalError):
            return "is locked" in str(error)
    # The drivers for MySQL put the number first, and Django hands it on.
    return (
        (isinstance(error, DatabaseError) or _driver(error) in ("MySQLdb", "pymysql"))
        and bool(error.args)
        and type(error.args[0]) is int
        and error.args[0] in _MYSQL_ERRORS
    )


def _driver(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
