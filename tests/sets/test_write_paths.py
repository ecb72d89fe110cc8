"""Every way Django knows to write a row: is it checked, is the version bumped?

These are the cells of the table in docs/writing.md; the last test compares them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core import serializers
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.migrations.state import ProjectState
from testapp.models import (
    Article,
    BasedPage,
    FieldAlone,
    FiledPage,
    Folder,
    GuardedPage,
    Place,
    Sticker,
)

from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

UPSERT = {"update_conflicts": True, "update_fields": ["text"]}
if connection.features.supports_update_conflicts_with_target:
    UPSERT["unique_fields"] = ["slug"]


# Each gets the page, perhaps a stale one, and writes "new" into its row.


def save(page):
    page.text = "new"
    page.save()


def save_update_fields(page):
    page.text = "new"
    page.save(update_fields=["text"])


def save_force_update(page):
    page.text = "new"
    page.save(force_update=True)


def save_merging(page):
    page.text = "new"
    page.save(on_conflict="merge")


def delete(page):
    page.delete()


def queryset_delete(page):
    type(page).objects.filter(pk=page.pk).delete()


def touch(page):
    page.touch()


def update(page):
    type(page).objects.filter(pk=page.pk).update(text="new")


def update_with_a_version(page):
    type(page).objects.filter(pk=page.pk).update(text="new", version=2)


def bulk_update(page):
    page.text = "new"
    type(page).objects.bulk_update([page], ["text"])


def unversioned_update(page):
    models.QuerySet(type(page)).filter(pk=page.pk).update(text="new")


def unversioned_bulk_update(page):
    page.text = "new"
    models.QuerySet(type(page)).bulk_update([page], ["text"])


def update_or_create(page):
    type(page).objects.update_or_create(pk=page.pk, defaults={"text": "new"})


def get_or_create(page):
    type(page).objects.get_or_create(pk=page.pk, defaults={"text": "new"})


def bulk_create(page):
    type(page).objects.bulk_create([type(page)(slug="another")])


def bulk_create_update_conflicts(page):
    type(page).objects.bulk_create([type(page)(slug=page.slug, text="new")], **UPSERT)


def bulk_create_ignore_conflicts(page):
    type(page).objects.bulk_create(
        [type(page)(slug=page.slug, text="new")], ignore_conflicts=True
    )


def manager_of(page, folder):
    return getattr(folder, f"{type(page).__name__.lower()}s")


def related_add(page):
    manager_of(page, Folder.objects.create()).add(page)


def related_add_saving(page):
    manager_of(page, Folder.objects.create()).add(page, bulk=False)


def related_set(page):
    manager_of(page, Folder.objects.create()).set([page])


def related_remove(page):
    manager_of(page, page.folder).remove(page)


def related_clear(page):
    manager_of(page, page.folder).clear()


def many_to_many_add(page):
    page.stickers.add(Sticker.objects.create())


def many_to_many_set(page):
    page.stickers.set([Sticker.objects.create()])


def many_to_many_remove(page):
    page.stickers.remove(*page.stickers.all())


def many_to_many_clear(page):
    page.stickers.clear()


def on_delete_set_null(page):
    page.folder.delete()


def on_delete_set_default(page):
    page.shelf.delete()


def on_delete_db_set_null(page):
    page.box.delete()


def base_manager(page):
    type(page)._base_manager.filter(pk=page.pk).update(text="new")


def raw_sql(page):
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(page._meta.db_table)} SET text = 'new' WHERE id = %s",
            [page.pk],
        )


def fixture(page):
    page.text = "new"
    (found,) = serializers.deserialize("json", serializers.serialize("json", [page]))
    found.save()


@cache
def historical_model(label):
    return ProjectState.from_apps(apps).apps.get_model(label)


def in_a_migration(page):
    """Return the page as the code of a migration would have it."""
    model = historical_model(page._meta.label)
    fields = [field.attname for field in page._meta.concrete_fields]
    values = [getattr(page, name) for name in fields]
    return model.from_db("default", fields, values)


def historical_save(page):
    save(in_a_migration(page))


def historical_update(page):
    update(in_a_migration(page))


def historical_bulk_update(page):
    bulk_update(in_a_migration(page))


def historical_delete(page):
    delete(in_a_migration(page))


YES, NO, DELETED = "yes", "no", "deleted"
#: path: (checks, bumps the version, bumps it with the trigger)
PATHS = {
    save: (YES, YES, YES),
    save_update_fields: (YES, YES, YES),
    save_force_update: (YES, YES, YES),
    save_merging: ("merges", YES, YES),
    delete: (YES, DELETED, DELETED),
    queryset_delete: (NO, DELETED, DELETED),
    touch: (YES, YES, YES),
    update: (NO, YES, YES),
    update_with_a_version: (NO, YES, YES),
    bulk_update: (YES, YES, YES),
    unversioned_update: (NO, NO, YES),
    unversioned_bulk_update: (NO, NO, YES),
    update_or_create: (NO, YES, YES),
    get_or_create: (NO, NO, NO),
    bulk_create: (NO, NO, NO),
    bulk_create_update_conflicts: (NO, YES, YES),
    bulk_create_ignore_conflicts: (NO, NO, NO),
    related_add: (NO, NO, YES),
    related_add_saving: (YES, YES, YES),
    related_set: (NO, NO, YES),
    related_remove: (NO, YES, YES),
    related_clear: (NO, YES, YES),
    many_to_many_add: (NO, NO, NO),
    many_to_many_set: (NO, NO, NO),
    many_to_many_remove: (NO, NO, NO),
    many_to_many_clear: (NO, NO, NO),
    on_delete_set_null: (NO, NO, YES),
    on_delete_set_default: (NO, NO, YES),
    # MySQL's and MariaDB's own foreign key actions don't run triggers.
    on_delete_db_set_null: (NO, NO, NO if connection.vendor == "mysql" else YES),
    base_manager: (NO, NO, YES),
    raw_sql: (NO, NO, YES),
    fixture: (NO, YES, YES),
    historical_save: (YES, YES, YES),
    historical_update: (NO, YES, YES),
    historical_bulk_update: (YES, YES, YES),
    historical_delete: (NO, DELETED, DELETED),
}


# Of fields that the version excludes, with which no trigger can be.


def excluded_save(article):
    article.views = 1
    article.save(update_fields=["views"])


def excluded_update(article):
    Article.objects.update(views=1)


def excluded_bulk_update(article):
    article.views = 1
    Article.objects.bulk_update([article], ["views"])


EXCLUDED = [excluded_save, excluded_update, excluded_bulk_update]
MODELS = pytest.mark.parametrize("model", [FiledPage, GuardedPage])
EVERY_PATH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)


def make(model, path):
    folders = {"folder": Folder.objects.create(), "shelf": Folder.objects.create()}
    if hasattr(models, "DB_SET_NULL"):
        folders["box"] = Folder.objects.create()
    elif path is on_delete_db_set_null:
        pytest.skip("DB_SET_NULL came with Django 6.1.")
    page = model.objects.create(**folders)
    page.stickers.add(Sticker.objects.create())
    return page


@MODELS
@EVERY_PATH
def test_whether_the_version_is_bumped(path, model):
    page = make(model, path)
    expected = PATHS[path][1 if model is FiledPage else 2]
    found = model.objects.filter(pk=page.pk).values_list("version", flat=True)
    path(page)
    assert list(found) == {YES: [2], NO: [1], DELETED: []}[expected]


@MODELS
@EVERY_PATH
def test_whether_a_stale_instance_is_refused(path, model):
    page = make(model, path)
    model.objects.update(version=5)
    if PATHS[path][0] == YES:
        with pytest.raises(RecordModifiedError), transaction.atomic():
            path(page)
        assert model.objects.values_list("text", "version").get() == ("old", 5)
    else:
        path(page)
    if PATHS[path][0] == "merges":
        assert model.objects.values_list("text", "version").get() == ("new", 6)


@pytest.mark.parametrize("path", EXCLUDED)
def test_a_write_of_excluded_fields_is_neither_checked_nor_bumps(path):
    article = Article.objects.create()
    Article.objects.update(version=5)
    path(article)
    assert Article.objects.values_list("views", "version").get() == (1, 5)


async def asave(page):
    page.text = "new"
    await page.asave()


async def adelete(page):
    await page.adelete()


async def atouch(page):
    await page.atouch()


async def aupdate(page):
    await type(page).objects.filter(pk=page.pk).aupdate(text="new")


async def abulk_update(page):
    page.text = "new"
    await type(page).objects.abulk_update([page], ["text"])


@pytest.mark.parametrize("twin", [asave, adelete, atouch, aupdate, abulk_update])
def test_an_async_twin_does_the_same(twin):
    checks, bumps, _ = PATHS[globals()[twin.__name__[1:]]]
    page = make(FiledPage, twin)
    path = async_to_sync(twin)
    path(page)
    versions = list(FiledPage.objects.values_list("version", flat=True))
    assert versions == {YES: [2], DELETED: []}[bumps]
    FiledPage.objects.all().delete()
    page = make(FiledPage, twin)
    FiledPage.objects.update(version=5)
    if checks == YES:
        with pytest.raises(RecordModifiedError):
            path(page)


@MODELS
@pytest.mark.parametrize(
    "path", [save, save_update_fields, touch, bulk_update, related_add_saving]
)
def test_the_version_in_memory_is_that_of_the_row(path, model):
    page = make(model, path)
    path(page)
    assert page.version == model.objects.get().version == 2


def loaddata(instance, tmp_path, **fields):
    """Load a fixture of the instance with these fields, as the command does."""
    out = StringIO()
    call_command("dumpdata", instance._meta.label, stdout=out)
    rows = [row for row in json.loads(out.getvalue()) if row["pk"] == instance.pk]
    rows[0]["fields"] |= fields
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    call_command("loaddata", file, verbosity=0)


def deserialized(instance, tmp_path, **fields):
    for name, value in fields.items():
        setattr(instance, name, value)
    (found,) = serializers.deserialize(
        "json", serializers.serialize("json", [instance])
    )
    found.save()


def save_base(instance, tmp_path, **fields):
    again = type(instance)(pk=instance.pk, **fields)
    again.save_base(raw=True)


RAW = pytest.mark.parametrize("write", [loaddata, deserialized, save_base])
LOCKED = pytest.mark.parametrize("model", [FiledPage, GuardedPage, FieldAlone, Place])


def title(model):
    return {FieldAlone: "name", Place: "name"}.get(model, "text")


@RAW
@LOCKED
def test_an_old_number_that_is_brought_back_lets_no_old_holder_pass(
    model, write, tmp_path
):
    name = title(model)
    row = model.objects.create(**{name: "first"})
    row.save()
    holder = model.objects.get(pk=row.pk)  # at 2
    setattr(holder, name, "the holder's")
    model.objects.get(pk=row.pk).save()
    write(model.objects.get(pk=row.pk), tmp_path, **{name: "fixture", "version": 1})
    assert model.objects.values_list(name, "version").get() == ("fixture", 4)
    model.objects.get().save()
    with pytest.raises(RecordModifiedError):
        holder.save()
    assert model.objects.values_list(name, "version").get() == ("fixture", 5)


@RAW
@LOCKED
def test_a_fixture_can_be_loaded_again_and_again(model, write, tmp_path):
    row = model.objects.create()
    for version in (2, 3, 4):
        write(row, tmp_path, **{title(model): "fixture", "version": 1})
        found = model.objects.values_list(title(model), "version").get()
        assert found == ("fixture", version)


@LOCKED
def test_a_raw_insert_stores_its_number(model):
    for version in (7, 0):
        model(pk=5, version=version).save_base(raw=True)
        assert model.objects.values_list("version").get() == (version,)
        model.objects.all().delete()


@pytest.mark.parametrize("given", [1, 2, 3, 7])
@LOCKED
def test_the_number_is_known_after_a_raw_save(model, given):
    row = model.objects.create()
    model.objects.get().save()
    row.version = given
    row.save_base(raw=True)
    assert row.version == model.objects.get().version == max(given, 3)
    row.save()
    assert row.version == model.objects.get().version == max(given, 3) + 1


def test_the_number_of_a_raw_save_that_is_rolled_back_goes_back():
    row = FiledPage.objects.create()
    with transaction.atomic():
        row.save_base(raw=True)
        assert row.version == 2
        transaction.set_rollback(True)
    assert row.version == 1
    row.save()


def test_a_raw_save_asks_for_its_number_once(django_assert_num_queries):
    row = FiledPage.objects.create()
    with django_assert_num_queries(2) as queries:
        row.save_base(raw=True)
    assert queries[0]["sql"].startswith("UPDATE")


@MODELS
def test_loading_a_fixture_stores_its_version(model, tmp_path):
    make(model, fixture)
    out = StringIO()
    call_command("dumpdata", model._meta.label, stdout=out)
    (row,) = json.loads(out.getvalue())
    row["fields"] |= {"version": 7, "text": "new"}
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([row]))
    call_command("loaddata", file, verbosity=0)
    assert model.objects.values_list("text", "version").get() == ("new", 7)


def test_the_table_in_the_documentation_says_the_same():
    page = Path(__file__).parents[2] / "docs" / "writing.md"
    documented = {}
    for line in page.read_text().splitlines():
        if row := re.fullmatch(r"\| .*<!-- (\w+) --> \| (.+) \| (.+) \| (.+) \|", line):
            documented[row[1]] = row.groups()[1:]
    cells = {path.__name__: PATHS[path] for path in PATHS}
    cells["on_delete_db_set_null"] = (NO, NO, YES)  # the page names the exceptions
    cells |= {path.__name__: (NO, NO, "n/a") for path in EXCLUDED}
    cells["versioned_base_manager"] = (NO, YES, YES)
    assert documented == cells


@pytest.mark.parametrize(
    "path", [related_add, related_set, on_delete_set_null, base_manager]
)
def test_a_versioned_base_manager_bumps_the_version(path):
    page = make(BasedPage, path)
    path(page)
    assert BasedPage.objects.get().version == 2
