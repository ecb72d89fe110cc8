"""What was lost in a conflict, and what keeps it from being lost again."""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError, connections, models

from optilock.exceptions import RecordDeletedError, RecordModifiedError
from optilock.fields import version_field

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: "Serialization failure" and "deadlock detected", in SQL's own words.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {"40001", "40P01"}

#: Deadlock, and "record has changed since last read".
#: https://mariadb.com/kb/en/mariadb-error-codes/
_MYSQL_ROLLBACKS = {1213, 1020}

#: These, and a lock not obtained in time.
_MYSQL_ERRORS = {*_MYSQL_ROLLBACKS, 1205}

#: SQLITE_BUSY and SQLITE_LOCKED, the low byte of the extended codes.
#: https://www.sqlite.org/rescode.html
_SQLITE_ERRORS = {5, 6}


Args = tuple[Any, ...]
Kwargs = dict[str, Any]


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


def is_rollback(error: BaseException) -> bool:
    """Tell whether the database ended the transaction to let another one go on.

    That is after a deadlock, or because a row was changed after the transaction
    took its snapshot; not when it waited for a lock for too long.
    """
    return any(
        _sqlstate(cause) in _SQLSTATES or _mysql_error(cause) in _MYSQL_ROLLBACKS
        for cause in _causes(error)
    )


def lost_rows(error: BaseException) -> set[Row]:
    """Return the rows that an error, or what it was raised from, says were lost."""
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
        elif hasattr(cause, "_optilock_row"):
            rows.add(Row(*cause._optilock_row))
    return rows


def lock_rows(rows: Iterable[Row]) -> None:
    """Lock the rows for the open transaction, in an order all agree on.

    SQL by hand, because building this through a queryset takes longer than
    running it, and others wait while this transaction lasts.
    """
    for (using, _), group in groupby(sorted(rows, key=_table), key=_table):
        connection = connections[using]
        if connection.features.has_select_for_update:
            sql, params = _select_for_update(connection, list(group))
        else:
            sql, params = _lock_database(connection, next(group))
        with connection.cursor() as cursor:
            cursor.execute(sql, params)


def _select_for_update(
    connection: BaseDatabaseWrapper, rows: list[Row]
) -> tuple[str, list[Any]]:
    meta = rows[0].model._meta
    quote = connection.ops.quote_name
    columns = [quote(str(field.column)) for field in meta.pk_fields]
    is_row = " AND ".join(f"{column} = %s" for column in columns)
    sql = (
        f"SELECT 1 FROM {quote(meta.db_table)} "  # noqa: S608 -- names are quoted
        f"WHERE {' OR '.join([f'({is_row})'] * len(rows))} "
        f"ORDER BY {', '.join(columns)} {connection.ops.for_update_sql()}"
    )
    params = [
        field.get_db_prep_value(value, connection)
        for row in rows
        for field, value in zip(meta.pk_fields, _key(row), strict=True)
    ]
    return sql, params


def _lock_database(connection: BaseDatabaseWrapper, row: Row) -> tuple[str, list[Any]]:
    # SQLite has one lock for all rows, and who writes takes it, even if there is
    # nothing to write. A transaction that has it from the beginning can't find
    # that its snapshot is too old to write on.
    meta = row.model._meta
    quote = connection.ops.quote_name
    column = quote(str(meta.pk_fields[0].column))
    table = quote(meta.db_table)
    return f"UPDATE {table} SET {column} = {column} WHERE 1 = 0", []  # noqa: S608


def _key(row: Row) -> tuple[Any, ...]:
    return row.pk if isinstance(row.pk, tuple) else (row.pk,)


def _table(row: Row) -> tuple[str, str]:
    return row.using, row.model._meta.db_table


class HotRows:
    """Rows that calls of a function lost a moment ago.

    Whoever loses a row is seldom the only one who wants it, so the next call
    that is going to write it does better to lock it at once. What a call will
    write isn't known, but can be told from its arguments: by the one that was
    the row's primary key when the row was lost, or that was the object itself.
    If none was, and calls with the very same arguments lose the same row twice
    running, it is taken to be theirs.

    A needless lock does no harm but a little waiting. An entry lasts for
    ``seconds``, and there are ``size`` at most, with no argument's value in them.
    """

    seconds = 10.0
    size = 1000

    def __init__(self) -> None:
        self._rows: dict[Hashable, dict[Row, float]] = {}

    def add(self, rows: Iterable[Row], args: Args, kwargs: Kwargs) -> None:
        """Remember that a call with these arguments lost the rows."""
        tokens = _tokens(args, kwargs)
        others = set()
        for row in rows:
            pk = _token(row.pk)
            named = [item for item in tokens if pk is not None and item[1] == pk]
            for key in named:
                self._put(key, {row, *self._rows.get(key, ())})
            if not named:
                others.add(row)
        for whole in _whole(tokens) if others else ():
            once = ("once", whole)
            self._put(whole, others.intersection(self._rows.get(once, ())))
            self._put(once, others)

    def _put(self, key: Hashable, rows: set[Row]) -> None:
        # Taken out and put in at the end: the oldest come first. There is no lock,
        # as each step is atomic, and what two threads lose here is a hint.
        self._rows.pop(key, None)
        if rows:
            expires = time.monotonic() + self.seconds
            self._rows[key] = dict.fromkeys(rows, expires)
        for oldest in list(self._rows)[: -self.size]:
            self._rows.pop(oldest, None)

    def expected(self, args: Args, kwargs: Kwargs) -> set[Row]:
        """Return the rows that a call with these arguments is likely to lose."""
        if not self._rows:
            return set()
        now = time.monotonic()
        tokens = _tokens(args, kwargs)
        return {
            row
            for key in (*tokens, *_whole(tokens))
            for row, expires in self._rows.get(key, {}).items()
            if expires > now
        }


def _tokens(args: Args, kwargs: Kwargs) -> tuple[tuple[Any, int | None], ...]:
    """Return each parameter's position or name, with a token for its value."""
    named = (*enumerate(args), *sorted(kwargs.items()))
    return tuple((name, _token(value)) for name, value in named)


def _token(value: object) -> int | None:
    if isinstance(value, models.Model):
        value = value.pk
    if isinstance(value, int | str | UUID):
        return hash(str(value))  # a URL's "7" is the key 7, and True isn't 1
    return None


def _whole(tokens: tuple[tuple[Any, int | None], ...]) -> list[Hashable]:
    # Only if all arguments are plain values, the call is told by these.
    return [] if any(token is None for _, token in tokens) else [tokens]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = []
    while error is not None and error not in seen:  # `raise error from error`
        yield error
        seen.append(error)
        error = error.__cause__


def _is_database_conflict(error: BaseException) -> bool:
    # Not every driver's sqlstate is of use: that of PyMySQL's errors is HY000 for
    # nearly all of them.
    if _sqlstate(error) in _SQLSTATES:
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in _SQLITE_ERRORS
    if sys.version_info < (3, 11):  # pragma: no cover -- there, sqlite3 has no codes
        import sqlite3

        if isinstance(error, sqlite3.OperationalError):
            return "is locked" in str(error)
    return _mysql_error(error) in _MYSQL_ERRORS


def _sqlstate(error: BaseException) -> str | None:
    # psycopg says sqlstate, psycopg2 pgcode.
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _mysql_error(error: BaseException) -> int | None:
    # The drivers for MySQL put the number first, and Django hands it on.
    is_mysql = isinstance(error, DatabaseError) or (
        type(error).__module__.partition(".")[0] in ("MySQLdb", "pymysql")
    )
    if is_mysql and error.args and type(error.args[0]) is int:
        return error.args[0]
    return None
