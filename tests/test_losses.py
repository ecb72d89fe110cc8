from __future__ import annotations

import functools

import pytest
from django.db import OperationalError
from factories import AccountFactory
from testapp.models import Account

from optilock import RecordDeletedError
from optilock.losses import HotRows, Row, is_conflict, is_rollback


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
    ("pymysql", "err.OperationalError", 1213, "Deadlock found"),
    ("pymysql", "err.OperationalError", 1205, "Lock wait timeout exceeded"),
    ("pymysql", "err.InternalError", 1020, "Record has changed since last read"),
]
OTHERS = [
    ("psycopg", "errors.UniqueViolation", "duplicate key"),
    ("psycopg", "errors.AdminShutdown", "terminating connection"),
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


# Hot rows


def row(pk):
    return Row("default", Account, pk)


@pytest.mark.parametrize(
    ("lost_with", "called_with", "expected"),
    [
        (((5, 1), {}), ((5, 2), {}), True),
        (((5, 1), {}), ((6, 5), {}), False),  # 5 is something else here
        (((5, 1), {}), (("5", 2), {}), True),  # out of a URL
        (((object(), 5), {}), ((object(), 5), {}), True),
        (((), {"pk": 5}), ((), {"pk": 5, "amount": 3}), True),
        (((), {"pk": 5}), ((), {"amount": 5}), False),
        (((Account(pk=5),), {}), ((Account(pk=5),), {}), True),
        (((), {}), ((), {}), True),
        ((("invoice",), {}), (("invoice",), {}), True),
        ((("invoice",), {}), (("order",), {}), False),
        (((object(),), {}), ((object(),), {}), False),
        (((True,), {}), ((True, 5), {}), False),
    ],
)
def test_a_call_is_known_by_the_argument_that_was_the_key(
    lost_with, called_with, expected
):
    hot = HotRows()
    for _ in range(2):
        hot.add([row(5)], *lost_with)
    assert hot.expected(*called_with) == ({row(5)} if expected else set())


def test_a_call_that_loses_another_row_each_time_is_not_known():
    # All who ask for the next job would queue up for one that is done.
    hot = HotRows()
    for pk in (1, 2, 3, 4):
        hot.add([row(pk)], (), {})
        assert hot.expected((), {}) == set()
    hot.add([row(4)], (), {})
    assert hot.expected((), {}) == {row(4)}


def test_hot_rows_cool_down(monkeypatch):
    hot = HotRows()
    now = [100.0]
    monkeypatch.setattr("optilock.losses.time.monotonic", lambda: now[0])
    hot.add([row(5)], (5,), {})
    now[0] += HotRows.seconds - 1
    assert hot.expected((5,), {}) == {row(5)}
    now[0] += 2
    assert hot.expected((5,), {}) == set()


def test_the_memory_is_bounded_and_forgets_the_oldest():
    hot = HotRows()
    for pk in range(HotRows.size + 10):
        hot.add([row(pk)], (pk,), {})
    assert len(hot._rows) == HotRows.size
    assert hot.expected((9,), {}) == set()
    assert hot.expected((10,), {}) == {row(10)}
