"""Checked deletes."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, models, transaction
from django.db.models import ProtectedError
from django.db.models.signals import post_delete, pre_delete
from django.test.utils import CaptureQueriesContext
from testapp.models import (
    Account,
    AccountProxy,
    Author,
    Bistro,
    Book,
    CompositeKey,
    Label,
    Labelled,
    Letter,
    Loan,
    Note,
    Overriding,
    Place,
    Restaurant,
    Ticket,
    UUIDKey,
)

from optilock import RecordDeletedError, RecordModifiedError

pytestmark = pytest.mark.django_db


def author_with_books():
    author = Author.objects.create(name="a")
    Book.objects.create(author=author)
    Book.objects.create(author=author)
    return author


def labelled():
    instance = Labelled.objects.create()
    instance.labels.add(Label.objects.create())
    return instance


KINDS = [
    pytest.param(lambda: Account.objects.create(), id="nothing cascades"),
    pytest.param(lambda: AccountProxy.objects.create(), id="proxy"),
    pytest.param(lambda: UUIDKey.objects.create(name="a"), id="uuid"),
    pytest.param(
        lambda: CompositeKey.objects.create(tenant=1, number=1, name="a"),
        id="composite",
    ),
    pytest.param(author_with_books, id="cascade"),
    pytest.param(lambda: Place.objects.create(name="a"), id="root"),
    pytest.param(lambda: Restaurant.objects.create(name="a"), id="child"),
    pytest.param(lambda: Bistro.objects.create(name="a"), id="grandchild"),
    pytest.param(lambda: Overriding.objects.create(name="a"), id="overriding"),
    pytest.param(labelled, id="many to many"),
    pytest.param(lambda: Ticket.objects.create(), id="fsm"),
]
TABLES = [Account, UUIDKey, CompositeKey, Author, Book, Place, Restaurant, Bistro]
TABLES += [Overriding, Labelled, Labelled.labels.through, Ticket]


def everything():
    return {table: list(table._base_manager.values()) for table in TABLES}


def again(instance):
    return type(instance)._base_manager.get(pk=instance.pk)


@contextmanager
def statements():
    with CaptureQueriesContext(connections["default"]) as context:
        found = []
        yield found
    transactions = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    found += [
        query["sql"]
        for query in context.captured_queries
        if not query["sql"].startswith(transactions)
    ]


@contextmanager
def listening(signal, receiver, sender):
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


@pytest.mark.parametrize("create", KINDS)
def test_stale_delete_is_refused_and_leaves_everything(create):
    instance = create()
    stale = again(instance)
    instance.save()
    rows, key = everything(), stale.pk
    for _ in range(2):
        with pytest.raises(RecordModifiedError) as caught:
            stale.delete()
        assert (caught.value.expected_version, caught.value.current_version) == (1, 2)
        assert (stale.pk, stale.version) == (key, 1)
    assert everything() == rows


@pytest.mark.parametrize("create", KINDS)
def test_stale_instance_can_be_deleted_once_refreshed(create):
    instance = create()
    stale = again(instance)
    instance.save()
    stale.refresh_from_db()
    stale.delete()
    assert not type(instance)._base_manager.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("create", KINDS)
def test_delete_returns_and_forgets_what_django_s_does(create):
    instance = create()
    with transaction.atomic():
        twin = again(instance)
        expected = models.Model.delete(twin)
        key = twin.pk
        transaction.set_rollback(True)
    assert instance.delete() == expected
    assert instance.pk == key
    assert not type(instance)._base_manager.exists()


@pytest.mark.parametrize("create", KINDS)
def test_delete_costs_one_query_or_one_more_than_django(create):
    instance = create()
    with statements() as without_the_lock:
        models.Model.delete(instance)
    instance = create()
    with statements() as sql:
        instance.delete()
    cascades = len(without_the_lock) > 1
    assert len(sql) == len(without_the_lock) + cascades
    where = sql[0].replace("`", '"').split(" WHERE ")[1]
    assert '"version" = 1' in where


@pytest.mark.parametrize("create", KINDS)
def test_delete_of_a_deleted_row_is_refused(create):
    instance = create()
    key = instance.pk
    again(instance).delete()
    with pytest.raises(RecordDeletedError):
        instance.delete()
    assert instance.pk == key


def test_unsaved_instance_is_refused_with_django_s_words():
    with pytest.raises(ValueError, match="because its id attribute is set to None"):
        Account().delete()


def test_deferred_version_is_refused_loudly():
    account = Account.objects.create()
    account = Account._base_manager.only("owner").get(pk=account.pk)
    with pytest.raises(ValueError, match="not loaded"):
        account.delete()
    assert Account.objects.exists()


def test_async_delete_is_checked():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    with pytest.raises(RecordModifiedError):
        async_to_sync(stale.adelete)()
    assert async_to_sync(account.adelete)() == (1, {"testapp.Account": 1})


def test_keep_parents_deletes_the_child_alone_and_raises_the_number_of_the_rest():
    restaurant = Restaurant.objects.create(name="a")
    stale = again(restaurant)
    assert restaurant.delete(keep_parents=True) == (1, {"testapp.Restaurant": 1})
    assert Place.objects.get().version == 2
    with pytest.raises(RecordModifiedError):
        stale.delete()
    assert Place.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_delete_in_another_database_is_checked_there():
    account = Account.objects.create()
    Account.objects.using("other").create(pk=account.pk, version=2)
    with pytest.raises(RecordModifiedError) as caught:
        account.delete(using="other")
    assert caught.value.using == "other"
    account.version = 2
    account.delete(using="other")
    assert Account.objects.exists()
    assert not Account.objects.using("other").exists()


def test_deleted_object_can_be_stored_again():
    account = Account.objects.create(owner="a")
    account.save()
    account.delete()
    account.save()
    assert Account.objects.values_list("owner", "version").get() == ("a", 1)


# Refused by a relation


def loaned_book():
    book = Book.objects.create(author=Author.objects.create(name="a"))
    Loan.objects.create(book=book)
    return book


@pytest.mark.parametrize("load", [lambda book: book, lambda book: book.author])
def test_protected_row_keeps_its_number(load):
    instance = load(loaned_book())
    other = again(instance)
    with pytest.raises(ProtectedError):
        instance.delete()
    assert (instance.version, again(instance).version) == (1, 1)
    other.save()


@pytest.mark.django_db(transaction=True)
def test_block_goes_on_after_a_protected_delete():
    book = loaned_book()
    with transaction.atomic():
        with pytest.raises(ProtectedError):
            book.delete()
        Label.objects.create(name="still here")
        book.save()
    assert Label.objects.exists()
    assert (book.version, again(book).version) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_block_goes_on_after_a_stale_delete():
    for create in (Account.objects.create, author_with_books):
        instance = create()
        stale = again(instance)
        instance.save()
        with transaction.atomic():
            with pytest.raises(RecordModifiedError):
                stale.delete()
            Label.objects.create(name="still here")
        assert Label.objects.exists()


class HandlerError(Exception):
    pass


@pytest.mark.django_db(transaction=True)
def test_failed_delete_puts_the_number_back():
    author = author_with_books()

    def failing(**kwargs):
        raise HandlerError

    with listening(pre_delete, failing, Author), pytest.raises(HandlerError):
        author.delete()
    assert (author.version, again(author).version) == (1, 1)
    author.delete()


@pytest.mark.django_db(transaction=True)
def test_rolled_back_delete_leaves_the_row_to_its_other_holders():
    author = author_with_books()
    other = again(author)
    with transaction.atomic():
        author.delete()
        transaction.set_rollback(True)
    other.save()
    assert again(other).version == 2


# Signals, overrides, other packages


def test_signals_are_sent_once_and_only_if_the_row_goes():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    seen = []

    def receiver(signal, instance, **kwargs):
        seen.append((signal, instance.pk))

    with (
        listening(pre_delete, receiver, Account),
        listening(post_delete, receiver, Account),
    ):
        with pytest.raises(RecordModifiedError):
            stale.delete()
        assert seen == []
        key = account.pk
        account.delete()
    assert seen == [(pre_delete, key), (post_delete, key)]


def test_handler_may_save_the_row_that_is_about_to_go():
    author = author_with_books()

    def receiver(instance, **kwargs):
        instance.save()

    with listening(pre_delete, receiver, Author):
        author.delete()
    assert not Author.objects.exists()


def test_user_s_override_runs():
    instance = Overriding.objects.create(name="a")
    instance.delete()
    assert instance.was_asked_to_go


def test_mixin_behind_the_model_decides_what_deleting_means():
    letter = Letter.objects.create(text="a")
    stale = again(letter)
    assert letter.delete() == (0, {})
    assert Letter.objects.values_list("archived", "version").get() == (True, 3)
    with pytest.raises(RecordModifiedError):
        stale.delete()
    letter.save()


def test_field_alone_leaves_delete_to_django():
    note = Note.objects.create()
    stale = again(note)
    note.save()
    assert stale.delete() == (1, {"testapp.Note": 1})
