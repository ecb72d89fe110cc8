"""The lock itself: what save() does with a row, and with the instance."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext

import django
import pytest
from around import listening, statements
from asgiref.sync import async_to_sync
from django.core import serializers
from django.core.handlers.base import BaseHandler
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.models import F
from django.db.models.functions import Upper
from django.db.models.signals import post_save, pre_save
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import isolate_apps
from django.utils.timezone import now
from django_fsm import ConcurrentTransition
from factories import AccountFactory
from replicas import ReadsElsewhere
from testapp.models import (
    Account,
    AccountProxy,
    Answer,
    Article,
    Badge,
    Bistro,
    CompositeKey,
    Computed,
    ConcurrentModel,
    DefaultKeyCafe,
    Document,
    Named,
    NamedPlace,
    Note,
    Overriding,
    Place,
    Question,
    Renamed,
    Restaurant,
    SelectOnSave,
    StringKey,
    Ticket,
    UUIDKey,
)
from threads import elsewhere

from optilock import IntegerVersionField, RecordDeletedError, RecordModifiedError
from optilock.rows import version_field

pytestmark = pytest.mark.django_db(databases=["default", "other"])

# One way to build a row of each kind: how its key is made must not matter.
KINDS = [
    pytest.param(lambda: ConcurrentModel.objects.create(name="a"), id="field alone"),
    pytest.param(lambda: Account.objects.create(), id="VersionedModel"),
    pytest.param(lambda: AccountProxy.objects.create(), id="proxy"),
    pytest.param(lambda: Renamed.objects.create(name="a"), id="renamed"),
    pytest.param(lambda: Document.objects.create(), id="abstract base"),
    pytest.param(lambda: Place.objects.create(name="a"), id="root"),
    pytest.param(lambda: Restaurant.objects.create(name="a"), id="child"),
    pytest.param(lambda: Bistro.objects.create(name="a"), id="grandchild"),
    pytest.param(lambda: NamedPlace.objects.create(name="a"), id="two parents"),
    pytest.param(lambda: UUIDKey.objects.create(name="a"), id="uuid"),
    pytest.param(lambda: StringKey.objects.create(code="a", name="a"), id="string"),
    pytest.param(
        lambda: CompositeKey.objects.create(tenant=1, number=1, name="a"),
        id="composite",
    ),
    pytest.param(lambda: Computed.objects.create(name="a"), id="generated"),
    pytest.param(lambda: SelectOnSave.objects.create(name="a"), id="select_on_save"),
    pytest.param(lambda: Overriding.objects.create(name="a"), id="overriding"),
    pytest.param(lambda: Ticket.objects.create(), id="fsm"),
    pytest.param(
        lambda: Answer.objects.create(question=Question.objects.create()),
        id="order_with_respect_to",
    ),
]


def version_of(instance):
    """The number in the row."""
    field = next(
        f for f in instance._meta.concrete_fields if isinstance(f, IntegerVersionField)
    )
    manager = field.model._base_manager.using(instance._state.db or "default")
    return manager.values_list(field.name, flat=True).get(
        pk=instance._get_pk_val(field.model._meta)
    )


def number(instance):
    """The number the instance holds."""
    return getattr(instance, "lock", None) or instance.version


def again(instance):
    """The same row as somebody else holds it."""
    return type(instance)._base_manager.get(pk=instance.pk)


# What a save does to the number


@pytest.mark.parametrize("create", KINDS)
def test_row_starts_at_one(create):
    instance = create()
    assert (number(instance), version_of(instance)) == (1, 1)


@pytest.mark.parametrize("create", KINDS)
def test_each_save_bumps_the_version_by_one(create):
    instance = create()
    instance.save()
    instance.save()
    assert (number(instance), version_of(instance)) == (3, 3)


@pytest.mark.parametrize("create", KINDS)
def test_stale_save_is_refused_and_leaves_the_row_untouched(create):
    first = create()
    second = again(first)
    first.save()
    row = type(first)._base_manager.filter(pk=first.pk).values().get()
    with pytest.raises(RecordModifiedError) as caught, transaction.atomic():
        second.save()
    assert not isinstance(caught.value, RecordDeletedError)
    assert type(first)._base_manager.filter(pk=first.pk).values().get() == row
    assert number(second) == 1


@pytest.mark.parametrize("create", KINDS)
def test_stale_save_is_refused_again_and_works_once_refreshed(create):
    first = create()
    second = again(first)
    first.save()
    for _ in range(2):
        with pytest.raises(RecordModifiedError), transaction.atomic():
            second.save()
    second.refresh_from_db()
    second.save()
    assert version_of(second) == 3


@pytest.mark.parametrize("create", KINDS)
def test_save_of_a_deleted_row_is_refused_and_inserts_nothing(create):
    instance = create()
    model = type(instance)
    model._base_manager.filter(pk=instance.pk).delete()
    with pytest.raises(RecordDeletedError) as caught, transaction.atomic():
        instance.save()
    assert caught.value.current_version is None
    assert not model._base_manager.exists()


@pytest.mark.parametrize("force", [{}, {"force_update": True}])
def test_error_tells_who_and_which_numbers(force):
    account = Account.objects.create()
    stale = again(account)
    account.save()
    account.save()
    with pytest.raises(RecordModifiedError) as caught:
        stale.save(**force)
    error = caught.value
    assert (error.instance, error.model, error.pk, error.using) == (
        stale,
        Account,
        stale.pk,
        "default",
    )
    assert (error.expected_version, error.current_version) == (1, 3)


@pytest.mark.parametrize("start", [0, -5, 41])
def test_explicit_number_of_a_new_row_is_kept_and_counts_on(start):
    account = Account.objects.create(version=start)
    account.save()
    assert (account.version, version_of(account)) == (start + 1, start + 1)


def test_insert_from_elsewhere_gets_the_first_number():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO testapp_concurrentmodel (name) VALUES ('raw')")
    assert ConcurrentModel.objects.get().version == 1


# One statement


@pytest.mark.parametrize(
    ("create", "save", "table"),
    [
        (lambda: Account.objects.create(), {}, "testapp_account"),
        (
            lambda: Account.objects.create(),
            {"update_fields": ["owner"]},
            "testapp_account",
        ),
        (lambda: Account.objects.create(), {"force_update": True}, "testapp_account"),
        (lambda: AccountProxy.objects.create(), {}, "testapp_account"),
        (lambda: Place.objects.create(name="a"), {}, "testapp_place"),
        (lambda: SelectOnSave.objects.create(name="a"), {}, "testapp_selectonsave"),
        (lambda: ConcurrentModel.objects.create(), {}, "testapp_concurrentmodel"),
    ],
)
def test_winning_save_is_one_update_with_key_and_version_in_its_where(
    create, save, table
):
    instance = create()
    with statements() as sql:
        instance.save(**save)
    assert len(sql) == 1
    update, where = sql[0].replace("`", '"').split(" WHERE ")
    assert update.startswith(f'UPDATE "{table}" SET ')
    assert '"version" = "version" + 1' in update.replace("(", "").replace(")", "")
    assert f'"{table}"."id" = {instance.pk}' in where
    assert f'"{table}"."version" = 1' in where


def test_child_save_is_one_statement_per_table_and_checks_the_root():
    restaurant = Restaurant.objects.create(name="a")
    with statements() as sql:
        restaurant.save()
    assert len(sql) == 2
    root = sql[0].replace("`", '"')
    assert root.startswith('UPDATE "testapp_place" SET ')
    assert '"testapp_place"."version" = 1' in root.split(" WHERE ")[1]
    assert sql[1].replace("`", '"').startswith('UPDATE "testapp_restaurant" SET ')


def test_saving_child_fields_alone_touches_only_the_number_of_the_root():
    restaurant = Restaurant.objects.create(name="a")
    with statements() as sql:
        restaurant.save(update_fields=["stars"])
    assert len(sql) == 2
    assert '"name"' not in sql[0].replace("`", '"')


def test_losing_save_costs_one_query_more():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    with statements() as sql, pytest.raises(RecordModifiedError):
        stale.save()
    assert [statement.split()[0] for statement in sql] == ["UPDATE", "SELECT"]


def test_new_instance_with_a_key_is_inserted_without_an_update_first():
    with statements() as sql:
        StringKey(code="new", name="a").save()
    assert [statement.split()[0] for statement in sql] == ["INSERT"]


# update_fields


@pytest.mark.parametrize("names", [["owner"], ["version"], ["owner", "version"]])
def test_update_fields_is_checked_and_bumps_the_version(names):
    account = Account.objects.create()
    stale = again(account)
    account.owner = "me"
    account.save(update_fields=names)
    assert (account.version, version_of(account)) == (2, 2)
    with pytest.raises(RecordModifiedError):
        stale.save(update_fields=names)


def test_update_fields_writes_nothing_but_the_fields_and_the_number():
    account = Account.objects.create(owner="a", balance=1)
    account.owner, account.balance = "b", 2
    account.save(update_fields=["owner"])
    assert Account.objects.values_list("owner", "balance", "version").get() == (
        "b",
        1,
        2,
    )


def test_empty_update_fields_does_nothing():
    account = Account.objects.create()
    with statements() as sql:
        account.save(update_fields=[])
    assert (sql, account.version) == ([], 1)


def test_never_loaded_instance_can_update_fields_when_it_says_the_version():
    account = Account.objects.create(balance=5)
    Account(pk=account.pk, version=1, owner="x").save(update_fields=["owner"])
    with pytest.raises(RecordModifiedError):
        Account(pk=account.pk, version=1, owner="y").save(force_update=True)
    assert Account.objects.values_list("owner", "balance").get() == ("x", 5)


def test_never_loaded_child_can_force_an_update_when_it_says_the_version():
    restaurant = Restaurant.objects.create(name="a")
    Restaurant(pk=restaurant.pk, id=restaurant.pk, name="b").save(force_update=True)
    assert Restaurant.objects.values_list("name", "version").get() == ("b", 2)
    with pytest.raises(RecordModifiedError):
        Restaurant(pk=restaurant.pk, id=restaurant.pk, name="c").save(force_update=True)


# Multi-table inheritance


@pytest.mark.parametrize("names", [None, ["stars"], ["name"], ["name", "stars"]])
def test_child_and_parent_are_locked_by_one_number(names):
    restaurant = Restaurant.objects.create(name="a")
    place = Place.objects.get()
    restaurant.save(update_fields=names)
    assert version_of(restaurant) == 2
    with pytest.raises(RecordModifiedError):
        place.save()


@pytest.mark.parametrize("names", [None, ["stars"], ["name"], ["name", "stars"]])
def test_conflict_leaves_no_table_of_a_child_written(names):
    restaurant = Restaurant.objects.create(name="a", stars=1)
    Place.objects.get().save()
    restaurant.name, restaurant.stars = "b", 2
    with pytest.raises(RecordModifiedError):
        restaurant.save(update_fields=names)
    assert Restaurant.objects.values_list("name", "stars").get() == ("a", 1)


def test_conflict_after_another_parent_was_written_leaves_no_table_written():
    place = NamedPlace.objects.create(title="a")
    Place.objects.get().save()
    place.title = "b"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        place.save()
    assert Named.objects.get().title == "a"


def test_child_of_an_existing_parent_can_be_added_as_django_documents():
    place = Place.objects.create(name="a")
    restaurant = Restaurant(place_ptr=place, stars=3)
    restaurant.__dict__.update(place.__dict__)
    restaurant.save()
    assert Restaurant.objects.values_list("name", "stars", "version").get() == (
        "a",
        3,
        2,
    )


def test_child_of_an_existing_parent_can_be_added_by_save_base():
    place = Place.objects.create(name="a")
    Restaurant(place_ptr=place, stars=3, modified=now()).save_base(raw=True)
    assert Restaurant.objects.values_list("name", "stars", "version").get() == (
        "a",
        3,
        1,
    )


def test_child_of_an_unsaved_parent_is_refused_with_django_s_words():
    with pytest.raises(ValueError, match="unsaved related object 'place_ptr'"):
        Restaurant(place_ptr=Place(name="a")).save()
    assert not Place.objects.exists()


# New rows


@pytest.mark.parametrize(
    ("existing", "new"),
    [
        (lambda: Account.objects.create(owner="a"), lambda pk: Account(pk=pk)),
        (lambda: Place.objects.create(name="a"), lambda pk: Place(pk=pk)),
        (lambda: Place.objects.create(name="a"), lambda pk: Restaurant(id=pk)),
        (lambda: UUIDKey.objects.create(name="a"), lambda pk: UUIDKey(pk=pk)),
        (
            lambda: StringKey.objects.create(code="a", name="a"),
            lambda pk: StringKey(pk=pk),
        ),
        (
            lambda: CompositeKey.objects.create(tenant=1, number=2, name="a"),
            lambda pk: CompositeKey(tenant=1, number=2),
        ),
        (
            lambda: DefaultKeyCafe.objects.create(name="a"),
            lambda pk: DefaultKeyCafe(name="b"),
        ),
    ],
)
def test_new_instance_with_an_existing_key_is_refused_and_the_row_untouched(
    existing, new
):
    old = existing()
    rows = list(type(old).objects.values())
    with pytest.raises(IntegrityError), transaction.atomic():
        new(old.pk).save()
    assert list(type(old).objects.values()) == rows


def test_deleted_object_can_be_stored_again_as_the_message_says():
    account = Account.objects.create(owner="a")
    Account.objects.all().delete()
    with pytest.raises(RecordDeletedError, match="force_insert=True"):
        account.save()
    account.save(force_insert=True)
    assert Account.objects.get().owner == "a"


@pytest.mark.parametrize("adding", [True, False])
def test_copy_starts_again_at_one_and_leaves_the_original(adding):
    account = Account.objects.create(owner="a")
    account.save()
    original = account.pk
    account.pk = None
    if adding:
        account._state.adding = True
    account.save()
    assert account.pk != original
    assert (account.version, version_of(account)) == (1, 1)
    assert Account.objects.get(pk=original).version == 2


def test_copy_of_a_child_starts_again_at_one():
    restaurant = Restaurant.objects.create(name="a")
    restaurant.save()
    restaurant.pk = restaurant.id = None
    restaurant._state.adding = True
    restaurant.save()
    assert Restaurant.objects.count() == 2
    assert version_of(restaurant) == 1


@pytest.mark.parametrize("unset", ["pk", "id"])
def test_child_that_lost_only_one_of_its_keys_updates_its_row_as_in_django(unset):
    restaurant = Restaurant.objects.create(name="a")
    setattr(restaurant, unset, None)
    restaurant.name = "b"
    restaurant.save()
    assert Restaurant.objects.values_list("name", "version").get() == ("b", 2)


def test_copy_of_a_row_with_a_generated_key_starts_again_at_one():
    original = UUIDKey.objects.create(name="a")
    original.save()
    original.pk = None
    original.save()
    assert sorted(UUIDKey.objects.values_list("version", flat=True)) == [1, 2]


def test_failed_insert_of_a_copy_leaves_the_instance_the_original():
    badge = Badge.objects.create(number=1)
    badge.save()
    original, badge.pk = badge.pk, None
    with pytest.raises(IntegrityError), transaction.atomic():
        badge.save()
    badge.pk = original
    badge.save()
    assert (badge.version, version_of(badge)) == (3, 3)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle"],
)
def test_duplicates_in_memory_keep_the_number(duplicate):
    account = Account.objects.create()
    account.save()
    twin = duplicate(account)
    twin.save()
    assert (account.version, twin.version) == (2, 3)
    with pytest.raises(RecordModifiedError):
        account.save()


# Fixtures


@pytest.mark.parametrize("format", ["json", "python", "xml"])
@pytest.mark.parametrize(
    "create", [lambda: Account.objects.create(version=7), KINDS[11].values[0]]
)
def test_fixture_can_be_loaded_twice_and_over_a_changed_row(create, format):
    instance = create()
    instance.save()
    fixture = serializers.serialize(format, [instance])
    kept = version_of(instance)
    type(instance).objects.all().delete()
    # Stored as it stands at first; never lower than the row's next one after that.
    for version in (kept, kept + 2, kept + 4):
        for loaded in serializers.deserialize(format, fixture):
            loaded.save()
        assert version_of(again(instance)) == version
        again(instance).save()


def test_child_fixture_can_be_loaded_twice():
    restaurant = Restaurant.objects.create(name="a", stars=1)
    restaurant.save()
    fixture = serializers.serialize("json", [*Place.objects.all(), restaurant])
    Place.objects.all().delete()
    for version in (2, 4):  # each of its tables is a write over what is there
        for loaded in serializers.deserialize("json", fixture):
            loaded.save()
        assert Restaurant.objects.values_list("name", "stars", "version").get() == (
            "a",
            1,
            version,
        )


# Deferred version


def test_deferred_version_is_refused_loudly():
    ConcurrentModel.objects.create(name="a")
    instance = ConcurrentModel.objects.only("name").get()
    instance.name = "b"
    for arguments in ({}, {"update_fields": ["name"]}, {"force_update": True}):
        with (
            pytest.raises(ValueError, match=r"not loaded .*Name 'version' in"),
            transaction.atomic(),
        ):
            instance.save(**arguments)
    assert ConcurrentModel.objects.values_list("name", "version").get() == ("a", 1)


@pytest.mark.parametrize("read", [lambda i: i.version, lambda i: hasattr(i, "version")])
def test_reading_a_deferred_version_doesn_t_unlock_the_instance(read):
    ConcurrentModel.objects.create(name="a")
    instance = ConcurrentModel.objects.defer("version").get()
    assert read(instance) == 1
    with pytest.raises(ValueError, match="not loaded"):
        instance.save()


def test_reading_deferred_versions_of_peers_unlocks_none_of_them():
    peers = pytest.importorskip(
        "django.db.models.fetch_modes", reason="fetch modes came with Django 6.1"
    )
    for name in "abc":
        ConcurrentModel.objects.create(name=name)
    instances = list(ConcurrentModel.objects.fetch_mode(peers.FETCH_PEERS).only("name"))
    assert instances[0].version == 1
    for instance in instances:
        with pytest.raises(ValueError, match="not loaded"):
            instance.save()


def test_a_refresh_loads_the_version_together_with_the_values(
    django_assert_num_queries,
):
    ConcurrentModel.objects.create(name="a")
    first, second = [ConcurrentModel.objects.only("name").get() for _ in range(2)]
    for instance in (first, second):
        with django_assert_num_queries(1):
            instance.refresh_from_db()
    first.save()
    with pytest.raises(RecordModifiedError):
        second.save()


def test_a_refresh_that_leaves_the_version_out_leaves_it_unknown():
    ConcurrentModel.objects.create(name="a")
    instance = ConcurrentModel.objects.only("name").get()
    instance.refresh_from_db(from_queryset=ConcurrentModel.objects.only("name"))
    with pytest.raises(ValueError, match="not loaded"):
        instance.save()


def test_other_deferred_fields_can_be_saved_as_in_django():
    Account.objects.create(owner="a", balance=5)
    account = Account.objects.only("owner").get()
    account.owner = "b"
    account.save()
    assert Account.objects.values_list("owner", "balance", "version").get() == (
        "b",
        5,
        2,
    )


def test_lazily_loaded_value_is_newer_than_the_version_so_the_save_is_refused():
    Account.objects.create(owner="a", balance=5)
    account = Account.objects.only("owner").get()
    other = Account.objects.get()
    other.balance = 6
    other.save()
    assert account.balance == 6
    with pytest.raises(RecordModifiedError):
        account.save()


def test_only_without_names_loads_everything_as_in_django():
    Account.objects.create()
    assert Account.objects.only().get().get_deferred_fields() == set()


# Version set by hand


@pytest.mark.parametrize(
    ("version", "error", "advice"),
    [
        (None, ValueError, "Set the version that was read together with the values"),
        ("1", TypeError, "Convert it, or load the object again"),
        (1.0, TypeError, "Convert it, or load the object again"),
        (True, TypeError, "Convert it, or load the object again"),
        (F("version"), TypeError, "Convert it, or load the object again"),
    ],
)
@pytest.mark.parametrize("create", [KINDS[1].values[0], KINDS[6].values[0]])
def test_version_that_is_no_number_is_an_error_and_the_row_untouched(
    create, version, error, advice
):
    instance = create()
    rows = list(type(instance).objects.values())
    instance.version = version
    for arguments in ({}, {"update_fields": ["version"]}, {"force_update": True}):
        with pytest.raises(error, match=advice), transaction.atomic():
            instance.save(**arguments)
    assert list(type(instance).objects.values()) == rows
    assert instance.version is version


@pytest.mark.parametrize("version", [None, "1", 1.5, True])
def test_new_row_without_a_number_is_refused(version):
    with (
        pytest.raises((ValueError, TypeError), match=r"Account\.version is"),
        transaction.atomic(),
    ):
        Account(version=version).save()
    assert not Account.objects.exists()


def test_version_of_another_row_is_what_is_checked():
    account, other = Account.objects.create(), Account.objects.create(version=9)
    account.version = other.version
    with pytest.raises(RecordModifiedError) as caught:
        account.save()
    assert (caught.value.expected_version, caught.value.current_version) == (9, 1)
    assert account.version == 9


def test_version_set_by_hand_to_the_row_s_number_is_accepted():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    stale.version = 2
    stale.save()
    assert version_of(stale) == 3


# Several databases


def test_save_into_another_database_is_checked_there():
    account = Account.objects.create(owner="a")
    Account.objects.using("other").create(pk=account.pk, owner="a", version=1)
    account.owner = "b"
    account.save(using="other")
    assert Account.objects.using("other").values_list("owner", "version").get() == (
        "b",
        2,
    )
    with pytest.raises(RecordModifiedError) as caught:
        account.save(using="default")
    assert caught.value.using == "default"


def test_save_into_a_database_without_the_row_says_how_to_insert_it():
    account = Account.objects.create(owner="a")
    with pytest.raises(RecordDeletedError, match="force_insert=True"):
        account.save(using="other")
    account.save(using="other", force_insert=True)
    assert Account.objects.using("other").get().owner == "a"


def test_new_instance_with_a_key_can_go_into_another_database():
    account = Account.objects.create(owner="a")
    Account(pk=account.pk, owner="b").save(using="other")
    assert Account.objects.using("other").get().owner == "b"


def test_instance_from_a_replica_is_saved_with_one_statement_and_checked():
    # The "replica" has replicated by hand what the primary has.
    account = Account.objects.create(owner="a")
    Account.objects.using("other").create(pk=account.pk, owner="a")
    with override_settings(DATABASE_ROUTERS=[ReadsElsewhere("other")]):
        copies = [Account.objects.get(), Account.objects.get()]
        assert copies[0]._state.db == "other"
        copies[0].owner = "b"
        with statements() as sql:
            copies[0].save()
        assert len(sql) == 1
        with pytest.raises(RecordModifiedError) as caught:
            copies[1].save()
    assert caught.value.using == "default"
    assert Account.objects.using("default").get().owner == "b"


# Signals


def test_post_save_sees_the_new_number_and_pre_save_the_old_one():
    account = Account.objects.create()
    seen = []

    def receiver(sender, instance, signal, **kwargs):
        seen.append(instance.version)

    with (
        listening(pre_save, receiver, Account),
        listening(post_save, receiver, Account),
    ):
        account.save()
    assert seen == [1, 2]


def test_post_save_isn_t_sent_on_a_conflict():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    seen = []

    def receiver(sender, instance, **kwargs):
        seen.append(instance)

    with (
        listening(post_save, receiver, Account),
        pytest.raises(RecordModifiedError),
    ):
        stale.save()
    assert seen == []


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_handler_may_save_the_instance_again(signal):
    account = Account.objects.create()

    def receiver(sender, instance, **kwargs):
        if instance.balance < 3:
            instance.balance += 1
            instance.save()

    with listening(signal, receiver, Account):
        account.save()
    assert Account.objects.values_list("balance", "version").get() == (3, 5)
    assert account.version == 5


# A failed save leaves the instance as it was


def test_conflict_puts_automatic_values_back_and_keeps_what_the_user_typed():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    stale.owner = "typed"
    modified = stale.modified
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert (stale.owner, stale.modified, stale.version) == ("typed", modified, 1)


@pytest.mark.parametrize("block", [transaction.atomic, nullcontext])
def test_integrity_error_puts_everything_back(block, transactional_db):
    Badge.objects.create(number=1)
    badge = Badge.objects.create(number=2)
    badge.number = 1
    before = vars(badge).copy()
    with pytest.raises(IntegrityError), block():
        badge.save()
    before.pop("_state")
    assert {k: v for k, v in vars(badge).items() if k != "_state"} == before
    badge.number = 3
    badge.save()
    assert version_of(badge) == 2


def test_failed_insert_leaves_the_instance_new():
    Badge.objects.create(number=1)
    badge = Badge(number=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        badge.save()
    assert (badge.pk, badge.modified, badge._state.adding) == (None, None, True)
    badge.number = 2
    badge.save()
    assert badge.version == 1


@pytest.mark.parametrize("block", [transaction.atomic, nullcontext])
def test_failing_child_puts_back_what_its_parent_s_save_did(block, transactional_db):
    Bistro.objects.create(name="a", tables=1)
    bistro = Bistro.objects.create(name="b", tables=2)
    bistro.tables = 1
    modified = bistro.modified
    with pytest.raises(IntegrityError), block():
        bistro.save()
    assert (bistro.version, bistro.modified) == (1, modified)
    assert version_of(bistro) == 1
    bistro.tables = 3
    bistro.save()
    assert version_of(bistro) == 2


def test_failing_child_leaves_a_new_instance_new(transactional_db):
    Bistro.objects.create(name="a", tables=1)
    bistro = Bistro(name="b", tables=1)
    with pytest.raises(IntegrityError):
        bistro.save()
    assert (bistro.pk, bistro.id, bistro.restaurant_ptr_id) == (None, None, None)
    bistro.tables = 2
    bistro.save()
    assert (bistro.version, Place.objects.count()) == (1, 2)


class HandlerError(Exception):
    pass


def failing(sender, **kwargs):
    raise HandlerError


@pytest.mark.parametrize("create", [KINDS[1].values[0], KINDS[6].values[0]])
def test_failing_post_save_handler_doesn_t_unwrite_the_row(create, transactional_db):
    instance = create()
    with (
        listening(post_save, failing, type(instance)),
        pytest.raises(HandlerError),
    ):
        instance.save()
    assert (instance.version, version_of(instance)) == (2, 2)
    instance.save()
    assert version_of(instance) == 3


def test_failing_post_save_handler_leaves_a_new_row_inserted(transactional_db):
    account = Account()
    with listening(post_save, failing, Account), pytest.raises(HandlerError):
        account.save()
    account.save()
    assert Account.objects.get().version == 2


@pytest.mark.parametrize("new", [True, False])
def test_failing_post_save_handler_in_a_block_that_rolls_back(new, transactional_db):
    account = Account() if new else Account.objects.create()
    with (
        listening(post_save, failing, Account),
        pytest.raises(HandlerError),
        transaction.atomic(),
    ):
        account.save()
    account.save()
    assert Account.objects.get().version == account.version == (1 if new else 2)


def test_failing_pre_save_handler_changes_nothing():
    account = Account.objects.create()
    with listening(pre_save, failing, Account), pytest.raises(HandlerError):
        account.save()
    account.save()
    assert version_of(account) == 2


# Conflicts inside a block


@pytest.mark.parametrize(
    "create", [KINDS[0].values[0], KINDS[1].values[0], KINDS[6].values[0]]
)
def test_block_goes_on_after_a_conflict(create, transactional_db):
    first = create()
    stale = again(first)
    first.save()
    with transaction.atomic():
        before = create()
        with pytest.raises(RecordModifiedError):
            stale.save()
        assert type(first)._base_manager.count() == 2
        before.save()
    assert version_of(before) == 2


def test_block_is_rolled_back_when_a_conflict_came_after_another_parent_s_write(
    transactional_db,
):
    place = NamedPlace.objects.create(title="a")
    Place.objects.get().save()
    place.title = "b"
    with transaction.atomic():
        with pytest.raises(RecordModifiedError):
            place.save()
        assert transaction.get_rollback()
    assert Named.objects.get().title == "a"


def test_real_error_before_the_conflict_stays_in_force(transactional_db):
    badge = Badge.objects.create(number=1)
    stale = again(badge)
    badge.save()
    with transaction.atomic():
        Account.objects.create()
        with pytest.raises(IntegrityError):
            Badge(number=1).save()
        with pytest.raises(transaction.TransactionManagementError):
            stale.save()
        assert transaction.get_rollback()
    assert not Account.objects.exists()


def test_rollback_asked_for_stays_in_force_after_a_conflict(transactional_db):
    account = Account.objects.create()
    stale = again(account)
    account.save()
    with transaction.atomic():
        Account.objects.create()
        with pytest.raises(RecordModifiedError):
            stale.save()
        transaction.set_rollback(True)
    assert Account.objects.count() == 1


def test_conflict_that_leaves_the_block_rolls_it_back(transactional_db):
    account = Account.objects.create()
    stale = again(account)
    account.save()
    with (  # noqa: PT012 -- what came before the conflict is the point
        pytest.raises(RecordModifiedError),
        transaction.atomic(),
    ):
        Account.objects.create()
        stale.save()
    assert Account.objects.count() == 1


def test_view_under_atomic_requests_can_answer_a_conflict(transactional_db):
    account = Account.objects.create()
    stale = again(account)
    account.save()

    def view(request):
        try:
            stale.save()
        except RecordModifiedError:
            Account.objects.create(owner="log")
            return HttpResponse(status=409)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        patch.setitem(connections["other"].settings_dict, "ATOMIC_REQUESTS", False)
        response = BaseHandler().make_view_atomic(view)(RequestFactory().get("/"))
    assert response.status_code == 409
    assert Account.objects.filter(owner="log").exists()


@pytest.mark.skipif(
    connection.vendor != "mysql", reason="only MySQL reads from an old snapshot"
)
def test_conflict_reports_the_number_as_it_is_not_the_snapshot_s(transactional_db):
    account = Account.objects.create()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM testapp_account")
        stale = Account.objects.get()
        elsewhere(Account.objects.get().save)
        with pytest.raises(RecordModifiedError) as caught:
            stale.save()
    assert caught.value.current_version == version_of(account) == 2


# Versions of another type


class Number(int):
    pass


def test_a_number_of_a_type_of_ones_own_is_one():
    account = Account.objects.create()
    account.version = Number(1)
    account.save()
    assert account.version == version_of(account) == 2


# Values the database computes


def test_generated_and_default_values_work_as_in_django():
    computed = Computed.objects.create(name="a")
    computed.refresh_from_db()
    assert (computed.shout, computed.colour) == ("A", "red")
    computed.name = "b"
    computed.save()
    computed.refresh_from_db()
    assert (computed.shout, computed.version) == ("B", 2)


@pytest.mark.parametrize("names", [None, ["balance"]])
def test_expressions_can_be_saved(names):
    account = Account.objects.create(balance=1)
    account.balance = F("balance") + 5
    account.save(update_fields=names)
    if django.VERSION >= (6, 0) and connection.features.can_return_rows_from_update:
        assert account.balance == 6
    account.refresh_from_db()
    assert (account.balance, account.version) == (6, 2)


def test_expression_of_a_refused_save_is_still_there():
    account = Account.objects.create(owner="a")
    stale = again(account)
    account.save()
    stale.owner = expression = Upper("owner")
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert stale.owner is expression


def test_order_of_related_rows_is_kept():
    question = Question.objects.create()
    answers = [Answer.objects.create(question=question) for _ in range(3)]
    answers[0].save()
    assert list(question.get_answer_order()) == [answer.pk for answer in answers]


# Async


def test_asave_is_checked_too():
    account = Account.objects.create()
    stale = again(account)
    async_to_sync(account.asave)()
    assert account.version == 2
    with pytest.raises(RecordModifiedError):
        async_to_sync(stale.asave)()


# Managers' one-row writes


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django 6.0 refuses them")
def test_positional_arguments_are_told_as_deprecated_where_they_are_given():
    account = AccountFactory()
    with pytest.warns(DeprecationWarning, match=r"arguments to save\(\)") as told:
        account.save(False, True, using="default")
    with pytest.warns(DeprecationWarning, match=r"arguments to asave\(\)") as atold:
        async_to_sync(save_by_position)(account)
    assert {told[0].filename, atold[0].filename} == {__file__}
    assert account.version == 3
    with pytest.raises(TypeError, match="multiple values"), pytest.warns():
        account.save(False, True, force_update=True)


async def save_by_position(account):
    await account.asave(False, True)


def test_get_or_create_and_update_or_create_are_ordinary_saves():
    account, created = Account.objects.update_or_create(owner="a")
    assert (created, account.version) == (True, 1)
    account, created = Account.objects.update_or_create(
        owner="a", defaults={"balance": 5}
    )
    assert (created, account.version, version_of(account)) == (False, 2, 2)
    assert Account.objects.get_or_create(owner="a")[0].version == 2


# Other code in the chain


def test_user_s_own_overrides_run_once_for_each_save():
    instance = Overriding.objects.create(name="A")
    instance.save()
    assert (instance.slug, instance.updates, instance.version) == ("a", 1, 2)


def test_override_in_an_abstract_base_runs():
    document = Document.objects.create()
    document.save()
    assert (document.updates, document.lock) == (1, 2)


def test_fsm_mixin_and_lock_work_together():
    ticket = Ticket.objects.create()
    stale = again(ticket)
    ticket.close()
    ticket.save()
    assert (ticket.state, version_of(ticket)) == ("closed", 2)
    stale.note = "late"
    with pytest.raises(RecordModifiedError):
        stale.save()


def test_fsm_mixin_s_own_condition_is_still_in_force():
    ticket = Ticket.objects.create()
    Ticket._base_manager.update(state="closed")
    with pytest.raises(ConcurrentTransition), transaction.atomic():
        ticket.save()
    assert version_of(ticket) == 1


def test_field_added_to_a_finished_class_locks_it(transactional_db):
    with isolate_apps("testapp"):

        class Late(models.Model):
            name = models.CharField(max_length=100)

            class Meta:
                app_label = "testapp"

        Late.add_to_class("version", IntegerVersionField())
        with connection.schema_editor() as editor:
            editor.create_model(Late)
        try:
            late = Late.objects.create(name="a")
            stale = Late.objects.get()
            late.save()
            with pytest.raises(RecordModifiedError):
                stale.save()
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Late)


@isolate_apps("testapp")
def test_a_copy_on_a_table_of_records_holds_numbers_and_locks_nothing():
    version = Account._meta.get_field("version")

    class Record(models.Model):
        version = copy.copy(Account._meta.get_field("version"))

        class Meta:
            app_label = "testapp"

    assert version_field(Record) is None
    assert Record._do_update == models.Model._do_update
    assert Record._meta.get_field("version").deconstruct()[1] == (
        "django.db.models.BigIntegerField"
    )
    assert version_field(Account) is version


def test_save_leaves_no_trace_on_the_note_of_someone_else():
    note = Note.objects.create(text="a")
    stale = again(note)
    note.colour = "red"
    note.save()
    stale.text = "b"
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert Note.objects.values_list("text", "colour").get() == ("a", "red")


# Signals are told what is written


def told(write):
    """What pre_save and post_save are told of update_fields."""
    found = []

    def receiver(update_fields, **kwargs):
        found.append(update_fields)

    pre_save.connect(receiver)
    post_save.connect(receiver)
    try:
        write()
    finally:
        pre_save.disconnect(receiver)
        post_save.disconnect(receiver)
    return found


@pytest.mark.parametrize(
    ("create", "field", "version"),
    [
        (lambda: Account.objects.create(), "owner", "version"),
        (lambda: Renamed.objects.create(name="a"), "name", "lock"),
        (lambda: Restaurant.objects.create(name="a"), "stars", "version"),
        (lambda: Restaurant.objects.create(name="a"), "name", "version"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_signals_are_told_that_the_version_is_written(create, field, version, is_async):
    instance = create()
    save = async_to_sync(instance.asave) if is_async else instance.save
    with statements() as sql:
        found = told(lambda: save(update_fields=[field]))
    assert found == [frozenset([field, version])] * 2
    assert not any(query.startswith("SELECT") for query in sql)
    assert version_of(instance) == number(instance) == 2


def test_signals_are_told_by_save_base_and_update_or_create_too():
    account = Account.objects.create()
    found = told(lambda: account.save_base(update_fields=["owner"]))
    found += told(
        lambda: Account.objects.update_or_create(
            pk=account.pk, defaults={"owner": "x", "balance": 1}
        )
    )
    assert len(found) == 4
    assert all("version" in names for names in found)


def test_raw_save_of_some_fields_is_checked_still():
    account = Account.objects.create()
    stale = again(account)
    account.save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        stale.save_base(raw=True, update_fields=["owner"])
    assert version_of(account) == 2


def test_signals_are_told_nothing_of_a_version_that_isn_t_written():
    article = Article.objects.create(title="a")
    assert (
        told(lambda: article.save(update_fields=["views"]))
        == [frozenset(["views"])] * 2
    )
    assert told(article.save) == [None, None]


def test_tracker_of_dirty_fields_finds_none_after_a_save():
    """What packages like django-dirtyfields do in a receiver."""
    account = Account.objects.create()
    seen = {f.attname: getattr(account, f.attname) for f in account._meta.fields}

    def receiver(instance, update_fields, **kwargs):
        seen.update({name: getattr(instance, name) for name in update_fields})

    with listening(post_save, receiver, Account):
        account.owner = "ann"
        account.save(update_fields=["owner"])
    assert seen == {name: getattr(account, name) for name in seen}


# Raw saves of a part


def test_raw_save_of_a_child_leaves_the_version_unknown():
    place = Place.objects.create(name="theirs")
    child = Restaurant(place_ptr_id=place.pk, name="mine", modified=now())
    child.save_base(raw=True)
    child.id = place.pk
    with pytest.raises(ValueError, match="was not loaded"), transaction.atomic():
        child.save()
    assert Place.objects.get().name == "theirs"
    child = Restaurant.objects.get()
    child.save()
    assert version_of(child) == 2


def test_fixture_of_a_child_can_t_overwrite_its_parent():
    place = Place.objects.create(name="theirs")
    text = (
        f'[{{"model": "testapp.restaurant", "pk": {place.pk}, "fields": {{"stars": 1, '
        f'"modified": "2026-01-01T00:00:00Z"}}}}]'
    )
    (found,) = serializers.deserialize("json", text)
    found.save()
    found.object.id = place.pk
    with pytest.raises(ValueError, match="was not loaded"), transaction.atomic():
        found.object.save()
    assert Place.objects.get().name == "theirs"


def test_raw_save_of_a_loaded_child_changes_nothing_of_its_parent():
    child = Restaurant.objects.get(pk=Restaurant.objects.create(name="a").pk)
    Place.objects.update(name="theirs")
    child.name = "mine"
    child.save_base(raw=True)
    assert Place.objects.get().name == "theirs"
    with pytest.raises(RecordModifiedError):
        child.save()


@pytest.mark.parametrize("model", [Restaurant, Bistro, NamedPlace])
@pytest.mark.parametrize("is_loaded", [False, True])
def test_raw_save_of_a_child_tells_whoever_holds_the_row(model, is_loaded):
    row = model.objects.create(name="a")
    holder = again(row)
    if is_loaded:
        child = again(row)
    else:
        own = {f.attname: getattr(row, f.attname) for f in model._meta.local_fields}
        child = model(**own)
    with transaction.atomic():
        child.save_base(raw=True)
        transaction.set_rollback(True)
    assert version_of(row) == 1
    child.save_base(raw=True)
    assert version_of(row) == 2
    with pytest.raises(RecordModifiedError), transaction.atomic():
        holder.save()
    if is_loaded:
        child.save()
        assert number(child) == version_of(child) == 3


def test_raw_save_of_a_child_that_is_new_leaves_the_number_of_its_parent():
    place = Place.objects.create(name="a")
    Restaurant(place_ptr_id=place.pk, modified=now()).save_base(raw=True)
    assert version_of(place) == 1
    place.save()
