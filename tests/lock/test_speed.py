"""The lock must not become slow again. Clocks are moody; calls are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from around import calls_of
from django.db import transaction
from django.db.models.sql.compiler import SQLUpdateCompiler
from testapp import models

import optilock


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
def test_lock_itself_calls_few_functions():
    codes = calls_of(saved(models.LockedByField).save)
    package = str(Path(optilock.__file__).parent)
    own = [code.co_name for code in codes if code.co_filename.startswith(package)]
    # A comprehension is called before Python 3.12 only.
    own = [name for name in own if name[0] != "<"]
    assert len(own) <= 23


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
