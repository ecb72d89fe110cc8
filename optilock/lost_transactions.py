"""Tells whether a database has rolled a transaction back: see ``rollback``.

And whether nobody can tell, because the answer to a COMMIT was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseErrorWrapper

from optilock.driver_errors import add_note, mysql_code, sqlstate

if TYPE_CHECKING:
    from optilock.undo_log import UndoLog

__all__ = [
    "has_ended",
    "is_aborted",
    "one_statement",
    "say_if_committed",
    "say_if_unknown",
    "saying_if_unknown",
    "undo_if_lost",
    "watch_errors",
]

#: psycopg's TransactionStatus.INERROR, and psycopg2's TRANSACTION_STATUS_INERROR.
_IN_ERROR = 3

#: The errors after which InnoDB rolls back the whole transaction: deadlock, no room
#: for more locks, and "record has changed since last read" (snapshot isolation).
#: https://dev.mysql.com/doc/refman/8.4/en/innodb-error-handling.html
#: https://mariadb.com/kb/en/innodb-system-variables/#innodb_snapshot_isolation
_ROLLBACKS = frozenset({1213, 1206, 1020})
#: And the one after which it does so if the server is told to.
_TIMEOUT = 1205

#: That the server, or the way to it, was gone: "connection exception", shutdown and
#: crash; and CockroachDB's "statement completion unknown".
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
#: https://www.cockroachlabs.com/docs/stable/common-errors#result-is-ambiguous
_GONE = ("08", "57P01", "57P02", "40003")
#: The same of MySQL's drivers and servers, and "query execution was interrupted".
#: https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html
#: https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference
_MYSQL_GONE = frozenset({2006, 2013, 2055, 1053, 1317, 1927})

#: What psycopg says instead of sending anything.
_NOT_SENT = ("the connection is closed", "the connection is lost")


def has_ended(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether SQLite has no transaction open any more.

    An ``ON CONFLICT ROLLBACK``, a trigger's ``RAISE(ROLLBACK)`` or a full disk ends
    it. What follows in the block is then committed statement by statement.
    """
    if connection.vendor != "sqlite":
        return False
    try:
        return not connection.connection.in_transaction
    except (connection.Database.Error, AttributeError):  # type: ignore[attr-defined]
        return False  # it is closed, or another driver's


def is_aborted(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether PostgreSQL will answer ROLLBACK to the COMMIT.

    Both of its drivers know that from the last answer of the server, which may be
    another one that speaks its language: backends for these call themselves something
    else than "postgresql".
    """
    driver = connection.connection
    # psycopg's is called pgconn, and its info makes an enum's member of each answer.
    info = getattr(driver, "pgconn", None) or getattr(driver, "info", None)
    return getattr(info, "transaction_status", None) == _IN_ERROR


def say_if_unknown(
    connection: BaseDatabaseWrapper, error: BaseException, what: str = "COMMIT"
) -> None:
    """Say so on an error if nobody can know whether what was sent was carried out.

    Args:
        connection: on which it was sent.
        error: Django's, about the last that was sent.
        what: which the answer should have been to.
    """
    if isinstance(error, DatabaseError) and _is_unanswered(connection, error):
        _say(error, _UNKNOWN.format(what=what))


@contextmanager
def one_statement(using: str, what: str) -> Iterator[None]:
    """Send one statement. If no block is open, it is a transaction of its own.

    An error marks the block for rollback. Without one it says so if nobody can know
    whether the statement was carried out.

    Args:
        using: the alias of the database.
        what: which the answer should be to.
    """
    marking = transaction.mark_for_rollback_on_error(using=using)
    with saying_if_unknown(using, what), marking:
        yield


@contextmanager
def saying_if_unknown(using: str, what: str) -> Iterator[None]:
    """Do the same where Django itself marks the block.

    It does so only for what was sent: an argument that it refuses ends no block.
    """
    try:
        yield
    except DatabaseError as error:
        connection = connections[using]
        if connection.autocommit:  # else the COMMIT is still to come
            say_if_unknown(connection, error, what)
        raise


def say_if_committed(connection: BaseDatabaseWrapper, error: BaseException) -> None:
    """Say so on an error that came between a COMMIT and the end of its block.

    Django then switches autocommit on again, for which it may need a new connection.
    If that fails, its error is the one to be seen, whatever came of the COMMIT.
    """
    if connection.run_commit_hooks_on_set_autocommit_on:
        _say(error, "The transaction was committed before.")
    elif any(hasattr(one, "may_be_committed") for one in _contexts(error)):
        _say(error, _UNKNOWN.format(what="COMMIT"))


_UNKNOWN = "The answer to {what} was lost, so it may have been carried out."


def _say(error: BaseException, fact: str) -> None:
    if getattr(error, "may_be_committed", False):
        return  # it was said where the statement was sent
    error.may_be_committed = True  # type: ignore[attr-defined]
    add_note(error, f"{fact} Load the rows again and see before you repeat it.")


def _contexts(error: BaseException) -> Iterator[BaseException]:
    """Yield what was being handled when an error was raised."""
    context = error.__context__
    while context is not None:
        yield context
        context = context.__context__


def _is_unanswered(connection: BaseDatabaseWrapper, error: DatabaseError) -> bool:
    if connection.vendor == "mysql":
        return mysql_code(error) in _MYSQL_GONE
    state = sqlstate(error.__cause__ or error)
    if state is not None:
        return state.startswith(_GONE)
    if str(error) in _NOT_SENT:
        return False
    return bool(getattr(connection.connection, "closed", False))


def undo_if_lost(connection: BaseDatabaseWrapper, log: UndoLog) -> None:
    """Undo everything if the database has rolled the transaction back by itself."""
    if has_ended(connection) or (
        log.error is not None
        and (log.error in _ROLLBACKS or _rolls_back_on_timeout(connection))
    ):
        log.undo()
    log.error = None


class _ErrorWatch(DatabaseErrorWrapper):
    """Takes down MySQL's errors that roll back the whole transaction.

    Unlike others', the statements that follow run in a new transaction, which
    looks just like the one before. Django puts each call of the driver through
    an instance of the base class, so this one costs nothing.
    """

    wrapper: BaseDatabaseWrapper

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is None:
            return
        code = exc_value.args[0] if exc_value.args else None
        if code in _ROLLBACKS or code == _TIMEOUT:
            log = vars(self.wrapper).get("_optilock_log")
            if log is not None and log.error not in _ROLLBACKS:
                log.error = code
        super().__exit__(exc_type, exc_value, traceback)


def watch_errors(connection: BaseDatabaseWrapper) -> None:
    if (
        connection.vendor == "mysql"
        and type(connection.wrap_database_errors) is DatabaseErrorWrapper
    ):
        vars(connection)["wrap_database_errors"] = _ErrorWatch(connection)


def _rolls_back_on_timeout(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a lock that isn't obtained in time costs the transaction.

    A server's option, not the default. It is asked for after such an error, once.
    """
    answer: bool | None = vars(connection).get("_optilock_timeout_rolls_back")
    if answer is None:
        try:
            with connection.connection.cursor() as cursor:
                cursor.execute("SELECT @@innodb_rollback_on_timeout")
                answer = bool(cursor.fetchone()[0])
        except connection.Database.Error:  # type: ignore[attr-defined]
            return False  # no connection, no transaction: closing it undoes
        connection._optilock_timeout_rolls_back = answer  # type: ignore[attr-defined]
    return answer
