"""What the databases' drivers say about an error, and what is added to one."""

from __future__ import annotations

from django.db import DatabaseError

__all__ = ["add_note", "mysql_code", "sqlstate"]


def sqlstate(error: BaseException) -> str | None:
    """Return the five characters that SQL has for each kind of error.

    Not every driver's are of use: PyMySQL says HY000 for nearly all of them.
    """
    # psycopg says sqlstate, psycopg2 pgcode.
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def mysql_code(error: BaseException) -> int | None:
    """Return the number that MySQL's servers and drivers have for the error."""
    # The drivers put it first, and Django hands it on.
    is_mysql = isinstance(error, DatabaseError) or (
        type(error).__module__.partition(".")[0] in ("MySQLdb", "pymysql")
    )
    if is_mysql and error.args and type(error.args[0]) is int:
        return error.args[0]
    return None


def add_note(error: BaseException, note: str) -> None:
    """Add a sentence to what is shown of an error, from Python 3.11 on."""
    if hasattr(error, "add_note"):  # pragma: no branch -- since Python 3.11
        error.add_note(note)
