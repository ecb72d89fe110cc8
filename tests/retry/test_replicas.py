"""A database that is read, and lags behind the one that is written.

The second database of the tests stands for a replica: it has the rows as they were
once, and never hears of a change.
"""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ObjectDoesNotExist
from replicas import ReadsElsewhere
from testapp.models import Account, Author, Book, Renamed

from optilock import RecordModifiedError, retry_on_conflict
from optilock.attempts import running

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture(autouse=True)
def router(settings):
    settings.DATABASE_ROUTERS = [ReadsElsewhere("other")]


@pytest.fixture
def account(router):
    """An account whose owner and version are old on the replica."""
    account = Account.objects.using("default").create(owner="old", balance=100)
    Account.objects.using("other").bulk_create([Account(pk=account.pk, owner="old")])
    account.owner = "new"
    account.save(using="default")
    return account


def stored(account):
    return Account.objects.using("default").values_list("owner", "balance").get()


def test_an_attempt_reads_where_it_writes(account):
    seen = []

    @retry_on_conflict
    def deposit(pk):
        found = Account.objects.get(pk=pk)
        seen.append(found.owner)
        found.balance += 5
        found.save()

    deposit(account.pk)
    assert seen == ["new"]
    assert stored(account) == ("new", 105)


def test_so_does_an_attempt_of_a_coroutine(account):
    @retry_on_conflict(atomic=False)
    async def deposit(pk):
        found = await Account.objects.aget(pk=pk)
        found.balance += 5
        await found.asave()

    async_to_sync(deposit)(account.pk)
    assert stored(account) == ("new", 105)


def test_what_was_loaded_before_is_refreshed_from_there(account):
    loaded = Account.objects.get(pk=account.pk)
    assert (loaded.owner, loaded._state.db) == ("old", "other")

    @retry_on_conflict
    def deposit():
        loaded.refresh_from_db()
        loaded.balance += 5
        loaded.save()

    deposit()
    assert stored(account) == ("new", 105)


def test_a_model_with_the_field_alone_is_refreshed_from_there():
    row = Renamed.objects.using("default").create(name="old")
    Renamed.objects.using("other").bulk_create([Renamed(pk=row.pk, name="old")])
    row.name = "new"
    row.save(using="default")
    loaded = Renamed.objects.get(pk=row.pk)

    @retry_on_conflict
    def change():
        loaded.refresh_from_db()
        loaded.save()

    change()
    assert loaded.name == "new"


def test_related_rows_are_read_from_there():
    author = Author.objects.using("default").create(name="Ann")
    Book.objects.using("default").create(author=author, title="One")

    @retry_on_conflict
    def titles(pk):
        return [book.title for book in Author.objects.get(pk=pk).books.all()]

    assert titles(author.pk) == ["One"]


def test_with_the_router_a_foreign_key_is_read_from_there(settings):
    routers = ["optilock.routers.RetryRouter", ReadsElsewhere("other")]
    settings.DATABASE_ROUTERS = routers
    author = Author.objects.using("default").create(name="Ann")
    book = Book.objects.using("default").create(author=author, title="One")

    @retry_on_conflict
    def name_of_author(pk):
        return Book.objects.get(pk=pk).author.name

    assert name_of_author(book.pk) == "Ann"
    with pytest.raises(ObjectDoesNotExist):
        Book.objects.get(pk=book.pk)


def test_using_is_obeyed(account):
    @retry_on_conflict
    def owner(pk):
        return Account.objects.using("other").get(pk=pk).owner

    assert owner(account.pk) == "old"


def test_a_database_the_attempt_does_not_write_to_is_read_as_the_router_says(account):
    @retry_on_conflict(using="other")
    def owner(pk):
        return Account.objects.get(pk=pk).owner

    assert owner(account.pk) == "old"


def test_a_call_in_a_call_reads_where_either_writes(account):
    @retry_on_conflict(using="other")
    def inner(pk):
        return Account.objects.get(pk=pk).owner

    @retry_on_conflict
    def outer(pk):
        return inner(pk), Account.objects.get(pk=pk).owner

    assert outer(account.pk) == ("new", "new")


def test_outside_an_attempt_nothing_is_changed(account):
    @retry_on_conflict
    def fail():
        raise ObjectDoesNotExist

    with pytest.raises(ObjectDoesNotExist):
        fail()
    assert running.get() is None
    assert Account.objects.get(pk=account.pk).owner == "old"


def test_a_conflict_says_that_the_object_came_from_elsewhere(account):
    loaded = Account.objects.get(pk=account.pk)
    with pytest.raises(RecordModifiedError, match="was loaded from the database 'oth"):
        loaded.save()
    loaded = Account.objects.using("default").get(pk=account.pk)
    account.save(using="default")
    with pytest.raises(RecordModifiedError) as caught:
        loaded.save()
    assert "was loaded from" not in str(caught.value)
