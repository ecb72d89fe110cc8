"""A package's base class, or mixin, in front of ``VersionedModel`` and behind it."""

from __future__ import annotations

import copy
import pickle

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.migrations.state import ModelState
from django.test.utils import CaptureQueriesContext

from contracts.packages import CHOSEN, NAME
from optilock import RecordDeletedError, RecordModifiedError, VersionedQuerySet
from optilock.checks import check_versioned_models

pytestmark = pytest.mark.django_db

if not CHOSEN or "test_bases" not in CHOSEN.own:
    pytest.skip("about base classes", allow_module_level=True)

from contracts.models import MODELS  # noqa: E402 -- only where there are any

BOTH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)

#: Checks that say something true.
KNOWN = {}


@pytest.fixture
def pair(model):
    """Two instances of one row."""
    row = model.objects.create(name="old")
    return model.objects.get(pk=row.pk), model.objects.get(pk=row.pk)


def stored(model):
    return model.objects.values_list("name", "note", "version").get()


@BOTH
def test_a_stale_instance_overwrites_nothing(model, pair):
    mine, theirs = pair
    theirs.name = "theirs"
    theirs.save()
    assert theirs.version == 2
    mine.name = "mine"
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.save()
    assert (mine.name, mine.version) == ("mine", 1)
    assert stored(model)[0] == "theirs"
    mine.refresh_from_db()
    mine.name = "mine"
    mine.save()
    assert (stored(model)[0], stored(model)[2]) == ("mine", 3)


@BOTH
def test_a_save_is_one_update_of_the_row(model, pair):
    mine, _ = pair
    mine.note = "new"
    with CaptureQueriesContext(connection) as queries:
        mine.save()
    table = connection.ops.quote_name(model._meta.db_table)
    assert [q["sql"].startswith(f"UPDATE {table}") for q in queries].count(True) == 1
    mine.note = "newer"
    mine.save(update_fields=["note"])
    assert stored(model) == ("old", "newer", 3)


@BOTH
def test_what_does_not_overlap_is_merged(model, pair):
    mine, theirs = pair
    theirs.note = "theirs"
    theirs.save()
    mine.name = "old"
    mine.save(on_conflict="merge")
    assert stored(model) == ("old", "theirs", 3)


@BOTH
def test_a_stale_instance_deletes_nothing(model, pair):
    mine, theirs = pair
    theirs.save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        mine.delete()
    assert model.objects.count() == 1
    theirs.delete()
    assert model.objects.count() == 0


@BOTH
def test_an_instance_whose_row_is_deleted_inserts_nothing(model, pair):
    mine, theirs = pair
    model.objects.filter(pk=theirs.pk)._raw_delete("default")
    with pytest.raises(RecordDeletedError), transaction.atomic():
        mine.save()
    assert model.objects.count() == 0


@BOTH
def test_the_managers_bump_and_check(model, pair):
    mine, _ = pair
    for manager in model._meta.managers:
        assert isinstance(manager.all(), VersionedQuerySet)
    model.objects.filter(pk=mine.pk).update(note="theirs")
    assert stored(model) == ("old", "theirs", 2)
    mine.note = "mine"
    with pytest.raises(RecordModifiedError):
        model.objects.bulk_update([mine], ["note"])
    assert stored(model) == ("old", "theirs", 2)


@BOTH
@pytest.mark.skipif(
    NAME == "polymorphic", reason="its bulk_create() drops update_conflicts"
)
def test_an_upsert_bumps(model, pair):
    mine, theirs = pair
    target = {}
    if connection.features.supports_update_conflicts_with_target:
        target["unique_fields"] = ["pk"]
    mine.note = "new"
    model.objects.bulk_create(
        [mine], update_conflicts=True, update_fields=["note"], **target
    )
    assert stored(model) == ("old", "new", 2)
    with pytest.raises(RecordModifiedError), transaction.atomic():
        theirs.save()


@BOTH
def test_a_rolled_back_save_can_be_repeated(model, pair):
    mine, _ = pair
    with transaction.atomic():
        mine.note = "new"
        mine.save()
        transaction.set_rollback(True)
    assert mine.version == 1
    mine.save()
    assert stored(model)[2] == 2


@BOTH
def test_copies_keep_their_number(model, pair):
    mine, theirs = pair
    again = pickle.loads(pickle.dumps(mine))  # noqa: S301 -- it is our own
    copied = copy.deepcopy(mine)
    theirs.save()
    for one in (again, copied):
        with pytest.raises(RecordModifiedError), transaction.atomic():
            one.save()


def test_the_checks_have_nothing_to_say():
    config = apps.get_app_config("contracts")
    messages = check_versioned_models(app_configs=[config])
    assert [message.id for message in messages] == KNOWN.get(NAME, [])


@BOTH
def test_migrations_have_a_versioned_manager(model):
    managers = dict(ModelState.from_model(model).managers)
    assert managers["objects"].deconstruct()[1].startswith("optilock.")
