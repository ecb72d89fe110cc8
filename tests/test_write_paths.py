"""Every way Django knows to write a row: is it checked, is the version raised?

These are the cells of the table in docs/writing.md; the last test compares them.
"""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import NotSupportedError, connection, models, transaction
from testapp.models import BasedPage, FiledPage, Folder, GuardedPage, Sticker

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


def update_or_create(page):
    type(page).objects.update_or_create(pk=page.pk, defaults={"text": "new"})


def get_or_create(page):
    type(page).objects.get_or_create(pk=page.pk, defaults={"text": "new"})


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


YES, NO = "yes", "no"
REFUSED = "refused"
#: path: (checks, raises the version, raises it with the trigger)
PATHS = {
    save: (YES, YES, YES),
    save_update_fields: (YES, YES, YES),
    save_force_update: (YES, YES, YES),
    delete: (YES, "gone", "gone"),
    queryset_delete: (NO, "gone", "gone"),
    touch: (YES, YES, YES),
    update: (NO, YES, YES),
    update_with_a_version: (NO, YES, YES),
    bulk_update: (YES, YES, YES),
    update_or_create: (NO, YES, YES),
    get_or_create: (NO, NO, NO),
    bulk_create_update_conflicts: (NO, REFUSED, YES),
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
    # A fixture's number is stored as it is; here it is the row's own.
    fixture: (NO, NO, YES),
}
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
def test_whether_the_version_is_raised(path, model):
    page = make(model, path)
    expected = PATHS[path][1 if model is FiledPage else 2]
    if expected == REFUSED:
        with pytest.raises(NotSupportedError, match="VersionTrigger"):
            path(page)
    else:
        path(page)
    found = model.objects.values_list("version", flat=True)
    assert list(found) == {YES: [2], NO: [1], REFUSED: [1], "gone": []}[expected]


@MODELS
@EVERY_PATH
def test_whether_a_stale_instance_is_refused(path, model):
    page = make(model, path)
    model.objects.update(version=5)
    if PATHS[path][0] == YES:
        with pytest.raises(RecordModifiedError), transaction.atomic():
            path(page)
        assert model.objects.values_list("text", "version").get() == ("old", 5)
    elif not (PATHS[path][1] == REFUSED and model is FiledPage):
        path(page)


@MODELS
@pytest.mark.parametrize(
    "path", [save, save_update_fields, touch, bulk_update, related_add_saving]
)
def test_the_version_in_memory_is_that_of_the_row(path, model):
    page = make(model, path)
    path(page)
    assert page.version == model.objects.get().version == 2


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
    page = Path(__file__).parents[1] / "docs" / "writing.md"
    documented = {}
    for line in page.read_text().splitlines():
        if row := re.fullmatch(r"\| .*<!-- (\w+) --> \| (.+) \| (.+) \| (.+) \|", line):
            documented[row[1]] = row.groups()[1:]
    assert documented == {
        path.__name__: (*cells[:2], YES) if path is on_delete_db_set_null else cells
        for path, cells in PATHS.items()
    }


@pytest.mark.parametrize(
    "path", [related_add, related_set, on_delete_set_null, base_manager]
)
def test_a_versioned_base_manager_raises_the_version(path):
    page = make(BasedPage, path)
    path(page)
    assert BasedPage.objects.get().version == 2
