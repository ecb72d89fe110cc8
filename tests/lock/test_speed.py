"""The lock must not become slow again. Clocks are moody; calls are counted."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from around import calls_of
from django.apps.registry import Apps
from django.db import connection, transaction
from django.db.models import BigIntegerField, Model
from django.db.models.sql.compiler import SQLUpdateCompiler
from testapp import models

import optilock
from optilock import IntegerVersionField, VersionedModel


def saved(model, **options):
    """Return an instance that was loaded, and saved like this before."""
    instance = model.objects.get(pk=model.objects.create().pk)
    for _ in range(3):
        instance.save(**options)
    return instance


def inside_atomic(save):
    def saving():
        with transaction.atomic():
            save()

    return saving


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("unlocked", "locked", "options", "fewer"),
    [
        (models.UnlockedKinds, models.LockedByField, {}, 160),
        (models.UnlockedKinds, models.LockedByField, {"update_fields": ["text"]}, 90),
        (models.UnlockedWide, models.LockedWide, {}, 235),
        (models.UnlockedChild, models.LockedChild, {}, 115),
        (models.UnlockedKinds, models.LockedKinds, {}, 130),
    ],
    ids=["fourteen fields", "one field", "forty fields", "two tables", "remembering"],
)
@pytest.mark.parametrize("wrap", [lambda save: save, inside_atomic])
def test_locked_save_calls_fewer_functions_than_djangos(
    unlocked, locked, options, fewer, wrap
):
    # What is called for the fields and by the database's driver is called by both.
    plain, guarded = saved(unlocked, **options), saved(locked, **options)
    djangos = calls_of(wrap(lambda: plain.save(**options)))
    ours = calls_of(wrap(lambda: guarded.save(**options)))
    assert len(djangos) - len(ours) >= fewer


@pytest.mark.django_db
def test_another_packages_do_update_costs_at_most_a_half_more():
    plain, guarded = saved(models.UnlockedKinds), saved(models.OrdinaryKinds)
    assert len(calls_of(guarded.save)) <= 1.5 * len(calls_of(plain.save))


@pytest.mark.django_db
def test_loading_calls_no_more_functions_than_djangos():
    for model in (models.UnlockedKinds, models.LockedByField):
        model.objects.bulk_create(model() for _ in range(100))
    djangos = calls_of(lambda: list(models.UnlockedKinds.objects.all()))
    ours = calls_of(lambda: list(models.LockedByField.objects.all()))
    assert len(ours) <= 1.05 * len(djangos)


@pytest.mark.django_db
@pytest.mark.parametrize("locked", [models.LockedKinds, models.LockedByField])
@pytest.mark.parametrize(
    "insert",
    [
        lambda model: model.objects.create(),
        lambda model: model.objects.bulk_create([model()]),
        lambda model: model.objects.bulk_create(model() for _ in range(50)),
    ],
    ids=["create()", "bulk_create() of one", "bulk_create() of fifty"],
)
def test_inserting_calls_no_more_functions_than_djangos(locked, insert):
    for model in (models.UnlockedKinds, locked):
        insert(model)
    djangos = calls_of(lambda: insert(models.UnlockedKinds))
    ours = calls_of(lambda: insert(locked))
    # With the field alone bulk_create() is Django's, and the text of several rows is,
    # with the types of their columns, on PostgreSQL.
    is_djangos = connection.vendor == "postgresql"
    assert len(ours) <= (1.2 if is_djangos else 1.1) * len(djangos)


def objects_left_by(declare):
    """Return how many objects there are more for each model that is declared."""
    declare()
    gc.collect()
    before = len(gc.get_objects())
    declared = [declare() for _ in range(10)]
    gc.collect()
    return (len(gc.get_objects()) - before) / len(declared)


def test_declaring_a_model_leaves_few_objects_behind():
    """The garbage collector looks at all of them, and a migration declares many."""

    def declare(base, **fields):
        meta = type("Meta", (), {"app_label": "testapp", "apps": Apps()})
        members = {"__module__": __name__, "Meta": meta, **fields}
        return type(Model)("Declared", (base,), members)

    plain = objects_left_by(lambda: declare(Model, version=BigIntegerField()))
    alone = objects_left_by(lambda: declare(Model, version=IntegerVersionField()))
    whole = objects_left_by(lambda: declare(VersionedModel))
    assert max(alone, whole) <= plain + 45


@pytest.mark.django_db
def test_lock_itself_calls_few_functions():
    codes = calls_of(saved(models.LockedByField).save)
    package = str(Path(optilock.__file__).parent)
    own = [code.co_name for code in codes if code.co_filename.startswith(package)]
    # A comprehension is called before Python 3.12 only.
    own = [name for name in own if name[0] != "<"]
    assert len(own) <= 24


@pytest.mark.django_db
def test_second_save_compiles_nothing():
    instance = saved(models.LockedKinds)
    assert SQLUpdateCompiler.as_sql.__code__ not in calls_of(instance.save)


@pytest.mark.django_db
def test_other_columns_are_compiled_the_first_time():
    instance = saved(models.LockedKinds)
    calls = [
        calls_of(lambda: instance.save(update_fields=["day", "clock"]))
        for _ in range(2)
    ]
    compiled = [SQLUpdateCompiler.as_sql.__code__ in codes for codes in calls]
    assert compiled == [True, False]
