"""A hot row is read as Django would read it, by fewer steps."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial, wraps

import django
import pytest
from around import calls_of
from django.db import (
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.models import F, Manager, Q, QuerySet
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from factories import AccountFactory
from testapp.models import (
    Account,
    Author,
    Book,
    LockedKinds,
    StringKey,
    UUIDKey,
)

from optilock import fast_read, retry_on_conflict
from optilock.attempts import Attempt, row_of
from optilock.managers import versioned_manager
from optilock.testing import provoke_conflicts

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        "not __import__('django.db').db.connection.features.has_select_for_update",
        reason="the database has no row locks",
    ),
]
committing = pytest.mark.django_db(transaction=True)


@contextmanager
def awaiting(row):
    """As in an attempt that is to lock the row when it reads it."""
    with transaction.atomic(), Attempt(["default"], row):
        yield


def read(queryset, pk):
    """Return all that there is to an object, and the statement that reads it."""
    row = row_of(queryset, {"pk": pk})
    with awaiting(row), CaptureQueriesContext(connection) as queries:
        found = queryset.get(pk=pk)
    sql = [query["sql"] for query in queries]
    values, state = {**vars(found)}, {**vars(found._state), "peers": None}
    del values["_state"]
    return type(found), values, state, sql


def read_by_django(monkeypatch, queryset, pk):
    with monkeypatch.context() as patch:
        patch.setattr(fast_read, "IS_KNOWN", False)
        return read(queryset, pk)


def steps_of(queryset, pk):
    """Return the names of the functions that Django calls to read a row."""
    with awaiting(row_of(queryset, {"pk": pk})):
        return [code.co_name for code in calls_of(lambda: queryset.get(pk=pk))]


def is_read_shortly(queryset, pk):
    return "build_filter" not in steps_of(queryset, pk)


@pytest.fixture
def account():
    return AccountFactory()


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Account, [{}, {"owner": "Ada"}]),
        (LockedKinds, [{}, {}]),
        (UUIDKey, [{}, {}]),
        (StringKey, [{"code": "a"}, {"code": "it's 100 %s"}]),
    ],
)
def test_both_ways_read_the_same(monkeypatch, model, given):
    keys = [model.objects.create(**values).pk for values in given]
    for key in [*keys, *keys]:
        shortly = read(model.objects.all(), key)
        assert shortly == read_by_django(monkeypatch, model.objects.all(), key)
        assert len(shortly[-1]) == 1
        assert is_read_shortly(model.objects.all(), key)


def test_a_key_out_of_a_url_is_found(account):
    assert read(Account.objects.all(), str(account.pk))[1]["id"] == account.pk


NOT_PLAIN = {
    "a filter": lambda: Account.objects.filter(owner__gte=""),
    "a filter that is a Q": lambda: Account.objects.exclude(~Q(owner__gte="")),
    "deferred fields": lambda: Account.objects.only("balance"),
    "locked in its own way": lambda: Account.objects.select_for_update(nowait=True),
    "more columns": lambda: Account.objects.extra(select={"two": "1 + 1"}),
    "prefetched": lambda: Book.objects.prefetch_related("author"),
    "ordered by a function": lambda: Account.objects.order_by(F("balance").asc()),
}
if django.VERSION >= (6, 1):
    from django.db.models import FETCH_PEERS

    NOT_PLAIN["fetched with its peers"] = lambda: Account.objects.fetch_mode(
        FETCH_PEERS
    )


@pytest.mark.parametrize("queryset", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain_is_read_by_django(monkeypatch, account, queryset):
    author = Author.objects.create(name="Ada")
    book = Book.objects.create(author=author)
    pk = book.pk if queryset().model is Book else account.pk
    read(queryset().model.objects.all(), pk)  # the short way is known
    found = read(queryset(), pk)
    assert repr(found) == repr(read_by_django(monkeypatch, queryset(), pk))
    assert not is_read_shortly(queryset(), pk)


def test_objects_of_a_relation_know_whose_they_are():
    author = Author.objects.create(name="Ada")
    pk = Book.objects.create(author=author).pk
    read(Book.objects.all(), pk)
    with awaiting(row_of(Book.objects.all(), {"pk": pk})):
        assert author.books.get(pk=pk).author is author


class Shouting(QuerySet):
    def _fetch_all(self):
        super()._fetch_all()
        for account in self._result_cache:
            account.owner = account.owner.upper()


def test_a_queryset_with_steps_of_its_own_takes_them(account):
    manager = versioned_manager(Manager.from_queryset(Shouting)())
    manager.model = Account
    for _ in range(2):
        assert read(manager.all(), account.pk)[1]["owner"] == account.owner.upper()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (QuerySet, "filter"),
        (QuerySet, "_fetch_all"),
        (SQLCompiler, "as_sql"),
        (SQLCompiler, "execute_sql"),
    ],
)
def test_whoever_has_a_hand_in_queries_is_asked(monkeypatch, account, kind, name):
    read(Account.objects.all(), account.pk)  # the short way is known
    original, asked = getattr(kind, name), []

    @wraps(original)
    def method(self, *args, **kwargs):
        asked.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, method)
    read(Account.objects.all(), account.pk)
    assert asked


def test_a_table_that_is_called_otherwise_is_asked_for(monkeypatch, account):
    read(Account.objects.all(), account.pk)
    monkeypatch.setattr(Account._meta, "db_table", "no_such_table")
    with pytest.raises(ProgrammingError, match="no_such_table"):
        read(Account.objects.all(), account.pk)


def test_a_lookup_of_ones_own_is_used(monkeypatch, account):
    read(Account.objects.all(), account.pk)
    field = Account._meta.pk
    lookup = field.get_lookup("exact")
    monkeypatch.setattr(
        field, "instance_lookups", {"exact": type("Own", (lookup,), {})}, raising=False
    )
    assert not is_read_shortly(Account.objects.all(), account.pk)


def test_a_row_that_is_gone_is_not_found(account):
    read(Account.objects.all(), account.pk)
    row = row_of(Account.objects.all(), {"pk": account.pk})
    Account.objects.all().delete()
    with awaiting(row), pytest.raises(Account.DoesNotExist):
        Account.objects.get(pk=account.pk)


@committing
def test_nothing_is_locked_without_a_transaction(account):
    read(Account.objects.all(), account.pk)
    row = row_of(Account.objects.all(), {"pk": account.pk})
    with Attempt(["default"], row), pytest.raises(TransactionManagementError):
        Account.objects.get(pk=account.pk)


@committing
def test_others_wait_for_a_row_that_was_read_shortly(account):
    lock = f"SELECT 1 FROM testapp_account WHERE id = {account.pk} FOR UPDATE NOWAIT"
    other = connections.create_connection("default")
    for _ in range(2):
        with awaiting(row_of(Account.objects.all(), {"pk": account.pk})):
            Account.objects.get(pk=account.pk)
            with (
                closing(other),
                other.cursor() as cursor,
                pytest.raises(OperationalError, match=r"(?i)lock"),
            ):
                cursor.execute(lock)


def deposit(pk, rows):
    found = rows().get(pk=pk)
    found.balance += 1
    found.save(update_fields=["balance"])


@pytest.fixture
def ways(account):
    """Return a call for a hot row, and the same by hand."""
    retried, by_hand = retry_on_conflict(deposit), transaction.atomic(deposit)
    with provoke_conflicts(Account):
        retried(account.pk, Account.objects.all)
    return (
        partial(retried, account.pk, Account.objects.all),
        partial(by_hand, account.pk, Account.objects.select_for_update),
    )


@committing
def test_for_a_hot_row_no_more_is_sent_than_by_hand(ways):
    sent = []
    for way in ways:
        with CaptureQueriesContext(connection) as queries:
            way()
        sent.append([query["sql"].split()[0] for query in queries])
    assert sent == [["BEGIN", "SELECT", "UPDATE", "COMMIT"]] * 2


@committing
def test_a_hot_row_takes_fewer_steps_than_by_hand(ways):
    for _ in range(3):
        ours, theirs = (len(calls_of(way)) for way in ways)
    assert ours < 0.8 * theirs, (ours, theirs)


def test_what_is_known_of_a_queryset_that_is_new_is_all_there_is_to_a_query():
    # Whatever is done to a query stands in its __dict__.
    rows = Account.objects.all()
    assert vars(rows.query) == vars(Query(Account))
    assert vars(rows.filter(pk=1).query) != vars(Query(Account))
    assert vars(rows.order_by("pk").query) != vars(Query(Account))
