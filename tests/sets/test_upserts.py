"""``bulk_create(update_conflicts=True)``: unchecked, but holders of a row learn it."""

from __future__ import annotations

from threading import Thread

import pytest
from asgiref.sync import async_to_sync
from django.db import (
    DatabaseError,
    IntegrityError,
    connection,
    connections,
    models,
    transaction,
)
from django.test.utils import CaptureQueriesContext
from testapp.models import Article, Computed, FiledPage, StringKey, Unlocked

from optilock import RecordModifiedError, VersionedQuerySet
from optilock.expressions import LAST_VERSION

pytestmark = pytest.mark.django_db


def upsert(objs, fields, unique="pk", **kwargs):
    if connection.features.supports_update_conflicts_with_target:
        kwargs["unique_fields"] = [unique]
    rows = type(objs[0]).objects
    return rows.bulk_create(objs, update_conflicts=True, update_fields=fields, **kwargs)


def versions(model):
    return list(model.objects.order_by("pk").values_list("version", flat=True))


@pytest.fixture
def row():
    return StringKey.objects.create(code="b", name="old")


def test_rows_that_are_there_are_bumped_and_others_begin_at_one(row):
    upsert([StringKey(code=code, name="new") for code in "abc"], ["name"])
    assert versions(StringKey) == [1, 2, 1]
    assert {*StringKey.objects.values_list("name", flat=True)} == {"new"}


def test_whoever_holds_a_row_is_told(row):
    upsert([StringKey(code="b", name="new")], ["name"])
    row.name = "mine"
    with pytest.raises(RecordModifiedError):
        row.save()
    assert StringKey.objects.get().name == "new"


def test_a_database_that_tells_nothing_as_mysql_bumps_as_well(row, monkeypatch):
    features = type(connection.features)
    monkeypatch.setattr(features, "can_return_rows_from_bulk_insert", False)
    given = [StringKey(code=code, name="new") for code in "ab"]
    upsert(given, ["name"])
    assert versions(StringKey) == [1, 2]
    row.name = "mine"
    with pytest.raises(RecordModifiedError):
        row.save()
    with pytest.raises(ValueError, match="load the object again"):
        given[1].save()  # nobody knows at which version its row is


def test_it_is_one_statement_in_which_the_database_counts(row):
    with CaptureQueriesContext(connection) as queries:
        upsert([StringKey(code=code, name="new") for code in "ab"], ["name"])
    (sql,) = [q["sql"] for q in queries if "INSERT" in q["sql"]]
    assert " + 1" in sql


def test_each_batch_bumps():
    for _ in range(2):
        upsert([StringKey(code=c, name="new") for c in "abcde"], ["name"], batch_size=2)
    assert versions(StringKey) == [2] * 5


def test_an_async_one_bumps(row):
    create = async_to_sync(StringKey.objects.all().abulk_create)
    target = {}
    if connection.features.supports_update_conflicts_with_target:
        target["unique_fields"] = ["code"]
    new = StringKey(code="b", name="new")
    create([new], update_conflicts=True, update_fields=["name"], **target)
    assert versions(StringKey) == [2]


@pytest.mark.parametrize("fields", [["version"], ["version", "name"]])
def test_the_version_among_the_fields_is_bumped_all_the_same(row, fields):
    StringKey.objects.update(version=5)
    upsert([StringKey(code="b", name="new", version=1)], fields)
    name = "new" if "name" in fields else "old"
    assert StringKey.objects.values_list("name", "version").get() == (name, 6)


def test_a_write_of_excluded_fields_alone_bumps_nothing():
    article = Article.objects.create(title="old")
    upsert([Article(pk=article.pk, title="new", views=7)], ["views"])
    found = Article.objects.values_list("title", "views", "version").get()
    assert found == ("old", 7, 1)
    upsert([Article(pk=article.pk, title="new", views=8)], ["views", "title"])
    assert versions(Article) == [2]


def test_behind_the_last_number_it_is_refused(row):
    StringKey.objects.update(version=LAST_VERSION)
    with pytest.raises(DatabaseError), transaction.atomic():
        upsert([StringKey(code="b", name="new")], ["name"])
    found = StringKey.objects.values_list("name", "version").get()
    assert found == ("old", LAST_VERSION)


def test_another_manager_on_the_same_connection_is_left_alone(row):
    upsert([StringKey(code="b", name="new")], ["name"])
    kwargs = {"update_conflicts": True, "update_fields": ["name"]}
    if connection.features.supports_update_conflicts_with_target:
        kwargs["unique_fields"] = ["code"]
    new = StringKey(code="b", name="newer")
    models.QuerySet(StringKey).bulk_create([new], **kwargs)
    assert versions(StringKey) == [2]


def test_without_a_version_it_is_djangos():
    row = Unlocked.objects.create(name="old")
    kwargs = {"update_conflicts": True, "update_fields": ["name"]}
    if connection.features.supports_update_conflicts_with_target:
        kwargs["unique_fields"] = ["pk"]
    VersionedQuerySet(Unlocked).bulk_create([Unlocked(pk=row.pk, name="new")], **kwargs)
    assert Unlocked.objects.get().name == "new"


def test_a_django_that_makes_it_otherwise_is_noticed(row, monkeypatch):
    make = type(connection.ops).on_conflict_suffix_sql
    upsert([StringKey(code="b", name="new")], ["name"])
    monkeypatch.setattr(
        connection.ops, "on_conflict_suffix_sql", make.__get__(connection.ops)
    )
    monkeypatch.setattr("optilock.upserts._watch", lambda ops: None)
    with pytest.raises(RuntimeError, match="newer optilock"), transaction.atomic():
        upsert([StringKey(code="b", name="newer")], ["name"])
    assert StringKey.objects.values_list("name", "version").get() == ("new", 2)


# What an object knows of its row afterwards


def test_an_object_all_of_whose_fields_were_written_can_be_saved(row):
    StringKey.objects.update(version=7)
    new = [StringKey(code=code, name="new") for code in "ab"]
    upsert(new, ["name"])
    assert [one.version for one in new] == [1, 8]
    for one in new:
        one.name = "newer"
        one.save()
    assert versions(StringKey) == [2, 9]


def test_it_can_be_saved_if_the_database_makes_the_key():
    old = FiledPage.objects.create(slug="a", text="old")
    fields = [
        field.name
        for field in FiledPage._meta.local_concrete_fields
        if field.name not in ("id", "version", "slug")
    ]
    if not connection.features.supports_update_conflicts_with_target:
        fields.append("slug")
    new = [FiledPage(slug=slug, text="new") for slug in "ab"]
    upsert(new, fields, "slug")
    assert [one.version for one in new] == [2, 1]
    assert new[0].pk == old.pk
    new[0].save()
    assert versions(FiledPage) == [3, 1]


def test_it_is_stale_once_somebody_else_writes(row):
    new = StringKey(code="b", name="new")
    upsert([new], ["name"])
    StringKey.objects.update(name="theirs")
    with pytest.raises(RecordModifiedError):
        new.save()
    assert StringKey.objects.get().name == "theirs"


def test_an_object_some_of_whose_fields_were_not_written_has_to_be_loaded():
    FiledPage.objects.create(slug="a", text="old", number=5)
    new = FiledPage(slug="a", text="new")
    upsert([new], ["text"], "slug")
    new.pk = FiledPage.objects.get().pk
    new._state.adding = False
    with pytest.raises(ValueError, match="load"), transaction.atomic():
        new.save()
    assert FiledPage.objects.values_list("text", "number").get() == ("new", 5)


def test_an_object_under_another_key_than_the_row_has_to_be_loaded():
    old = FiledPage.objects.create(slug="a", text="old")
    new = FiledPage(slug="a", text="new", pk=old.pk + 1)
    fields = [
        field.name
        for field in FiledPage._meta.local_concrete_fields
        if field.name not in ("id", "version")
    ]
    upsert([new], fields, "slug")
    assert FiledPage.objects.values_list("text", "version").get() == ("new", 2)
    with pytest.raises(ValueError, match="load"), transaction.atomic():
        new.save()


def test_a_loaded_object_that_was_current_stays_so():
    FiledPage.objects.create(slug="a", text="old", number=5)
    page = FiledPage.objects.get()
    page.text = "new"
    upsert([page], ["text"])
    assert page.version == 2
    assert page.changed_fields() == []
    page.save()
    assert FiledPage.objects.values_list("text", "number").get() == ("new", 5)


def test_a_loaded_object_that_was_stale_stays_so():
    FiledPage.objects.create(slug="a", text="old", number=5)
    page = FiledPage.objects.get()
    FiledPage.objects.update(number=6)
    page.text = "new"
    upsert([page], ["text"])
    with pytest.raises(RecordModifiedError):
        page.save()
    assert FiledPage.objects.values_list("text", "number").get() == ("new", 6)


@pytest.mark.django_db(databases=["default", "other"])
def test_an_object_of_another_database_has_to_be_loaded():
    FiledPage.objects.create(slug="a", text="mine", number=5)
    page = FiledPage.objects.get()
    FiledPage.objects.using("other").create(pk=page.pk, slug="a", number=6)
    page.text = "new"
    pages = FiledPage.objects.using("other")
    on_target = connection.features.supports_update_conflicts_with_target
    unique = {"unique_fields": ["id"]} if on_target else {}
    pages.bulk_create([page], update_conflicts=True, update_fields=["text"], **unique)
    with pytest.raises(ValueError, match="load"), transaction.atomic("other"):
        page.save(using="other")
    assert pages.values_list("text", "number", "version").get() == ("new", 6, 2)


class PrimaryRouter:
    """Objects are read from one database, and written to the other."""

    def db_for_write(self, model, **hints):
        return "other"


@pytest.mark.django_db(databases=["default", "other"])
def test_an_object_of_a_replica_that_was_current_stays_so(settings):
    settings.DATABASE_ROUTERS = [PrimaryRouter()]
    page = FiledPage.objects.create(slug="a", text="mine")
    page._state.db = "default"
    upsert([page], ["text"])
    assert page.version == 2
    page.save()


def test_a_loaded_object_whose_row_was_deleted_has_to_be_loaded():
    FiledPage.objects.create(slug="a", text="old", version=2)
    page = FiledPage.objects.get()
    FiledPage.objects.all().delete()
    upsert([page], ["text"])
    assert versions(FiledPage) == [2]
    with pytest.raises(ValueError, match="load"), transaction.atomic():
        page.save()


def test_what_the_database_computes_is_not_believed_to_be_known(row):
    computed = Computed.objects.create(name="old", colour="red")
    found = Computed.objects.get()
    found.name = "new"
    upsert([found], ["name", "colour"])
    found.save()
    computed.refresh_from_db()
    assert (computed.shout, computed.version) == ("NEW", 3)


def test_after_a_rollback_an_object_holds_what_it_held():
    FiledPage.objects.create(slug="a")
    page, new = FiledPage.objects.get(), FiledPage(slug="b", text="new")
    with transaction.atomic():
        upsert([page], ["text"])
        upsert([new], ["text"], "slug")
        transaction.set_rollback(True)
    assert page.version == 1
    assert new._state.adding
    page.save()
    new.pk = None
    new.save()
    assert versions(FiledPage) == [2, 1]


def test_a_failure_leaves_the_objects_as_they_were(row):
    row.version = 5
    new = [row, StringKey(code="c", name=None)]
    with pytest.raises(IntegrityError), transaction.atomic():
        upsert(new, ["name"], batch_size=1)
    assert [one.version for one in new] == [5, 1]
    assert new[1]._state.adding


# Together with others


@pytest.mark.django_db(transaction=True)
def test_no_bump_is_lost_between_threads():
    errors = []

    def work():
        try:
            for _ in range(20):
                upsert([StringKey(code="a", name="new")], ["name"])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    upsert([StringKey(code="a", name="new")], ["name"])
    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert versions(StringKey) == [81]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_update_or_create_bumps(row, create, is_async):
    write = StringKey.objects.update_or_create
    if is_async:
        write = async_to_sync(StringKey.objects.all().aupdate_or_create)
    found, created = write(code="a" if create else "b", defaults={"name": "new"})
    assert (created, found.version) == (create, 1 if create else 2)
    found.save()
    if not create:
        with pytest.raises(RecordModifiedError):
            row.save()


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="the trigger is written for SQLite"
)
def test_where_a_trigger_leaves_rows_out_the_objects_have_to_be_loaded():
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER leave_out BEFORE INSERT ON testapp_stringkey "
            "WHEN NEW.code = 'a' BEGIN SELECT RAISE(IGNORE); END"
        )
    objs = [StringKey(code=code, name="new") for code in "ab"]
    upsert(objs, ["name"])
    assert versions(StringKey) == [1]
    assert ["version" in obj.get_deferred_fields() for obj in objs] == [True, True]
