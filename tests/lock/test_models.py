"""Checked deletes."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from functools import wraps

import pytest
from around import listening, statements
from asgiref.sync import async_to_sync
from django.db import connections, models, transaction
from django.db.models import ProtectedError
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_delete
from django.test.utils import isolate_apps
from testapp.models import (
    Account,
    AccountProxy,
    Author,
    Bistro,
    Book,
    Branch,
    CompositeKey,
    Label,
    Labelled,
    Letter,
    Loan,
    Note,
    Overriding,
    Place,
    Remark,
    Remarked,
    Restaurant,
    Ticket,
    Undemanding,
    UUIDKey,
)

from optilock import RecordDeletedError, RecordModifiedError, VersionedModel

pytestmark = pytest.mark.django_db


def author_with_books():
    author = Author.objects.create(name="a")
    Book.objects.create(author=author)
    Book.objects.create(author=author)
    return author


def tree():
    root = Branch.objects.create()
    Branch.objects.create(parent=Branch.objects.create(parent=root))
    return root


def remarked():
    instance = Remarked.objects.create()
    Remark.objects.create(about=instance)
    return instance


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
    pytest.param(lambda: Author.objects.create(name="a"), id="nothing to cascade"),
    pytest.param(tree, id="tree"),
    pytest.param(remarked, id="generic"),
    pytest.param(lambda: Place.objects.create(name="a"), id="root"),
    pytest.param(lambda: Restaurant.objects.create(name="a"), id="child"),
    pytest.param(lambda: Bistro.objects.create(name="a"), id="grandchild"),
    pytest.param(lambda: Overriding.objects.create(name="a"), id="overriding"),
    pytest.param(labelled, id="many to many"),
    pytest.param(lambda: Ticket.objects.create(), id="fsm"),
]
TABLES = [Account, UUIDKey, CompositeKey, Author, Book, Place, Restaurant, Bistro]
TABLES += [Overriding, Labelled, Labelled.labels.through, Ticket, Branch]
TABLES += [Remark, Remarked]


def everything():
    return {table: list(table._base_manager.values()) for table in TABLES}


def again(instance):
    return type(instance)._base_manager.get(pk=instance.pk)


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


def cost_of_a_delete(create):
    """Return the statements of Django's delete, and of the one that is checked."""
    instance = create()
    with statements() as without_the_lock:
        models.Model.delete(instance)
    instance = create()
    with statements() as sql:
        instance.delete()
    return without_the_lock, sql


@pytest.mark.parametrize("create", KINDS)
def test_delete_costs_what_django_s_costs_or_one_more(create):
    without_the_lock, sql = cost_of_a_delete(create)
    # Where rows are read that go along, the row must be claimed before.
    is_one_more = len(without_the_lock) > 1 and (
        connections["default"].vendor == "mysql"
        or create is remarked
        or any(one.startswith("SELECT") for one in without_the_lock)
    )
    assert len(sql) == len(without_the_lock) + is_one_more
    [first, *_] = [one for one in sql if not one.startswith("SELECT")]
    assert '"version" = 1' in first.replace("`", '"')


def test_delete_that_receivers_are_asked_about_claims_the_row_first():
    with listening(pre_delete, lambda **kwargs: None, Labelled):
        without_the_lock, sql = cost_of_a_delete(labelled)
    assert len(sql) == len(without_the_lock) + 1
    [first, *_] = [one for one in sql if not one.startswith("SELECT")]
    assert first.startswith("UPDATE")


@pytest.mark.parametrize("method", ["collect", "delete"])
def test_a_package_that_changes_how_django_deletes_is_asked(monkeypatch, method):
    before, asked = getattr(Collector, method), []

    @wraps(before)
    def theirs(self, *args, **kwargs):
        asked.append(self.origin)
        return before(self, *args, **kwargs)

    monkeypatch.setattr(Collector, method, theirs)
    instance = labelled()
    assert instance.delete()[0] > 1
    assert instance in asked
    assert not Labelled.labels.through.objects.exists()


@pytest.mark.parametrize("create", KINDS)
def test_receivers_are_told_what_django_tells(create):
    told = []

    def note(sender, instance, using, origin, **kwargs):
        left = sender._base_manager.filter(pk=instance.pk).exists()
        told.append((sender, instance.pk, using, origin.pk, left))

    instance = create()
    with ExitStack() as stack:
        for table in [*TABLES, AccountProxy]:
            stack.enter_context(listening(post_delete, note, table))
        with suppress(RollBackError), transaction.atomic():
            models.Model.delete(again(instance))
            raise RollBackError
        expected, told = told, []
        stale = again(instance)
        instance.save()
        with pytest.raises(RecordModifiedError):
            stale.delete()
        assert told == []
        instance.delete()
    assert told == expected != []


@pytest.mark.parametrize("create", KINDS)
def test_delete_of_a_deleted_row_is_refused(create):
    instance = create()
    key = instance.pk
    again(instance).delete()
    with pytest.raises(RecordDeletedError):
        instance.delete()
    assert instance.pk == key


@pytest.mark.parametrize("create", KINDS)
@pytest.mark.parametrize("is_async", [False, True])
def test_delete_of_a_deleted_row_is_no_error_if_it_may_be_missing(create, is_async):
    instance = create()
    again(instance).delete()
    delete = async_to_sync(instance.adelete) if is_async else instance.delete
    assert delete(missing_ok=True)[0] == 0
    assert not instance._is_pk_set()


@pytest.mark.parametrize("create", KINDS)
def test_delete_of_a_changed_row_is_refused_though_it_may_be_missing(create):
    instance = create()
    again(instance).save()
    with pytest.raises(RecordModifiedError):
        instance.delete(missing_ok=True)
    assert type(instance).objects.exists()


def test_who_moves_what_a_row_has_moves_it_once():
    # Two workers have read the same row; what goes with its end is done by one of them.
    source, target = Account.objects.create(balance=5), Account.objects.create()
    for row in (again(source), again(source)):
        taking = again(target)
        taking.balance += row.balance
        with suppress(RecordDeletedError), transaction.atomic():
            row.delete()
            taking.save()
    assert again(target).balance == 5


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


@pytest.mark.parametrize("model", [Restaurant, Bistro])
@pytest.mark.parametrize("is_told", [False, True])
def test_deleted_child_can_be_stored_again_and_no_one_else_s_is(model, is_told):
    row = model.objects.create(name="a")
    other, listener = again(row), pre_delete if is_told else post_save
    with listening(listener, lambda **kwargs: None, model):
        with transaction.atomic():
            row.delete()
            transaction.set_rollback(True)
        row.save()
        other.refresh_from_db()
        row.delete()
    row.save()
    assert row.version == again(row).version > other.version
    row.save()
    with pytest.raises(RecordModifiedError):
        other.save()


@pytest.mark.parametrize("model", [Restaurant, Bistro])
def test_child_that_somebody_else_deleted_is_stored_again_as_the_message_says(model):
    row = model.objects.create(name="a")
    again(row).delete()
    with pytest.raises(RecordDeletedError, match="force_insert=True"):
        row.save()
    with suppress(RollBackError), transaction.atomic():
        row.save(force_insert=True)
        raise RollBackError
    assert not model.objects.exists()
    row.save(force_insert=True)
    assert row.version == again(row).version
    row.save()


@pytest.mark.parametrize("options", [{}, {"force_insert": True}])
def test_child_under_another_key_starts_at_one(options):
    row = Restaurant.objects.create(name="a")
    row.save()
    row.id = row.place_ptr_id = row.pk + 1
    row.save(**options)
    assert row.version == again(row).version == 1
    assert Restaurant.objects.count() == 2


def test_child_of_a_row_that_is_there_is_inserted_beside_it():
    place = Place.objects.create(name="a")
    child = Restaurant(place_ptr=place)
    vars(child).update(vars(place))
    child.name = "b"
    child.save(force_insert=True)
    assert again(child).name == "b"
    with pytest.raises(RecordModifiedError):
        place.save()


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
@pytest.mark.parametrize("is_inside", [False, True])
def test_receiver_may_protect_what_would_go_along(is_inside):
    def protect(**kwargs):
        raise ProtectedError("Not this one.", [])

    author = author_with_books()
    block = transaction.atomic() if is_inside else nullcontext()
    with listening(pre_delete, protect, Book), pytest.raises(ProtectedError), block:
        author.delete()
    assert (author.version, again(author).version) == (1, 1)
    author.save()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("create", KINDS)
def test_block_goes_on_after_a_stale_delete(create):
    instance = create()
    stale = again(instance)
    instance.save()
    rows = everything()
    with transaction.atomic():
        with pytest.raises(RecordModifiedError):
            stale.delete()
        Account.objects.create(owner="still here")
    assert Account.objects.filter(owner="still here").delete()[0] == 1
    assert everything() == rows


class RollBackError(Exception):
    pass


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


# Bases that take less than Django's


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("cascading", [False, True])
def test_delete_of_a_base_that_takes_no_arguments_is_called(is_async, cascading):
    instance = Undemanding.objects.create()
    if cascading:
        Undemanding.objects.create(parent=instance)
    delete = async_to_sync(instance.adelete) if is_async else instance.delete
    delete()
    assert instance.asked == ["delete()"]
    assert not Undemanding.objects.exists()


def test_stale_delete_is_refused_although_a_base_takes_no_arguments():
    instance = Undemanding.objects.create()
    stale = Undemanding.objects.get()
    instance.save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        stale.delete()
    assert Undemanding.objects.exists()


def test_refresh_of_a_base_that_takes_no_arguments_is_called():
    instance = Undemanding.objects.create()
    Undemanding.objects.update(name="new")
    instance.refresh_from_db()
    assert (instance.asked, instance.name) == (["refresh_from_db()"], "new")


@pytest.mark.parametrize("arguments", [("default",), ("default", True)])
def test_delete_takes_its_arguments_by_position(arguments):
    for instance in (Restaurant.objects.create(name="a"), Account.objects.create()):
        instance.delete(*arguments)
    assert Place.objects.count() == len(arguments) - 1


def test_touch_of_ones_own_is_called_by_atouch():
    instance = Undemanding.objects.create()
    async_to_sync(instance.atouch)()
    assert instance.asked == ["touch()"]
    assert instance.version == 2


# Arguments and classes of others


class Refusing(models.Model):
    """A mixin of somebody's own, which notes who has tried, and refuses."""

    class Meta:
        abstract = True

    def delete(self, *args, **kwargs):
        self.save()
        raise ProtectedError("not this one", {self})

    async def adelete(self, *args, **kwargs):
        return 0, {"by": "the mixin"}


@pytest.fixture
def kept():
    with isolate_apps("testapp"):

        class Kept(VersionedModel, Refusing):
            class Meta:
                app_label = "testapp"
                db_table = "testapp_kept"

        with connections["default"].schema_editor() as editor:
            editor.create_model(Kept)
        yield Kept
        with connections["default"].schema_editor() as editor:
            editor.delete_model(Kept)


@pytest.mark.django_db(transaction=True)
def test_what_was_saved_before_a_delete_was_refused_is_where_it_goes_on(kept):
    instance = kept.objects.create()
    with pytest.raises(ProtectedError):
        instance.delete()
    assert instance.version == kept.objects.get().version == 3
    instance.save()


@pytest.mark.django_db(transaction=True)
def test_adelete_of_another_class_behind_is_called(kept):
    instance = kept.objects.create()
    assert async_to_sync(instance.adelete)() == (0, {"by": "the mixin"})
    assert kept.objects.exists()


def test_from_db_passes_on_what_it_does_not_know():
    with pytest.raises(TypeError, match="later"):
        Account.from_db("default", ["id"], [1], later=True)
