"""Writing over what others have changed, on purpose."""

from __future__ import annotations

import asyncio
import logging
import pickle
from copy import copy, deepcopy
from functools import partial
from threading import Thread

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, models, transaction
from django.db.models import F, ProtectedError
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext, isolate_apps
from factories import AccountFactory, AuthorFactory, BookFactory, PageFactory
from testapp.models import (
    Account,
    AccountProxy,
    Author,
    Bistro,
    Book,
    CompositeKey,
    ConcurrentModel,
    GuardedPage,
    Loan,
    Overriding,
    Page,
    Place,
    Question,
    Restaurant,
    SelectOnSave,
    Unlocked,
)

from optilock import (
    RecordDeletedError,
    RecordModifiedError,
    VersionedModel,
    get_version_field,
    unlocked,
)

pytestmark = pytest.mark.django_db


def overwrite(instance, **kwargs):
    instance.save(on_conflict="overwrite", **kwargs)


def unlock(instance, **kwargs):
    with unlocked(type(instance)):
        instance.save(**kwargs)


WAYS = pytest.mark.parametrize("write", [overwrite, unlock])
#: A row of each kind, and the name of a field in each of its tables.
ROWS = [
    pytest.param(lambda: AccountFactory(), ["owner"], id="VersionedModel"),
    pytest.param(lambda: AccountProxy.objects.create(), ["owner"], id="proxy"),
    pytest.param(
        lambda: Bistro.objects.create(), ["name", "stars", "tables"], id="grandchild"
    ),
    pytest.param(
        lambda: CompositeKey.objects.create(tenant=1, number=2), ["name"], id="keys"
    ),
    pytest.param(lambda: SelectOnSave.objects.create(), ["name"], id="select_on_save"),
    pytest.param(lambda: Overriding.objects.create(), ["name"], id="overriding"),
    pytest.param(lambda: GuardedPage.objects.create(), ["text"], id="trigger"),
]


def changed(instance, names, value):
    for name in names:
        setattr(instance, name, value)
    return instance


def two(instance):
    """The row as two people hold it."""
    load = type(instance)._base_manager.get
    return load(pk=instance.pk), load(pk=instance.pk)


def stale(instance):
    """The row as somebody holds it who was too slow."""
    mine, theirs = two(instance)
    theirs.save()
    return mine


# What is written, and what the number is


@WAYS
@pytest.mark.parametrize(("create", "names"), ROWS)
def test_a_stale_save_overwrites_and_raises_the_version(create, names, write):
    mine, theirs = two(create())
    changed(theirs, names, "5").save()
    write(changed(mine, names, "7"))
    found = type(mine)._base_manager.get(pk=mine.pk)
    assert [str(getattr(found, name)) for name in names] == ["7"] * len(names)
    assert (found.version, mine.version) == (3, 3)
    with pytest.raises(RecordModifiedError):
        changed(theirs, names, "9").save()
    changed(mine, names, "11").save()


@WAYS
def test_a_save_that_is_not_stale_is_the_statement_it_always_is(
    write, django_assert_num_queries
):
    account = AccountFactory()
    with django_assert_num_queries(1):
        write(account)
    assert (account.version, Account.objects.get().version) == (2, 2)


def test_nothing_is_overwritten_that_was_saved_after_the_overwriting():
    mine, theirs = two(AccountFactory())
    theirs.save()
    overwrite(mine)
    later = Account.objects.get()
    later.owner = "later"
    later.save()
    with pytest.raises(RecordModifiedError):
        mine.save()
    assert Account.objects.get().owner == "later"


def test_the_statement_names_no_version_and_counts_in_the_database():
    mine, theirs = two(AccountFactory())
    theirs.save()
    with CaptureQueriesContext(connection) as queries:
        overwrite(mine)
    update = [q["sql"] for q in queries if q["sql"].startswith("UPDATE")][-1]
    assert "version" not in update.partition("WHERE")[2]
    assert "version" in update.partition("WHERE")[0]


@WAYS
def test_where_only_some_fields_are_written_the_number_is_not_known(write):
    mine, theirs = two(AccountFactory(owner="old", balance=1))
    theirs.balance = 2
    theirs.save()
    mine.owner = "mine"
    write(mine, update_fields=["owner"])
    found = Account.objects.get()
    assert (found.owner, found.balance, found.version) == ("mine", 2, 3)
    # With the row's number, this would put the old balance back.
    with pytest.raises(ValueError, match="was not loaded"), transaction.atomic():
        mine.save()
    mine.refresh_from_db()
    mine.save()
    assert (mine.balance, mine.version) == (2, 4)


@WAYS
def test_a_rollback_takes_the_number_back_that_was_loaded_afterwards(write):
    mine, theirs = two(AccountFactory(owner="old"))
    theirs.save()
    with transaction.atomic():
        write(mine, update_fields=["owner"])
        mine.refresh_from_db()
        assert mine.version == 3
        transaction.set_rollback(True)
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save()


def test_a_refresh_of_a_row_that_is_gone_leaves_the_version_unknown():
    AccountFactory()
    account = Account._base_manager.defer(None).get()
    vars(account).pop("version")
    Account.objects.all().delete()
    with pytest.raises(Account.DoesNotExist):
        account.refresh_from_db()
    assert "version" in account.get_deferred_fields()


@WAYS
def test_what_was_deferred_is_not_overwritten_later(write):
    AccountFactory(owner="old", balance=1)
    mine, theirs = Account.objects.only("owner").get(), Account.objects.get()
    theirs.balance = 2
    theirs.save()
    write(mine)
    assert "version" in mine.get_deferred_fields()
    assert Account.objects.get().balance == 2


@WAYS
def test_some_fields_of_a_row_nobody_has_changed(write):
    account = AccountFactory()
    write(account, update_fields=["owner"])
    assert account.version == Account.objects.get().version == 2


@WAYS
def test_a_rollback_takes_the_number_back(write):
    mine, theirs = two(AccountFactory(owner="old"))
    theirs.save()
    for names in (None, ["owner"]):
        with transaction.atomic():
            write(mine, update_fields=names)
            transaction.set_rollback(True)
        assert mine.version == 1
        with pytest.raises(RecordModifiedError):
            mine.save()


@WAYS
def test_a_number_another_trigger_has_made_is_read(write):
    mine, theirs = two(GuardedPage.objects.create())
    GuardedPage._base_manager.update(number=F("number") + 1)
    theirs.refresh_from_db()
    theirs.save()
    write(mine)
    assert mine.version == GuardedPage.objects.get().version == 4


@WAYS
def test_a_model_that_merges_is_overwritten_without_merging(write):
    mine, theirs = two(PageFactory(title="old", amount=1))
    theirs.amount = 2
    theirs.save()
    mine.title = "mine"
    write(mine)
    assert (mine.amount, Page.objects.get().amount) == (1, 1)


# What isn't overwritten


@WAYS
def test_a_row_that_was_deleted_stays_deleted(write):
    account = AccountFactory()
    Account.objects.all().delete()
    with pytest.raises(RecordDeletedError):
        write(account)
    assert (account.version, Account.objects.count()) == (1, 0)


@WAYS
@pytest.mark.django_db(transaction=True)
def test_the_transaction_goes_on_after_a_row_was_deleted(write):
    account = AccountFactory()
    Account.objects.all().delete()
    with transaction.atomic():
        with pytest.raises(RecordDeletedError):
            write(account)
        AccountFactory(owner="second")
    assert Account.objects.get().owner == "second"


@WAYS
def test_an_object_that_was_never_loaded_overwrites_nothing(write):
    account = AccountFactory(owner="old")
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"), transaction.atomic():
        write(Account(pk=account.pk, owner="new"))
    assert Account.objects.get().owner == "old"


@WAYS
def test_an_object_without_a_version_is_refused(write):
    account = AccountFactory()
    account.version = None
    with pytest.raises(ValueError, match="is None"):
        write(account)


@WAYS
def test_what_a_client_has_named_in_if_match_is_not_overwritten(write, rf):
    from optilock.http import check_preconditions

    mine, theirs = two(AccountFactory())
    check_preconditions(rf.put("/", headers={"If-Match": '"1"'}), mine)
    theirs.save()
    with pytest.raises(RecordModifiedError):
        write(mine)


def test_overwriting_is_for_one_save():
    mine, theirs = two(AccountFactory())
    overwrite(mine)
    with pytest.raises(RecordModifiedError):
        theirs.save()
    mine.on_conflict = "overwrite"
    with pytest.raises(ValueError, match="for one save"):
        mine.save()


def test_a_save_of_another_object_meanwhile_is_checked():
    mine, theirs = two(AccountFactory())
    other, stale = two(AccountFactory())
    theirs.save()
    other.save()
    refused = []

    def receiver(**kwargs):
        try:
            stale.save()
        except RecordModifiedError as error:
            refused.append(error)

    post_save.connect(receiver, sender=Account)
    try:
        overwrite(mine)
    finally:
        post_save.disconnect(receiver, sender=Account)
    assert len(refused) == 1


def test_a_save_of_the_same_object_meanwhile_overwrites_too():
    mine, theirs = two(AccountFactory())
    saved = []

    def receiver(instance, **kwargs):
        if instance is mine and not saved:
            saved.append(1)
            Account.objects.update(balance=3)
            overwrite(instance)

    theirs.save()
    post_save.connect(receiver, sender=Account)
    try:
        overwrite(mine)
    finally:
        post_save.disconnect(receiver, sender=Account)
    assert mine.version == Account.objects.get().version == 5


# The block


@pytest.mark.parametrize(
    "copied",
    [copy, deepcopy, lambda instance: pickle.loads(pickle.dumps(instance))],  # noqa: S301 -- our own
    ids=["copy", "deepcopy", "pickle"],
)
def test_what_a_receiver_keeps_of_an_object_does_not_overwrite(copied):
    mine = stale(AccountFactory())
    kept = []

    def keep(instance, **kwargs):
        kept.append(copied(instance))

    post_save.connect(keep, sender=Account)
    try:
        overwrite(mine)
    finally:
        post_save.disconnect(keep, sender=Account)
    theirs = Account.objects.get(pk=mine.pk)
    theirs.owner = "theirs"
    theirs.save()
    with pytest.raises(RecordModifiedError):
        kept[0].save()
    assert Account.objects.get().owner == "theirs"


@isolate_apps("testapp")
@pytest.mark.parametrize("policy", ["raise", "merge"])
def test_a_save_of_ones_own_that_takes_djangos_arguments_only(policy):
    class Plain(VersionedModel):
        on_conflict = policy
        owner = models.CharField(max_length=100)

        class Meta:
            app_label = "testapp"
            db_table = Account._meta.db_table

        def save(
            self,
            force_insert=False,
            force_update=False,
            using=None,
            update_fields=None,
        ):
            super().save(
                force_insert=force_insert,
                force_update=force_update,
                using=using,
                update_fields=update_fields,
            )

    account = AccountFactory(owner="first")
    mine = Plain.objects.get(pk=account.pk)
    account.owner = "theirs"
    account.save()
    mine.owner = "mine"
    mine.save(on_conflict="overwrite")
    assert mine.version == account.version + 1
    assert Account.objects.get().owner == "mine"
    assert "on_conflict" not in vars(mine)


def test_blocks_may_end_in_another_order_than_they_began():
    def unlocking():
        with unlocked(Account):
            yield

    first, second = unlocking(), unlocking()
    next(first)
    next(second)
    first.close()
    second.close()
    with pytest.raises(RecordModifiedError):
        stale(AccountFactory()).save()


def test_a_model_with_the_field_alone():
    ConcurrentModel.objects.create(name="old")
    mine, theirs = ConcurrentModel.objects.get(), ConcurrentModel.objects.get()
    theirs.save()
    mine.name = "mine"
    with unlocked(ConcurrentModel):
        mine.save()
    found = ConcurrentModel.objects.get()
    assert (found.name, found.version, mine.version) == ("mine", 3, 3)
    mine.save()


def test_only_the_models_that_were_named_are_unlocked():
    for make in (AuthorFactory, BookFactory):
        mine, theirs = two(make())
        theirs.save()
        with unlocked(Account, Author):
            if isinstance(mine, Author):
                mine.save()
            else:
                with pytest.raises(RecordModifiedError):
                    mine.save()


def test_children_are_unlocked_with_their_parent_and_not_the_other_way_round():
    restaurant, theirs = two(Restaurant.objects.create())
    place = Place.objects.get()
    theirs.save()
    with unlocked(Restaurant):
        restaurant.save()
        with pytest.raises(RecordModifiedError):
            place.save()
    theirs.refresh_from_db()
    theirs.save()
    with unlocked(Place):
        restaurant.save()


def test_blocks_nest_and_end_with_an_error():
    mine, theirs = two(AccountFactory())
    theirs.save()

    def fail():
        with unlocked(Author):
            mine.save()
            raise KeyError

    with unlocked(Account), pytest.raises(KeyError):
        fail()
    theirs.refresh_from_db()
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save()


def test_a_function_is_decorated():
    mine, theirs = two(AccountFactory())
    theirs.save()

    @unlocked(Account)
    def save():
        mine.save()

    save()
    assert mine.version == 3


def test_an_async_function_is_decorated():
    mine, theirs = two(AccountFactory())
    theirs.save()

    @unlocked(Account)
    async def save(instance):
        await asyncio.sleep(0)
        await instance.asave()
        return instance

    assert asyncio.iscoroutinefunction(save)
    for _ in range(2):
        theirs.refresh_from_db()
        theirs.save()
        assert async_to_sync(save)(mine) is mine
    assert mine.version == Account.objects.get().version == 6
    with pytest.raises(RecordModifiedError):
        theirs.save()


async def race(unlocking):
    """Save a stale object unlocked, and meanwhile another one in another task."""
    account = await Account.objects.acreate()
    mine, other = [await Account.objects.aget() for _ in range(2)]
    await account.asave()
    entered, done = asyncio.Event(), asyncio.Event()

    async def overwriting():
        entered.set()
        await done.wait()
        await mine.asave()

    async def checked():
        await entered.wait()
        try:
            with pytest.raises(RecordModifiedError):
                await other.asave()
        finally:
            done.set()

    await asyncio.gather(unlocking(overwriting)(), checked())
    with pytest.raises(RecordModifiedError):
        await other.asave()
    return mine.version


@pytest.mark.django_db(transaction=True)
def test_an_async_function_that_waits_unlocks_no_other_task():
    assert async_to_sync(race)(unlocked(Account)) == 3


def generator():
    yield


async def async_generator():
    yield


class Saver:
    pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (generator, r"the generator generator\(\)"),
        (async_generator, r"the generator async_generator\(\)"),
        (partial(generator), "the generator .*generator"),
        (Saver, "the class Saver"),
    ],
)
def test_what_would_not_be_unlocked_is_not_decorated(function, message):
    with pytest.raises(TypeError, match=message):
        unlocked(Account)(function)


def test_a_block_is_entered_once():
    block = unlocked(Account)
    with block:
        pass
    with pytest.raises(RuntimeError, match="of its own"), block:
        pass


@pytest.mark.parametrize("given", ["Account", None, Account(owner="ann"), int])
def test_what_is_no_model_is_not_unlocked(given):
    with pytest.raises(TypeError, match=r"takes models, not .*overwrite"):
        unlocked(given)


def test_every_versioned_model_at_once():
    mine, theirs = two(AccountFactory())
    theirs.save()
    with unlocked(VersionedModel):
        mine.save()


@pytest.mark.parametrize(
    ("models", "message"),
    [([], "needs a model"), ([Unlocked], "Unlocked has no version")],
)
def test_what_has_no_lock_is_not_unlocked(models, message):
    with pytest.raises(ValueError, match=message), unlocked(*models):
        pass


@pytest.mark.django_db(transaction=True)
def test_another_thread_is_not_unlocked():
    mine, theirs = two(AccountFactory())
    theirs.save()
    refused = []

    def save():
        try:
            mine.save()
        except RecordModifiedError as error:
            refused.append(error)
        finally:
            connection.close()

    with unlocked(Account):
        thread = Thread(target=save)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert Account.objects.get().version == 2


@pytest.mark.django_db(transaction=True)
def test_another_task_is_not_unlocked():
    def in_a_block(function):
        async def overwriting():
            with unlocked(Account):
                await function()

        return overwriting

    assert async_to_sync(race)(in_a_block) == 3


def test_async_overwriting():
    mine, theirs = two(AccountFactory())
    theirs.save()
    async_to_sync(mine.asave)(on_conflict="overwrite")
    assert mine.version == Account.objects.get().version == 3


def test_what_was_overwritten_is_logged(caplog):
    mine, theirs = two(AccountFactory(owner="secret"))
    with caplog.at_level(logging.WARNING, "optilock.unlocked"):
        overwrite(mine)
        assert caplog.messages == []
        overwrite(theirs)
    [message] = caplog.messages
    assert message == (
        f"testapp.Account with pk {mine.pk} was overwritten on purpose: version 1 was "
        f"held, the row is now at 3."
    )


# Deleting


@pytest.mark.parametrize(
    "create",
    [AccountFactory, AuthorFactory, lambda: Bistro.objects.create()],
    ids=["at once", "cascading", "grandchild"],
)
def test_a_stale_delete_deletes(create):
    mine, theirs = two(create())
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.delete()
    with unlocked(type(mine)):
        mine.delete()
    assert not type(mine).objects.exists()


@pytest.mark.parametrize("create", [AccountFactory, AuthorFactory])
def test_deleting_what_was_deleted_is_nothing_new(create):
    instance = create()
    type(instance).objects.all().delete()
    with unlocked(type(instance)):
        with pytest.raises(RecordDeletedError):
            instance.delete()
        assert instance.delete(missing_ok=True)[0] == 0


def test_a_protected_row_is_left_as_it_was():
    mine, theirs = two(BookFactory())
    Loan.objects.create(book=theirs)
    theirs.save()
    with unlocked(Book), pytest.raises(ProtectedError):
        mine.delete()
    assert (Book.objects.get().version, mine.version) == (2, 1)
    with pytest.raises(RecordModifiedError):
        mine.save()


# is_stale()


def test_whether_an_object_is_stale(django_assert_num_queries):
    mine, theirs = two(AccountFactory())
    with django_assert_num_queries(1):
        assert not mine.is_stale()
    theirs.save()
    assert mine.is_stale()
    assert not theirs.is_stale()
    mine.refresh_from_db()
    assert not mine.is_stale()
    assert not async_to_sync(mine.ais_stale)()
    Account.objects.all().delete()
    assert mine.is_stale()
    assert async_to_sync(mine.ais_stale)()


def test_whether_a_child_is_stale():
    bistro = Bistro.objects.create()
    assert not bistro.is_stale()
    Place.objects.update(name="b")
    assert bistro.is_stale()


@pytest.mark.django_db(databases=["default", "other"])
def test_whether_it_is_stale_in_another_database():
    account = AccountFactory()
    assert account.is_stale(using="other")


def test_an_object_without_a_row_of_its_own_is_not_compared():
    with pytest.raises(ValueError, match="isn't saved yet"):
        Account().is_stale()
    account = AccountFactory()
    account.pk += 1
    with pytest.raises(ValueError, match="another primary key"):
        account.is_stale()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_began_before_the_change_tells_it_too():
    account = AccountFactory()
    question = Question.objects.create()

    def change():
        Account.objects.update(balance=5)
        connection.close()

    with transaction.atomic():
        Question.objects.get(pk=question.pk)  # a snapshot begins here, if any
        if connection.vendor == "sqlite":
            pytest.skip("nobody else can write meanwhile")
        thread = Thread(target=change)
        thread.start()
        thread.join()
        assert account.is_stale()


# Names


@isolate_apps("testapp")
def test_the_version_field_of_a_model():
    class Plain(models.Model):
        class Meta:
            app_label = "testapp"

    assert get_version_field(Plain) is None
    assert get_version_field(Account).name == "version"
    assert get_version_field(Bistro).model is Place


def test_the_error_knows_the_object_by_both_names():
    mine, theirs = two(AccountFactory())
    theirs.save()
    with pytest.raises(RecordModifiedError) as caught:
        mine.save()
    assert caught.value.target is caught.value.instance is mine
