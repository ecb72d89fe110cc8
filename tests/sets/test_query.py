"""``VersionedQuerySet``: writes to many rows at once, and what a query loads."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    NotSupportedError,
    connection,
    models,
    transaction,
)
from django.db.models import F, OuterRef, Subquery
from django.test.utils import CaptureQueriesContext, isolate_apps
from factories import AccountFactory, AuthorFactory, BookFactory
from testapp.models import (
    Account,
    AccountProxy,
    Author,
    Bistro,
    Book,
    CompositeKey,
    Note,
    Place,
    RealFirst,
    Renamed,
    Restaurant,
    StringKey,
    Unlocked,
    Unversioned,
    UUIDKey,
)

from optilock import RecordModifiedError, VersionedModel, VersionedQuerySet

pytestmark = pytest.mark.django_db


def versions(model):
    return list(model.objects.order_by("pk").values_list("version", flat=True))


# update()


def test_update_bumps_the_version():
    AccountFactory.create_batch(2)
    assert Account.objects.update(balance=1) == 2
    assert versions(Account) == [2, 2]


def test_update_makes_whoever_holds_the_row_stale():
    account = AccountFactory()
    Account.objects.filter(pk=account.pk).update(balance=F("balance") + 1)
    with pytest.raises(RecordModifiedError):
        account.save()


def test_update_is_one_statement(django_assert_num_queries):
    AccountFactory()
    with django_assert_num_queries(1):
        Account.objects.update(balance=1)


def test_update_without_arguments_writes_nothing():
    AccountFactory()
    Account.objects.update()
    assert versions(Account) == [1]


def test_update_stores_an_explicit_version_once():
    AccountFactory()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Account.objects.update(version=7)
    assert queries[0]["sql"].count("version") == 1
    assert versions(Account) == [7]


def test_update_takes_an_expression_for_the_version():
    AccountFactory()
    Account.objects.update(version=F("version") + 10)
    assert versions(Account) == [11]


def test_update_of_a_version_by_another_name():
    Renamed.objects.create(name="a")
    Renamed.objects.update(name="b")
    assert Renamed.objects.get().lock == 2


def test_async_update_bumps_the_version():
    AccountFactory()
    assert async_to_sync(Account.objects.all().aupdate)(balance=1) == 1
    assert versions(Account) == [2]


def test_update_through_a_related_manager():
    book = BookFactory()
    BookFactory()
    book.author.books.update(stock=9)
    assert versions(Book) == [2, 1]


def test_update_through_a_join():
    book = BookFactory(author__name="Ada")
    BookFactory(author__name="Bob")
    assert Book.objects.filter(author__name="Ada").update(stock=9) == 1
    assert versions(Book) == [2, 1]
    assert Author.objects.get(pk=book.author_id).version == 1


def test_update_with_a_subquery():
    book = BookFactory(author__name="Ada")
    name = Author.objects.filter(pk=OuterRef("author")).values("name")
    Book.objects.update(title=Subquery(name))
    book.refresh_from_db()
    assert (book.title, book.version) == ("Ada", 2)


def test_update_with_an_annotation():
    AccountFactory(balance=3)
    Account.objects.annotate(double=F("balance") * 2).update(balance=F("double"))
    assert list(Account.objects.values_list("balance", "version")) == [(6, 2)]


def test_update_of_an_ordered_queryset():
    AccountFactory.create_batch(2)
    Account.objects.annotate(b=F("balance")).order_by("-b").update(balance=1)
    assert versions(Account) == [2, 2]


@pytest.mark.parametrize("field", ["name", "stars", "tables"])
def test_update_of_any_table_of_a_child_bumps_the_version_once(field):
    bistro = Bistro.objects.create(name="a")
    Place.objects.create(name="b")
    assert Bistro.objects.update(**{field: 4}) == 1
    bistro.refresh_from_db()
    assert (str(getattr(bistro, field)), bistro.version) == ("4", 2)
    assert versions(Place) == [2, 1]


def test_update_of_several_tables_is_all_or_nothing(django_assert_num_queries):
    Restaurant.objects.create(name="a", stars=1)
    Restaurant.objects.create(name="b", stars=1)
    with CaptureQueriesContext(connection) as queries:
        Restaurant.objects.update(stars=2)
    assert connection.in_atomic_block
    assert len([q for q in queries if q["sql"].startswith("UPDATE")]) == 2


@pytest.mark.django_db(transaction=True)
def test_update_of_several_tables_is_one_transaction():
    Restaurant.objects.create(name="a", stars=1)
    with CaptureQueriesContext(connection) as queries:
        Restaurant.objects.update(stars=2)
    assert queries[0]["sql"].startswith("BEGIN") or connection.vendor == "mysql"
    assert queries[-1]["sql"] == "COMMIT"


def test_update_through_a_proxy():
    AccountFactory()
    AccountProxy.objects.update(balance=1)
    assert versions(Account) == [2]


def test_update_of_a_composite_key():
    CompositeKey.objects.create(tenant=1, number=2, name="a")
    CompositeKey.objects.filter(pk=(1, 2)).update(name="b")
    assert versions(CompositeKey) == [2]


def test_update_of_a_slice_is_refused_as_in_django():
    with pytest.raises(TypeError, match="slice"):
        Account.objects.all()[:1].update(balance=1)


def test_update_of_an_unknown_field_is_refused_as_in_django():
    with pytest.raises(FieldDoesNotExist):
        Account.objects.update(colour="red")


REFUSED = [
    pytest.param(lambda rows: rows.update(nothing=1), FieldDoesNotExist, id="unknown"),
    pytest.param(lambda rows: rows[:1].update(name="a"), TypeError, id="slice"),
    pytest.param(
        lambda rows: rows.union(rows).update(name="a"), NotSupportedError, id="union"
    ),
]


@pytest.mark.parametrize("model", [Place, Restaurant])
@pytest.mark.parametrize(("update", "error"), REFUSED)
def test_an_update_that_is_refused_before_it_is_sent_ends_no_block(
    model, update, error
):
    model.objects.create(name="old")
    with transaction.atomic():
        with pytest.raises(error):
            update(model.objects.all())
        assert model.objects.update(name="new") == 1
    assert model.objects.get().version == 2


@pytest.mark.parametrize("model", [Place, Restaurant])
def test_an_update_that_the_database_refuses_ends_the_block_as_in_django(model):
    model.objects.create(name="old")
    with transaction.atomic(), transaction.atomic():
        with pytest.raises(DatabaseError):
            model.objects.update(version=None)
        with pytest.raises(transaction.TransactionManagementError):
            model.objects.get()


def test_update_through_a_users_own_queryset():
    class AccountQuerySet(VersionedQuerySet):
        def rich(self):
            return self.filter(balance__gt=50)

    with isolate_apps("testapp"):

        class Own(VersionedModel):
            balance = models.IntegerField()
            objects = AccountQuerySet.as_manager()

            class Meta:
                app_label = "testapp"
                db_table = Account._meta.db_table

        AccountFactory(balance=1)
        AccountFactory(balance=100)
        assert Own.objects.rich().update(balance=1) == 1
    assert versions(Account) == [1, 2]


def test_update_or_create_bumps_the_version():
    author = AuthorFactory()
    found, created = Author.objects.update_or_create(
        pk=author.pk, defaults={"name": "new"}
    )
    assert (found.version, created) == (2, False)
    assert versions(Author) == [2]


# only(), defer()


def is_savable(instance):
    instance.save()
    return True


@pytest.mark.parametrize(
    "narrow",
    [
        lambda qs: qs.only("balance"),
        lambda qs: qs.only("pk"),
        lambda qs: qs.only("balance").only("owner"),
        lambda qs: qs.only("owner", "version").defer("version"),
        lambda qs: qs.defer("version"),
        lambda qs: qs.defer("version", "owner"),
        lambda qs: qs.defer("owner").defer("version"),
        lambda qs: qs.defer("version").defer(None),
    ],
)
def test_the_version_is_always_loaded(narrow, django_assert_num_queries):
    AccountFactory()
    account = narrow(Account.objects.all()).get()
    with django_assert_num_queries(1):
        account.save()


def test_only_leaves_the_other_fields_out():
    AccountFactory()
    account = Account.objects.only("balance").get()
    assert account.get_deferred_fields() == {"owner", "modified"}


def test_only_follows_what_has_no_version_and_what_is_no_field():
    note = Note.objects.create()
    Unversioned.objects.create(note=note)
    rows = VersionedQuerySet(Unversioned)
    found = rows.select_related("note").only("name", "note__text").get()
    found.note.save()
    assert note.version < found.note.version == 2
    assert rows.only("note").get().get_deferred_fields() == {"name"}


def test_only_without_names_loads_everything_as_in_django():
    AccountFactory()
    assert Account.objects.only().get().get_deferred_fields() == set()


@pytest.mark.parametrize(
    ("narrow", "deferred"),
    [
        (lambda qs: qs.only("owner").defer("owner"), set()),
        (lambda qs: qs.only("owner").defer("owner", "balance"), {"balance"}),
        (lambda qs: qs.only("owner").defer("balance"), {"balance", "modified"}),
        (lambda qs: qs.defer("owner").only("owner"), set()),
        (
            lambda qs: qs.defer("owner").only("owner", "balance"),
            {"owner", "modified"},
        ),
    ],
)
def test_only_and_defer_take_names_from_each_other_as_in_django(narrow, deferred):
    AccountFactory()
    for queryset in (Account.objects.all(), models.QuerySet(Account)):
        account = narrow(queryset).get()
        assert account.get_deferred_fields() - {"version"} == deferred
    assert is_savable(narrow(Account.objects.all()).get())


def test_deferring_the_version_leaves_the_others_as_they_were():
    AccountFactory()
    account = Account.objects.only("balance").defer("version").get()
    assert account.get_deferred_fields() == {"owner", "modified"}


@pytest.mark.parametrize(
    "narrow",
    [
        lambda qs: qs.only("title", "author__name"),
        lambda qs: qs.only("author__name"),
        lambda qs: qs.defer("author__version"),
        lambda qs: qs.defer("author__name", "author__version", "version"),
    ],
)
def test_the_version_of_a_related_model_is_always_loaded(narrow):
    BookFactory()
    book = narrow(Book.objects.select_related("author")).get()
    assert is_savable(book)
    assert is_savable(book.author)


def test_only_a_related_models_field_leaves_its_others_out():
    BookFactory()
    book = Book.objects.select_related("author").only("author__version").get()
    assert book.author.get_deferred_fields() == {"name"}


def test_the_version_is_loaded_through_a_reverse_one_to_one():
    Restaurant.objects.create(name="a", stars=1)
    places = Place.objects.select_related("restaurant")
    place = places.only("name", "restaurant__stars").get()
    assert is_savable(place.restaurant)


def test_the_version_of_a_parent_is_loaded():
    Restaurant.objects.create(name="a", stars=1)
    assert is_savable(Restaurant.objects.only("stars").get())


def test_only_an_unknown_field_is_refused_as_in_django():
    with pytest.raises(FieldDoesNotExist, match="nothing"):
        list(Account.objects.only("nothing"))


def test_only_traversing_a_plain_field_is_refused_as_in_django():
    BookFactory()
    with pytest.raises(FieldError):
        list(Book.objects.select_related("author").only("title"))


# bulk_create()


def test_created_objects_can_be_saved():
    accounts = Account.objects.bulk_create([Account(), Account()])
    for account in accounts:
        account.pk = account.pk or Account.objects.latest("pk").pk
        account.save()
    assert versions(Account) == [2, 2]


def test_created_objects_keep_an_explicit_version():
    UUIDKey.objects.bulk_create([UUIDKey(version=7)])
    assert versions(UUIDKey) == [7]


def test_a_created_copy_starts_again():
    account = AccountFactory(version=7)
    account.pk = None
    Account.objects.bulk_create([account])
    assert versions(Account) == [7, 1]


def test_created_objects_are_new_again_after_a_rollback():
    rows = [UUIDKey(name="a"), UUIDKey(name="b")]
    with transaction.atomic():
        UUIDKey.objects.bulk_create(rows)
        transaction.set_rollback(True)
    assert [row._state.adding for row in rows] == [True, True]
    assert [row._state.db for row in rows] == [None, None]
    rows[0].save()
    assert versions(UUIDKey) == [1]


def test_objects_that_could_not_be_created_are_new_still():
    StringKey.objects.create(code="a")
    rows = [StringKey(code="b"), StringKey(code="a")]
    with pytest.raises(IntegrityError), transaction.atomic():
        StringKey.objects.bulk_create(rows, batch_size=1)
    assert [row._state.adding for row in rows] == [True, True]
    assert "adding" not in vars(rows[0]._state)


def test_a_row_that_was_there_already_has_to_be_loaded():
    StringKey.objects.create(code="a", name="old")
    row = StringKey(code="a", name="new")
    StringKey.objects.bulk_create([row], ignore_conflicts=True)
    with pytest.raises(ValueError, match="load"), transaction.atomic():
        row.save()
    assert StringKey.objects.get().name == "old"


def test_an_async_create():
    create = async_to_sync(UUIDKey.objects.all().abulk_create)
    (row,) = create([UUIDKey(name="a")])
    row.save()
    assert row.version == 2


def test_without_a_version_creating_is_djangos():
    VersionedQuerySet(Unlocked).bulk_create([Unlocked(name="a")])
    assert Unlocked.objects.get().name == "a"


def test_created_object_without_a_key_keeps_an_explicit_version():
    Account.objects.bulk_create([Account(version=7), Account()])
    assert versions(Account) == [7, 1]


@pytest.mark.parametrize("model", [Account, UUIDKey])
def test_object_without_a_version_that_is_set_to_none_is_not_created(model):
    row = model(version=None)
    with pytest.raises(ValueError, match="version is None"), transaction.atomic():
        model.objects.bulk_create([row])
    assert not model.objects.exists()
    assert row.version is None


def test_same_objects_can_be_created_again_where_conflicts_are_ignored():
    rows = [UUIDKey(name="a"), UUIDKey(name="b", version=5)]
    UUIDKey.objects.bulk_create(rows, ignore_conflicts=True)
    UUIDKey.objects.bulk_create(rows, ignore_conflicts=True)
    assert sorted(versions(UUIDKey)) == [1, 5]
    UUIDKey.objects.all().delete()
    UUIDKey.objects.bulk_create(rows, ignore_conflicts=True)
    assert versions(UUIDKey) == [1, 1]


def test_object_whose_row_is_uncertain_stays_so_when_it_can_t_be_created():
    rows = [UUIDKey(name="a")]
    UUIDKey.objects.bulk_create(rows, ignore_conflicts=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        UUIDKey.objects.bulk_create(rows)
    with pytest.raises(ValueError, match="was not loaded"), transaction.atomic():
        rows[0].save()


@pytest.mark.parametrize("create", [True, False])
def test_version_is_not_read_back(create):
    with CaptureQueriesContext(connection) as queries:
        if create:
            instance = RealFirst.objects.create(ratio=1.5)
        else:
            (instance,) = RealFirst.objects.bulk_create([RealFirst(ratio=1.5)])
    assert "RETURNING" not in "".join(query["sql"] for query in queries)
    assert type(instance.version) is int
    instance.save()
    assert RealFirst.objects.get().version == 2


class NarrowerQuerySet(models.QuerySet):
    """An old base, which knows fewer arguments than Django."""

    def bulk_create(self, objs, batch_size=None):
        return super().bulk_create(objs, batch_size)


class BothQuerySet(VersionedQuerySet, NarrowerQuerySet):
    pass


@pytest.mark.parametrize("batch_size", [(), (2,)])
def test_what_nobody_gave_is_not_passed_on(batch_size):
    created = BothQuerySet(Account).bulk_create([Account(), Account()], *batch_size)
    assert len(created) == Account.objects.count() == 2


def test_copy_of_a_loaded_object_is_its_own_row():
    account = Account.objects.get(pk=AccountFactory(owner="ann").pk)
    account.pk = None
    Account.objects.bulk_create([account])
    if account.pk is None:
        pytest.skip("this database doesn't tell the keys")
    account.owner = "bob"
    account.save()
    owners = Account.objects.order_by("pk").values_list("owner", flat=True)
    assert list(owners) == ["ann", "bob"]


LAST = 2**63 - 1


@pytest.fixture
def exhausted():
    account = AccountFactory()
    Account.objects.update(version=LAST)
    account.refresh_from_db()
    return account


@pytest.mark.parametrize(
    "write",
    [
        lambda account: account.save(),
        lambda account: account.save(update_fields=["owner"]),
        lambda account: account.touch(),
        lambda account: Account.objects.bulk_update([account], ["owner"]),
        lambda account: Account.objects.update(owner="x"),
        lambda account: account.save_base(raw=True),
    ],
    ids=["save", "update_fields", "touch", "bulk_update", "update", "raw"],
)
def test_last_number_is_not_gone_beyond(exhausted, write):
    with pytest.raises(DatabaseError), transaction.atomic():
        write(exhausted)
    assert versions(Account) == [LAST]
    assert exhausted.version == LAST


def test_last_number_is_told_with_what_to_do(exhausted):
    with pytest.raises(DataError, match=r"the last number.*update\(version=1\)"):
        exhausted.save()


def test_number_before_the_last_is_an_ordinary_one(exhausted):
    Account.objects.update(version=LAST - 1)
    Account.objects.update(owner="x")
    assert versions(Account) == [LAST]


def test_claim_of_a_delete_is_refused_beyond_the_last_number():
    author = BookFactory().author
    Author.objects.update(version=LAST)
    author.refresh_from_db()
    with pytest.raises(DataError), transaction.atomic():
        author.delete()
    assert Book.objects.exists()
