"""Checked ``bulk_update()``."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle
import uuid
from contextlib import contextmanager
from itertools import cycle
from threading import Event, Timer

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldDoesNotExist
from django.db import (
    DataError,
    IntegrityError,
    NotSupportedError,
    connection,
    models,
    transaction,
)
from django.db.models import F, Value
from django.db.models.functions import Upper
from django.db.models.signals import post_save, pre_save
from django.db.models.sql.compiler import SQLUpdateCompiler
from django.test.utils import CaptureQueriesContext
from examples import examples
from factories import AccountFactory, AuthorFactory, BookFactory
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from testapp.models import (
    Account,
    AccountProxy,
    Author,
    Bistro,
    Book,
    Chapter,
    CompositeKey,
    Computed,
    EveryFieldLocked,
    EveryFieldPlain,
    Place,
    Renamed,
    Restaurant,
    StringKey,
    Unlocked,
    UUIDKey,
)
from threads import SomebodyElse

from optilock import RecordDeletedError, RecordModifiedError, VersionedQuerySet
from optilock.exceptions import RowConflict

pytestmark = pytest.mark.django_db


@pytest.fixture
def accounts():
    found = AccountFactory.create_batch(3)
    for number, account in enumerate(found):
        account.balance = number
    return found


def stored():
    return list(Account.objects.order_by("pk").values_list("balance", "version"))


def somebody_changes(instance):
    type(instance).objects.filter(pk=instance.pk).update(version=F("version") + 1)


# What is written


def test_rows_and_objects_are_at_the_next_version(accounts):
    assert Account.objects.bulk_update(accounts, ["balance"]) == 3
    assert stored() == [(0, 2), (1, 2), (2, 2)]
    assert [account.version for account in accounts] == [2, 2, 2]


def test_written_objects_can_be_saved(accounts):
    Account.objects.bulk_update(accounts, ["balance"])
    accounts[0].save()
    assert accounts[0].version == 3


def test_only_the_named_fields_are_written(accounts):
    accounts[0].owner = "nobody"
    Account.objects.bulk_update(accounts, ["balance"])
    assert Account.objects.get(pk=accounts[0].pk).owner != "nobody"


def test_one_statement_writes_and_checks(accounts, django_assert_num_queries):
    with CaptureQueriesContext(connection) as queries:
        Account.objects.bulk_update(accounts, ["balance", "owner"])
    statements = [q["sql"] for q in queries if "SAVEPOINT" not in q["sql"]]
    assert len(statements) == 1
    table = connection.ops.quote_name("testapp_account")
    version = connection.ops.quote_name("version")
    assert f"{table}.{version} = new.v1" in statements[0]


def test_where_values_are_not_joined_as_on_mysql_the_promise_is_the_same(
    accounts, monkeypatch
):
    monkeypatch.setattr("optilock.joined._joins_values", lambda connection: False)
    with CaptureQueriesContext(connection) as queries:
        assert Account.objects.bulk_update(accounts, ["balance"]) == 3
    assert any("CASE" in query["sql"] for query in queries)
    assert stored() == [(0, 2), (1, 2), (2, 2)]
    somebody_changes(accounts[1])
    for account in accounts:
        account.balance = 50
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(accounts, ["balance"])
    assert [one.instance for one in caught.value.conflicts] == [accounts[1]]
    assert stored() == [(0, 2), (1, 3), (2, 2)]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_batch_size_divides_the_rows(accounts, batch_size):
    with CaptureQueriesContext(connection) as queries:
        Account.objects.bulk_update(accounts, ["balance"], batch_size=batch_size)
    updates = [q for q in queries if q["sql"].startswith("UPDATE")]
    assert len(updates) == math.ceil(3 / batch_size)
    # In a block, the first statement sees whether all rows match.
    assert connection.vendor == "mysql" or len(queries) == len(updates)
    assert stored() == [(0, 2), (1, 2), (2, 2)]


def test_an_object_given_twice_is_written_once(accounts):
    again = [*accounts, accounts[0], accounts[2]]
    assert Account.objects.bulk_update(again, ["balance"]) == 3
    assert Account.objects.bulk_update(again, ["balance"], batch_size=2) == 3
    assert stored() == [(0, 3), (1, 3), (2, 3)]
    accounts[0].save()


@pytest.mark.parametrize("names", [["version"], ["balance", "version"]])
def test_the_version_among_the_fields_is_checked_and_bumped(accounts, names):
    assert Account.objects.bulk_update(accounts, names) == 3
    assert [version for _, version in stored()] == [2, 2, 2]
    assert [account.version for account in accounts] == [2, 2, 2]
    assert (stored()[1][0] == 1) == ("balance" in names)
    somebody_changes(accounts[1])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, names)
    assert [version for _, version in stored()] == [2, 3, 2]


def test_one_row_is_one_statement_and_no_savepoint(accounts, django_assert_num_queries):
    somebody_changes(accounts[1])
    with django_assert_num_queries(1), transaction.atomic(savepoint=False):
        Account.objects.bulk_update(accounts[:1], ["balance"])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts[1:2], ["balance"])
    Account.objects.bulk_update(accounts[2:], ["balance"])  # the block is usable
    assert stored() == [(0, 2), (100, 2), (2, 2)]


def test_whoever_has_patched_how_an_update_is_sent_is_asked(accounts, monkeypatch):
    seen = []
    send = SQLUpdateCompiler.execute_sql

    def execute_sql(self, *args, **kwargs):
        seen.append(self.query.model)
        return send(self, *args, **kwargs)

    monkeypatch.setattr(SQLUpdateCompiler, "execute_sql", execute_sql)
    Account.objects.bulk_update(accounts, ["balance"])
    assert seen == [Account]
    assert stored() == [(0, 2), (1, 2), (2, 2)]


def test_rows_at_different_versions(accounts):
    for _ in range(3):
        accounts[1].save()
    accounts[1].balance = 50
    Account.objects.bulk_update(accounts, ["balance"])
    assert stored() == [(0, 2), (50, 5), (2, 2)]


def test_more_rows_than_a_statement_takes():
    Account.objects.bulk_create(AccountFactory.build_batch(1005, balance=1))
    accounts = list(Account.objects.all())
    for account in accounts:
        account.balance = account.pk
    assert Account.objects.bulk_update(accounts, ["balance"]) == 1005
    assert not Account.objects.exclude(balance=F("pk"), version=2).exists()


def test_async_bulk_update():
    account = AccountFactory()
    account.balance = 7
    write = async_to_sync(Account.objects.all().abulk_update)
    assert write([account], ["balance"]) == 1
    assert stored() == [(7, 2)]


def test_no_objects_are_no_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert Account.objects.bulk_update([], ["balance"]) == 0


def test_an_iterator_of_objects_and_names():
    AccountFactory()
    rows = Account.objects.bulk_update(iter(Account.objects.all()), iter(["balance"]))
    assert rows == 1


def test_no_signals_are_sent_as_in_django(accounts):
    sent = []

    def receiver(**kwargs):
        sent.append(kwargs)

    pre_save.connect(receiver, sender=Account)
    post_save.connect(receiver, sender=Account)
    try:
        Account.objects.bulk_update(accounts, ["balance"])
    finally:
        pre_save.disconnect(receiver, sender=Account)
        post_save.disconnect(receiver, sender=Account)
    assert sent == []


def test_auto_now_is_left_alone_as_in_django(accounts):
    before = accounts[0].modified
    Account.objects.bulk_update(accounts, ["balance"])
    accounts[0].refresh_from_db()
    assert accounts[0].modified == before


def test_a_proxy():
    AccountFactory()
    account = AccountProxy.objects.get()
    account.balance = 3
    AccountProxy.objects.bulk_update([account], ["balance"])
    assert stored() == [(3, 2)]


def test_a_version_and_a_column_by_other_names():
    row = Renamed.objects.create(name="a")
    row.name = "b"
    Renamed.objects.bulk_update([row], ["name"])
    assert Renamed.objects.values_list("name", "lock").get() == ("b", 2)


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (UUIDKey, {"id": uuid.UUID(int=5)}),
        (StringKey, {"code": "a b"}),
        (CompositeKey, {"tenant": 1, "number": 2}),
    ],
)
def test_any_kind_of_primary_key(model, key):
    row = model.objects.create(name="a", **key)
    row.name = "b"
    model.objects.bulk_update([row], ["name"])
    assert model.objects.values_list("name", "version").get(**key) == ("b", 2)


def test_part_of_a_composite_key_is_not_enough():
    rows = [CompositeKey.objects.create(tenant=1, number=n, name="a") for n in (1, 2)]
    rows[0].name = "b"
    CompositeKey.objects.bulk_update(rows[:1], ["name"])
    found = CompositeKey.objects.order_by("number").values_list("name", "version")
    assert list(found) == [("b", 2), ("a", 1)]


def test_a_primary_key_given_as_a_text(accounts):
    accounts[0].pk = str(accounts[0].pk)
    Account.objects.bulk_update(accounts, ["balance"])
    assert stored()[0] == (0, 2)


def test_a_foreign_key_takes_its_object():
    book, author = BookFactory(), AuthorFactory()
    book.author = author
    Book.objects.bulk_update([book], ["author"])
    assert Book.objects.get().author == author


def test_an_unsaved_related_object_is_refused_as_in_django():
    book = BookFactory()
    book.author = Author(name="new")
    with pytest.raises(ValueError, match="unsaved related object"):
        Book.objects.bulk_update([book], ["author"])


def test_an_unsaved_related_object_does_not_matter_if_it_is_not_written():
    book = BookFactory()
    book.author = Author(name="new")
    assert Book.objects.bulk_update([book], ["version"]) == 1
    assert book.version == 2


def test_a_generated_field_is_left_to_the_database():
    row = Computed.objects.create(name="a")
    row.name = "b"
    Computed.objects.bulk_update([row], ["name", "shout"])
    assert Computed.objects.values_list("shout", "version").get() == ("B", 2)


@pytest.mark.parametrize("fields", [["name"], ["tables"], ["name", "stars", "tables"]])
def test_tables_of_parents(fields):
    rows = [Bistro.objects.create(name=str(n), tables=n) for n in (1, 2)]
    for row in rows:
        row.name, row.stars, row.tables = f"new {row.pk}", row.pk + 5, row.pk + 9
    Bistro.objects.bulk_update(rows, fields)
    assert [row.version for row in rows] == [2, 2]
    for row in rows:
        found = Bistro.objects.get(pk=row.pk)
        assert found.version == 2
        assert all(getattr(found, name) == getattr(row, name) for name in fields)


def test_a_stale_child_leaves_all_tables_untouched():
    rows = [Bistro.objects.create(name="a", tables=n) for n in (1, 2)]
    somebody_changes(Place.objects.get(pk=rows[1].pk))
    for row in rows:
        row.name, row.tables = "b", row.tables + 10
    with pytest.raises(RecordModifiedError):
        Bistro.objects.bulk_update(rows, ["name", "tables"])
    found = Bistro.objects.order_by("pk").values_list("name", "tables", "version")
    assert list(found) == [("a", 1, 1), ("a", 2, 2)]


def test_children_through_the_parents_manager():
    row = Restaurant.objects.create(name="a", stars=1)
    row.name = "b"
    Place.objects.bulk_update([row], ["name"])
    assert Restaurant.objects.values_list("name", "version").get() == ("b", 2)


def test_a_related_managers_rows():
    book = BookFactory()
    book.stock = 8
    assert book.author.books.bulk_update([book], ["stock"]) == 1
    assert Book.objects.values_list("stock", "version").get() == (8, 2)


def test_objects_of_another_database_go_where_using_says():
    account = AccountFactory()
    account._state.db = "other"
    account.balance = 5
    Account.objects.using("default").bulk_update([account], ["balance"])
    assert stored() == [(5, 2)]


class SpreadingRouter:
    """Spreads what is written over two primaries."""

    def __init__(self):
        self.aliases = cycle(["other", "default"])

    def db_for_write(self, model, **hints):
        return next(self.aliases)


@pytest.mark.django_db(databases=["default", "other"])
def test_versions_go_back_with_the_transaction_that_wrote_the_rows(settings):
    account = Account.objects.using("other").create(owner="ann", balance=1)
    settings.DATABASE_ROUTERS = [SpreadingRouter()]
    with transaction.atomic("other"):
        assert Account.objects.bulk_update([account], ["balance"]) == 1
        assert account.version == 2
        transaction.set_rollback(True, using="other")
    assert account.version == 1


def test_without_a_version_it_is_djangos():
    class Rows(VersionedQuerySet):
        pass

    row = Unlocked.objects.create(name="a")
    row.name = "b"
    assert Rows(Unlocked).bulk_update([row], ["name"]) == 1
    assert Unlocked.objects.get().name == "b"


# Expressions and other values that make a row take Django's way


def test_expressions_as_values(accounts):
    accounts[0].balance = F("balance") + 1
    accounts[1].balance = Value(7)
    accounts[1].owner = Upper(Value("x"))
    Account.objects.bulk_update(accounts, ["balance", "owner"])
    assert stored() == [(101, 2), (7, 2), (2, 2)]
    assert Account.objects.get(pk=accounts[1].pk).owner == "X"
    assert [account.version for account in accounts] == [2, 2, 2]


def test_expressions_are_checked_too(accounts):
    accounts[0].balance = F("balance") + 1
    somebody_changes(accounts[2])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, ["balance"])
    assert stored() == [(100, 1), (100, 1), (100, 2)]


def test_expressions_in_rows_at_different_versions(accounts):
    accounts[1].save()
    for account in accounts:
        account.balance = F("balance") + 1
    Account.objects.bulk_update(accounts, ["balance"], batch_size=2)
    assert stored() == [(101, 2), (2, 3), (101, 2)]


def test_expressions_in_a_childs_table():
    rows = [Bistro.objects.create(name="a", tables=n) for n in (1, 2)]
    for row in rows:
        row.tables = F("tables") + 10
        row.stars = 3
    Bistro.objects.bulk_update(rows, ["stars", "tables"])
    found = Bistro.objects.order_by("pk").values_list("stars", "tables", "version")
    assert list(found) == [(3, 11, 2), (3, 12, 2)]


def test_expressions_with_a_key_that_cannot_be_joined():
    row = StringKey.objects.create(code="a", name="a")
    row.name = Upper("code")
    StringKey.objects.bulk_update([row], ["name"])
    assert StringKey.objects.values_list("name", "version").get() == ("A", 2)


# What is refused


def test_a_stale_row_leaves_all_rows_untouched(accounts):
    somebody_changes(accounts[1])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, ["balance"])
    assert stored() == [(100, 1), (100, 2), (100, 1)]
    assert [account.version for account in accounts] == [1, 1, 1]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stale_row_in_a_later_batch_leaves_all_rows_untouched(accounts, batch_size):
    somebody_changes(accounts[2])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, ["balance"], batch_size=batch_size)
    assert stored() == [(100, 1), (100, 1), (100, 2)]
    Account.objects.bulk_update(accounts[:2], ["balance"])  # the block is usable
    assert stored() == [(0, 2), (1, 2), (100, 2)]


def test_more_rows_than_the_first_statement_can_look_at_leave_nothing_behind():
    Account.objects.bulk_create(AccountFactory.build_batch(905, balance=1))
    accounts = list(Account.objects.order_by("pk"))
    somebody_changes(accounts[-1])
    for account in accounts:
        account.balance = 2
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, ["balance"])
    assert not Account.objects.filter(balance=2).exists()
    Account.objects.bulk_update(accounts[:-1], ["balance"])
    assert Account.objects.filter(balance=2, version=2).count() == 904


@pytest.mark.parametrize("names", [["balance"], ["balance", "owner"]])
@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_row_that_the_database_leaves_out_undoes_the_others(
    accounts, names, batch_size
):
    if connection.vendor == "mysql":
        pytest.skip("It has no triggers that leave a row out.")
    with (
        leaving_out(accounts[1].pk),
        pytest.raises(RecordModifiedError) as caught,
        transaction.atomic(),
    ):
        Account.objects.bulk_update(accounts, names, batch_size=batch_size)
    assert [row.instance for row in caught.value.conflicts] == accounts
    assert stored() == [(100, 1)] * 3
    assert [account.version for account in accounts] == [1, 1, 1]


def test_a_row_that_the_database_leaves_out_ends_the_block(accounts):
    if connection.vendor == "mysql":
        pytest.skip("It has no triggers that leave a row out.")
    with leaving_out(accounts[1].pk), transaction.atomic():
        with pytest.raises(RecordModifiedError, match="Nothing was written"):
            Account.objects.bulk_update(accounts, ["balance"])
        assert connection.needs_rollback  # so it will be true
    assert stored() == [(100, 1)] * 3


@contextmanager
def leaving_out(pk):
    """Have the database leave a row as it is, without an error."""
    on = f"BEFORE UPDATE ON testapp_account FOR EACH ROW WHEN (old.id = {int(pk)})"
    if connection.vendor == "postgresql":
        leave = "pg_temp.leave() RETURNS trigger LANGUAGE plpgsql"
        statements = [
            f"CREATE FUNCTION {leave} AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER leave {on} EXECUTE FUNCTION pg_temp.leave()",
        ]
        after = "DROP FUNCTION pg_temp.leave CASCADE"
    else:
        statements = [f"CREATE TRIGGER leave {on} BEGIN SELECT RAISE(IGNORE); END"]
        after = "DROP TRIGGER leave"
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield
        cursor.execute(after)


def test_the_error_names_all_conflicts(accounts):
    somebody_changes(accounts[1])
    Account.objects.filter(pk=accounts[2].pk).delete()
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(accounts, ["balance"], batch_size=1)
    error = caught.value
    assert not isinstance(error, RecordDeletedError)
    assert error.conflicts == (
        RowConflict(accounts[1], "default", 1, 2),
        RowConflict(accounts[2], "default", 1, None),
    )
    assert error.conflicts[0].conflict["balance"].state == "mine"
    assert error.conflicts[1].conflict.deleted
    assert (error.instance, error.current_version) == (accounts[1], 2)
    assert "2 rows of testapp.Account" in str(error)


def test_the_first_named_row_is_one_that_is_still_there(accounts):
    Account.objects.filter(pk=accounts[0].pk).delete()
    somebody_changes(accounts[1])
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(accounts, ["balance"])
    assert caught.value.instance is accounts[1]
    assert len(caught.value.conflicts) == 2


def test_the_error_says_so_if_all_conflicting_rows_are_gone(accounts):
    Account.objects.filter(pk=accounts[2].pk).delete()
    with pytest.raises(RecordDeletedError) as caught:
        Account.objects.bulk_update(accounts, ["balance"])
    assert caught.value.conflicts == (RowConflict(accounts[2], "default", 1, None),)


def test_a_long_list_of_conflicts_is_cut_in_the_message_only():
    accounts = AccountFactory.create_batch(12)
    Account.objects.update(balance=1)
    with pytest.raises(RecordModifiedError, match="and 2 more") as caught:
        Account.objects.bulk_update(accounts, ["balance"])
    assert len(caught.value.conflicts) == 12


def test_the_error_survives_pickling(accounts):
    Account.objects.update(balance=1)
    with pytest.raises(RecordModifiedError) as caught:
        Account.objects.bulk_update(accounts, ["balance"])
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert copy.conflicts == caught.value.conflicts
    assert str(copy) == str(caught.value)


def test_a_conflict_leaves_the_surrounding_transaction_usable(accounts):
    somebody_changes(accounts[1])
    with transaction.atomic():
        with pytest.raises(RecordModifiedError):
            Account.objects.bulk_update(accounts, ["balance"])
        Account.objects.bulk_update(accounts[:1], ["balance"])
    assert stored() == [(0, 2), (100, 2), (100, 1)]


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("is_bumped", [True, False])
def test_a_row_changed_while_the_first_statement_waits(accounts, batch_size, is_bumped):
    if connection.vendor == "sqlite":
        pytest.skip("There, a writer waits before its transaction has seen anything.")
    has_locked, may_go = Event(), Event()

    def change():
        with transaction.atomic():
            rows = Account.objects.filter(pk=accounts[2].pk)
            rows.update(owner="theirs", version=F("version") + int(is_bumped))
            has_locked.set()
            may_go.wait(10)

    other = SomebodyElse(change)
    other.start()
    has_locked.wait(10)
    Timer(0.5, may_go.set).start()
    with transaction.atomic():
        if is_bumped:
            with pytest.raises(RecordModifiedError) as caught:
                Account.objects.bulk_update(accounts, ["balance"], batch_size)
            assert [row.instance for row in caught.value.conflicts] == accounts[2:]
        else:
            Account.objects.bulk_update(accounts, ["balance"], batch_size)
        Account.objects.bulk_update(accounts[:1], ["balance"])  # the block is usable
    other.join()
    written = [(0, 2), (100, 1), (100, 2)] if is_bumped else [(0, 3), (1, 2), (2, 2)]
    assert stored() == written
    assert Account.objects.get(pk=accounts[2].pk).owner == "theirs"


@pytest.mark.django_db(transaction=True)
def test_a_conflict_without_a_transaction_leaves_all_rows_untouched(accounts):
    somebody_changes(accounts[2])
    with pytest.raises(RecordModifiedError):
        Account.objects.bulk_update(accounts, ["balance"], batch_size=1)
    assert stored() == [(100, 1), (100, 1), (100, 2)]


def test_a_rolled_back_transaction_takes_the_versions_back(accounts):
    with transaction.atomic():
        Account.objects.bulk_update(accounts, ["balance"])
        transaction.set_rollback(True)
    assert [account.version for account in accounts] == [1, 1, 1]
    Account.objects.bulk_update(accounts, ["balance"])
    assert stored() == [(0, 2), (1, 2), (2, 2)]


def test_a_failing_statement_leaves_the_versions_as_they_were():
    author = AuthorFactory()
    chapters = [Chapter.objects.create(author=author, number=n) for n in (1, 2)]
    chapters[0].number = 2
    with pytest.raises(IntegrityError), transaction.atomic():
        Chapter.objects.bulk_update(chapters[:1], ["number"])
    assert chapters[0].version == 1


def test_a_text_too_long_is_refused_and_not_cut_off():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite doesn't enforce the length of a text.")
    chapter = Chapter.objects.create(author=AuthorFactory(), title="short")
    chapter.title = "x" * 21
    with pytest.raises(DataError), transaction.atomic():
        Chapter.objects.bulk_update([chapter], ["title"])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda a: [*a, Account.objects.get(pk=a[0].pk)],
            ValueError,
            "two objects with the primary key",
        ),
        (lambda a: [*a, Account()], ValueError, "must have a primary key set"),
        (lambda a: [Account(pk=a[0].pk)], ValueError, "wasn't loaded"),
        (lambda a: [Account(pk=a[0].pk, version=1)], ValueError, "wasn't loaded"),
    ],
)
def test_objects_that_cannot_be_checked_are_refused(accounts, spoil, error, message):
    with pytest.raises(error, match=message):
        Account.objects.bulk_update(spoil(accounts), ["balance"])
    assert stored() == [(100, 1)] * 3


@pytest.mark.parametrize(
    ("version", "error"), [(None, ValueError), ("1", TypeError), (1.0, TypeError)]
)
def test_a_version_that_is_no_number_is_refused(accounts, version, error):
    accounts[0].version = version
    with pytest.raises(error):
        Account.objects.bulk_update(accounts, ["balance"])


def test_a_deferred_version_is_refused(accounts):
    account = models.QuerySet(Account).defer("version").first()
    with pytest.raises(ValueError, match="was not loaded"):
        Account.objects.bulk_update([account], ["balance"])


@pytest.mark.parametrize(
    ("fields", "options", "error", "message"),
    [
        ([], {}, ValueError, "Field names must be given"),
        (["id"], {}, ValueError, "primary key"),
        (["nothing"], {}, FieldDoesNotExist, "nothing"),
        (["balance"], {"batch_size": -1}, ValueError, "positive integer"),
    ],
)
def test_wrong_arguments_are_refused_as_in_django(
    accounts, fields, options, error, message
):
    with pytest.raises(error, match=message):
        Account.objects.bulk_update(accounts, fields, **options)


def test_objects_outside_the_queryset_are_refused(accounts):
    rich = Account.objects.filter(pk=accounts[0].pk)
    with pytest.raises(RecordModifiedError, match="not in the queryset") as caught:
        rich.bulk_update(accounts, ["balance"])
    assert [row.instance for row in caught.value.conflicts] == accounts[1:]
    assert stored() == [(100, 1)] * 3


def test_a_filter_on_a_childs_and_a_parents_table():
    rows = [Restaurant.objects.create(name="a", stars=n) for n in (1, 2)]
    rows[0].name = "b"
    found = Restaurant.objects.filter(stars=1, name="a")
    found.bulk_update(rows[:1], ["name"])
    assert sorted(Place.objects.values_list("name", "version")) == [("a", 1), ("b", 2)]


def test_a_slice_is_refused_as_in_django(accounts):
    with pytest.raises(TypeError, match="slice"):
        Account.objects.all()[:2].bulk_update(accounts, ["balance"])


def test_a_union_is_refused_as_in_django(accounts):
    union = Account.objects.all().union(Account.objects.all())
    with pytest.raises(NotSupportedError):
        union.bulk_update(accounts, ["balance"])


# Meta.order_with_respect_to


def test_set_order_bumps_the_versions():
    author = AuthorFactory()
    chapters = [Chapter.objects.create(author=author) for _ in range(3)]
    order = [chapters[2].pk, chapters[0].pk, chapters[1].pk]
    author.set_chapter_order(order)
    assert list(author.get_chapter_order()) == order
    assert set(Chapter.objects.values_list("version", flat=True)) == {2}


def test_the_order_of_loaded_objects_is_checked():
    chapter = Chapter.objects.create(author=AuthorFactory())
    somebody_changes(chapter)
    with pytest.raises(RecordModifiedError):
        Chapter.objects.bulk_update([chapter], ["_order"])


# Every kind of value

TEXT = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20
)
MOMENTS = st.datetimes(
    datetime.datetime(1900, 1, 1),
    datetime.datetime(2200, 1, 1),
    timezones=st.timezones(),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=5,
)
VALUES = {
    "big": st.integers(-(2**63), 2**63 - 1),
    "binary": st.binary(max_size=20),
    "boolean": st.booleans(),
    "char": TEXT,
    "date": st.dates(datetime.date(1000, 1, 1)),
    "datetime": MOMENTS,
    "decimal": st.decimals(-(10**8), 10**8, places=3),
    "duration": st.timedeltas(
        datetime.timedelta(days=-9999), datetime.timedelta(days=9999)
    ),
    "email": TEXT,
    "file": TEXT,
    "file_path": TEXT,
    "float": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    "ip": st.ip_addresses().map(str),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "json": JSON,
    "positive_big": st.integers(0, 2**63 - 1),
    "positive": st.integers(0, 2**31 - 1),
    "positive_small": st.integers(0, 2**15 - 1),
    "slug": TEXT,
    "small": st.integers(-(2**15), 2**15 - 1),
    "text": TEXT,
    "time": st.times(),
    "url": TEXT,
    # MariaDB refuses those of no known version.
    "uuid": st.uuids(version=4),
    "foreign_id": st.sampled_from([1, 2]),
}
if connection.vendor == "postgresql":
    from django.db.backends.postgresql.psycopg_any import DateRange, NumericRange

    VALUES |= {
        "integers": st.lists(st.none() | st.integers(-9, 9), max_size=3),
        "texts": st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=3),
        "dates": st.builds(
            DateRange, st.dates(max_value=datetime.date(2000, 1, 1)), st.none()
        ),
        "numbers": st.builds(NumericRange, st.integers(-9, 0), st.integers(1, 9)),
    }
NAMES = [name.removesuffix("_id") for name in VALUES]


def test_the_values_below_are_of_every_field_class():
    columns = {f.name for f in EveryFieldPlain._meta.concrete_fields} - {"id"}
    assert set(NAMES) == columns


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)
@given(
    rows=st.lists(
        st.fixed_dictionaries({n: st.none() | v for n, v in VALUES.items()}),
        min_size=1,
        max_size=4,
    ),
    chosen=st.sets(st.sampled_from(NAMES), min_size=1),
)
def test_it_writes_what_djangos_bulk_update_writes(rows, chosen):
    for pk in (1, 2):
        Author.objects.get_or_create(pk=pk)
    with transaction.atomic():
        written, versions = write_twice(rows, chosen)
    assert written[0] == written[1]
    assert versions == [2] * len(rows)


def write_twice(rows, chosen):
    written = []
    for model in (EveryFieldPlain, EveryFieldLocked):
        objs = [model.objects.create() for _ in rows]
        for obj, row in zip(objs, rows, strict=True):
            for name, value in row.items():
                setattr(obj, name, value)
        model.objects.bulk_update(objs, sorted(chosen))
        found = model.objects.filter(pk__in=[obj.pk for obj in objs]).order_by("pk")
        written.append([[getattr(obj, n) for n in VALUES] for obj in found])
    return written, [obj.version for obj in objs]


def test_a_long_value_among_short_ones_and_nulls():
    texts = [None, "a", "ä€🎉" * 30_000, "", "b' \\ \"%s%%"]
    rows = [EveryFieldLocked.objects.create() for _ in texts]
    for row, text in zip(rows, texts, strict=True):
        row.text = row.json = text
        row.decimal = decimal.Decimal(len(text or "")) / 8
    EveryFieldLocked.objects.bulk_update(rows, ["text", "json", "decimal"])
    found = EveryFieldLocked.objects.order_by("pk")
    assert [row.text for row in found] == texts
    assert [row.json for row in found] == texts
    assert [row.decimal for row in found] == [row.decimal for row in rows]
