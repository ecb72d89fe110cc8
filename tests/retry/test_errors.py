from __future__ import annotations

import functools

import pytest
from django.db import OperationalError
from factories import AccountFactory
from testapp.models import Account

from optilock import RecordDeletedError, RecordModifiedError
from optilock.retry.errors import is_conflict, is_rollback
from optilock.retry.locking import LostRow, lost_rows


def driver_error(module, name, *args, **attributes):
    """Return what Django raises for an error of the database's driver."""
    errors = pytest.importorskip(module, reason=f"{module} isn't installed")
    cause = functools.reduce(getattr, name.split("."), errors)(*args)
    for attribute, value in attributes.items():
        setattr(cause, attribute, value)
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


CONFLICTS = [
    ("psycopg", "errors.SerializationFailure", "could not serialize"),
    ("psycopg", "errors.DeadlockDetected", "deadlock detected"),
    ("MySQLdb", "OperationalError", 1213, "Deadlock found"),
    ("MySQLdb", "OperationalError", 1205, "Lock wait timeout exceeded"),
    ("MySQLdb", "OperationalError", 1020, "Record has changed since last read"),
    ("MySQLdb", "OperationalError", 8002, "can't be retried, as it locks"),
    ("MySQLdb", "OperationalError", 8005, "Write Conflict, txnStartTS is stale"),
    ("MySQLdb", "OperationalError", 8022, "Error: KV error safe to retry"),
    ("MySQLdb", "OperationalError", 8028, "Information schema is changed"),
    ("MySQLdb", "OperationalError", 9007, "Write conflict"),
    ("pymysql", "err.OperationalError", 1213, "Deadlock found"),
    ("pymysql", "err.OperationalError", 1205, "Lock wait timeout exceeded"),
    ("pymysql", "err.InternalError", 1020, "Record has changed since last read"),
]
OTHERS = [
    ("psycopg", "errors.UniqueViolation", "duplicate key"),
    ("psycopg", "errors.AdminShutdown", "terminating connection"),
    ("psycopg", "errors.StatementCompletionUnknown", "result is ambiguous"),
    ("psycopg", "errors.ReadOnlySqlTransaction", "this is a standby"),
    ("MySQLdb", "OperationalError", 1047, "WSREP has not yet prepared node"),
    ("MySQLdb", "OperationalError", 2006, "Server has gone away"),
    ("MySQLdb", "IntegrityError", 1062, "Duplicate entry '1213'"),
    ("pymysql", "err.OperationalError", 2013, "Lost connection"),
    (
        "pymysql",
        "err.OperationalError",
    ),
]


@pytest.mark.parametrize("case", CONFLICTS, ids=lambda case: f"{case[0]}-{case[2]}")
def test_a_driver_error_that_means_somebody_was_faster_is_a_conflict(case):
    error = driver_error(*case)
    assert is_conflict(error)
    assert is_conflict(error.__cause__)


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_another_driver_error_is_none(case):
    error = driver_error(*case)
    assert not is_conflict(error)
    assert not is_conflict(error.__cause__)


@pytest.mark.skipif(
    "__import__('sys').version_info < (3, 11)",
    reason="sqlite3 tells no codes before Python 3.11",
)
@pytest.mark.parametrize(
    ("code", "expected"),
    [(5, True), (6, True), (5 | 2 << 8, True), (6 | 1 << 8, True), (1, False)],
)
def test_sqlite_is_known_by_the_low_byte_of_its_code(code, expected):
    error = driver_error("sqlite3", "OperationalError", "?", sqlite_errorcode=code)
    assert is_conflict(error) is expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (CONFLICTS[0], True),
        (CONFLICTS[1], True),
        (CONFLICTS[4], True),
        (OTHERS[0], False),
    ],
    ids=["40001", "40P01", "1020", "23505"],
)
def test_a_transaction_that_the_database_ended_is_known_by_its_code(case, expected):
    assert is_rollback(driver_error(*case)) is expected


@pytest.mark.parametrize(("code", "expected"), [(1213, True), (1205, False)])
def test_to_wait_too_long_is_no_rollback(code, expected):
    error = driver_error("MySQLdb", "OperationalError", code, "?")
    assert is_rollback(error) is expected
    assert is_conflict(error)


@pytest.mark.django_db
def test_an_error_raised_from_a_deletion_is_none():
    account = AccountFactory()
    Account.objects.all().delete()
    with pytest.raises(RecordDeletedError) as caught:
        account.save()
    error = LookupError("gone")
    error.__cause__ = caught.value
    assert not is_conflict(error)


def test_an_error_that_is_its_own_cause_is_looked_at_once():
    error = LookupError()
    error.__cause__ = error
    assert not is_conflict(error)


# Groups

needs_groups = pytest.mark.skipif(
    "__import__('sys').version_info < (3, 11)",
    reason="Python 3.10 has no exception groups",
)


def conflict():
    return OperationalError(1213, "Deadlock found")


def refused(kind=RecordModifiedError):
    return kind(
        instance=Account(pk=7),
        using="default",
        expected_version=1,
        current_version=None,
    )


@needs_groups
@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([conflict()], True),
        ([conflict(), refused()], True),
        ([conflict(), [refused(), [conflict()]]], True),
        ([conflict(), ValueError()], False),
        ([conflict(), [refused(), [ValueError()]]], False),
        ([conflict(), refused(RecordDeletedError)], False),
    ],
)
def test_a_group_of_nothing_but_conflicts_is_one(errors, expected):
    def group(errors):
        return ExceptionGroup(  # noqa: F821
            "group", [group(e) if isinstance(e, list) else e for e in errors]
        )

    error = group(errors)
    assert is_conflict(error) is expected
    outside = LookupError()
    outside.__cause__ = error
    assert is_conflict(outside) is expected


@needs_groups
def test_the_rows_of_a_whole_group_are_lost():
    inner = ExceptionGroup("inner", [refused()])  # noqa: F821
    other = conflict()
    other._optilock_row = ("default", Account, 8)
    error = ExceptionGroup("outer", [inner, other])  # noqa: F821
    assert lost_rows(error) == {
        LostRow("default", Account, 7),
        LostRow("default", Account, 8),
    }
    assert is_rollback(error)
