"""System checks: each id, and that good models are left in peace."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps
from testapp import models as testapp

from optilock import IntegerVersionField, VersionedManager, VersionedModel
from optilock.checks import check_versioned_models


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    # A class belongs to the app its module is in.
    monkeypatch.setitem(globals(), "__name__", "testapp.declared_in_a_test")
    with isolate_apps("testapp"):
        yield


def found(*classes):
    """The ids of what is wrong with these classes, by way of all the checks."""
    configs = [classes[0]._meta.apps.get_app_config("testapp")]
    messages = check_versioned_models(app_configs=configs)
    for model in classes:
        messages += [m for f in model._meta.local_fields for m in f.check()]
    return [m for m in messages if m.id.startswith("optilock.")]


def ids(*classes):
    return [message.id for message in found(*classes)]


def test_good_models_are_left_in_peace():
    class Base(VersionedModel):
        parent = models.ForeignKey("self", models.CASCADE)
        friend = models.ForeignKey("self", models.PROTECT, related_name="+")
        boss = models.ForeignKey("self", models.RESTRICT, related_name="+")
        other = models.ForeignKey("self", models.DO_NOTHING, related_name="+")

    class Child(Base):
        pass

    class Proxy(Child):
        class Meta:
            proxy = True

    class Renamed(models.Model):
        lock = IntegerVersionField("Lock", db_column="the lock", default=0)
        objects = VersionedManager()

    class Unlocked(models.Model):
        parent = models.ForeignKey("self", models.SET_NULL, null=True)

    assert found(Base, Child, Proxy, Renamed, Unlocked) == []


@pytest.mark.django_db(databases=["default", "other"])
def test_checks_are_registered():
    # Some of the suite's own models have a hole on purpose.
    wrong = {(message.id, message.obj) for message in checks.run_checks()}
    assert ("optilock.W001", testapp.ConcurrentModel) in wrong
    assert ("optilock.W003", testapp.NamedPlace) in wrong


@pytest.mark.parametrize(
    ("option", "id"),
    [
        ({"null": True}, "optilock.E001"),
        ({"unique": True}, "optilock.E002"),
        ({"primary_key": True}, "optilock.E003"),
    ],
)
def test_wrong_option(option, id):
    class Model(models.Model):
        version = IntegerVersionField(**option)
        objects = VersionedManager()

    [message] = found(Model)
    assert (message.id, message.obj) == (id, Model._meta.get_field("version"))
    assert "IntegerVersionField()" in message.hint


def test_version_in_a_composite_key():
    class Model(models.Model):
        pk = models.CompositePrimaryKey("number", "version")
        number = models.IntegerField()
        version = IntegerVersionField()
        objects = VersionedManager()

    assert ids(Model) == ["optilock.E003"]


def test_two_version_fields():
    class Model(VersionedModel):
        lock = IntegerVersionField()

    [message] = found(Model)
    assert isinstance(message, checks.Error)
    assert (message.id, message.obj) == ("optilock.E004", Model)
    assert "testapp.Model.version, testapp.Model.lock" in message.msg


def test_two_version_fields_along_a_chain():
    class Root(VersionedModel):
        pass

    class Child(Root):
        lock = IntegerVersionField()

    [message] = found(Root, Child)
    assert (message.id, message.obj) == ("optilock.E004", Child)


def test_version_on_a_child():
    class Root(models.Model):
        pass

    class Child(Root):
        version = IntegerVersionField()
        objects = VersionedManager()

    [message] = found(Root, Child)
    assert isinstance(message, checks.Error)
    assert (message.id, message.obj) == ("optilock.E005", Child)
    assert message.hint == "Move the version field to testapp.Root."


@pytest.mark.parametrize("replacement", [None, models.CharField(max_length=9)])
def test_versioned_model_that_replaced_its_version(replacement):
    class Model(VersionedModel):
        version = replacement

    [message] = found(Model)
    assert isinstance(message, checks.Error)
    assert (message.id, message.obj) == ("optilock.E006", Model)


def test_managers_that_don_t_raise_the_version():
    class Model(VersionedModel):
        plain = models.Manager()
        good = VersionedManager()

    [message] = found(Model)
    assert isinstance(message, checks.Warning)
    assert (message.id, message.obj) == ("optilock.W001", Model)
    assert "testapp.Model.plain" in message.msg
    assert "plain = VersionedManager()" in message.hint


def test_field_alone_with_django_s_manager():
    class Model(models.Model):
        version = IntegerVersionField()

    assert ids(Model) == ["optilock.W001"]


def test_manager_built_from_a_plain_queryset():
    class Model(VersionedModel):
        objects = VersionedManager.from_queryset(models.QuerySet)()

    assert ids(Model) == ["optilock.W001"]


@pytest.mark.parametrize(
    "on_delete",
    [
        models.SET_NULL,
        models.SET_DEFAULT,
        models.SET(1),
        getattr(models, "DB_SET_NULL", models.SET_NULL),
    ],
)
def test_relation_that_changes_rows_when_its_target_goes(on_delete):
    class Target(models.Model):
        pass

    class Model(VersionedModel):
        target = models.ForeignKey(Target, on_delete, null=True, default=None)

    [message] = found(Target, Model)
    assert isinstance(message, checks.Warning)
    assert (message.id, message.obj) == (
        "optilock.W002",
        Model._meta.get_field("target"),
    )


def test_relation_the_database_cascades():
    cascade = getattr(models, "DB_CASCADE", None)
    if cascade is None:
        pytest.skip("DB_CASCADE came with Django 6.1")

    class Target(models.Model):
        pass

    class Model(VersionedModel):
        target = models.ForeignKey(Target, cascade)

    assert found(Target, Model) == []


def test_another_parent_without_a_version():
    class Versioned(VersionedModel):
        pass

    class Named(models.Model):
        key = models.BigAutoField(primary_key=True)

    class Child(Named, Versioned):
        objects = VersionedManager()

    class Grandchild(Child):
        pass

    [message] = found(Named, Versioned, Child, Grandchild)
    assert isinstance(message, checks.Warning)
    assert (message.id, message.obj) == ("optilock.W003", Child)
    assert "testapp.Named" in message.msg


def test_checks_look_at_the_apps_they_are_asked_for():
    config = apps.get_app_config("contenttypes")
    assert check_versioned_models(app_configs=[config]) == []
