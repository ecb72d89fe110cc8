"""A lost race is never called anything but lost, at each isolation level."""

from __future__ import annotations

import pytest
from clients import row, send, theirs
from django.db import connection, connections
from factories import AccountFactory
from levels import LEVELS, connected
from testapp.models import Account, Unlocked

from optilock.testing import write_meanwhile

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.race,
    pytest.mark.urls("testapp.http"),
]

#: Where a transaction that has read the row may still lose it to another one.
OPTIMISTIC = {
    name: options
    for name, options in LEVELS.items()
    if "IMMEDIATE" not in name
    and name != "JOURNAL"
    # There, MariaDB locks what is read.
    and not (
        name == "SERIALIZABLE"
        and "init_command" not in options
        and connection.vendor == "mysql"
    )
}


@pytest.fixture(params=OPTIMISTIC.values(), ids=OPTIMISTIC)
def level(request):
    outer = connections["default"]
    with connected(request.param):
        yield
        if connection.vendor == "sqlite":
            # The journal is the file's, not the connection's: put it back, which
            # nobody else may look at meanwhile.
            outer.close()
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode = delete")


not_on_sqlite = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="who has written first, has SQLite's lock"
)


def test_who_loses_with_the_first_write_is_told_412(level):
    account = AccountFactory(owner="first")
    with write_meanwhile(Account, theirs(account)):
        refused = send("merging", "PATCH", account.pk, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    assert row(account) == ("theirs", 100, 2)


@not_on_sqlite
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_who_loses_is_told_412_with_the_row_as_it_is(method, level):
    account = AccountFactory(owner="first")
    with write_meanwhile(Account, theirs(account)):
        refused = send("decorated", method, account.pk, {"balance": 1}, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    assert refused.json()["current"] == {"owner": "theirs", "balance": 100}
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()


@not_on_sqlite
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_in_an_outer_transaction_it_is_412_or_503(method, level, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    account = AccountFactory(owner="first")
    with write_meanwhile(Account, theirs(account)):
        refused = send("decorated", method, account.pk, {"balance": 1}, If_Match='"1"')
    assert refused.status_code in (412, 503)
    if refused.status_code == 503:
        assert refused["Retry-After"]
    else:
        assert refused.json().get("current", {}).get("owner") in ("theirs", None)
        assert refused.json()["current_version"] == 2
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()
