"""Managers of other bases, with a versioned queryset under them."""

from __future__ import annotations

import copy
import gc
import pickle
from weakref import ref

import pytest
from django.contrib.auth.models import UserManager
from django.db import models
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter
from django.db.models.signals import class_prepared
from django.test.utils import isolate_apps
from testapp.models import (
    Account,
    ArchivedFirst,
    ArchivedLast,
    ArchiveManager,
    ArchiveQuerySet,
    Article,
    Unlocked,
)

import optilock
from optilock import (
    IntegerVersionField,
    RecordModifiedError,
    VersionedManager,
    VersionedModel,
    VersionedQuerySet,
    versioned_manager,
)
from optilock.checks import check_versioned_models

pytestmark = pytest.mark.django_db

BOTH = pytest.mark.parametrize("model", [ArchivedFirst, ArchivedLast])


@BOTH
def test_the_rows_are_those_of_the_other_bases_manager(model):
    model.everything.create(name="archived", archived=True)
    model.objects.create(name="here")
    assert [row.name for row in model.objects.all()] == ["here"]
    assert model.objects.count() == 1
    assert model.everything.count() == 2
    assert isinstance(model.objects, ArchiveManager)
    assert isinstance(model.objects.all(), ArchiveQuerySet)


@BOTH
def test_its_methods_bump_versions(model):
    row = model.objects.create(name="a")
    assert model.objects.archive() == 1
    assert model.everything.get().version == 2
    with pytest.raises(RecordModifiedError):
        row.save()


@BOTH
@pytest.mark.parametrize("manager", ["objects", "everything"])
def test_each_manager_bumps_and_checks(model, manager):
    row = model.objects.create(name="a")
    rows = getattr(model, manager)
    assert isinstance(rows, VersionedManager)
    assert isinstance(rows.filter(name="a").exclude(name="b"), VersionedQuerySet)
    rows.update(name="b")
    with pytest.raises(RecordModifiedError):
        rows.bulk_update([row], ["name"])


@BOTH
def test_the_order_of_the_managers_is_kept(model):
    assert [m.name for m in model._meta.managers] == ["objects", "everything"]
    assert model._default_manager.name == "objects"
    assert model.objects.model is model


@BOTH
def test_the_checks_have_nothing_to_say(model):
    messages = check_versioned_models(app_configs=None)
    assert not [message for message in messages if message.obj is model]


@BOTH
def test_a_queryset_can_be_pickled(model):
    model.objects.create(name="a")
    for rows in (model.objects.all(), model.objects.filter(name="a")):
        again = pickle.loads(pickle.dumps(rows))  # noqa: S301
        assert isinstance(again, VersionedQuerySet)
        assert [row.name for row in again] == ["a"]
        assert again.update(name="a") == 1


@BOTH
def test_a_manager_can_be_pickled(model):
    model.objects.create(name="a")
    manager = pickle.loads(pickle.dumps(model.objects))  # noqa: S301
    assert type(manager) is type(model.objects)
    assert manager.update(name="b") == 1
    assert model.everything.get().version == 2


@BOTH
def test_a_related_manager_is_versioned_too(model):
    parent = model.objects.create(name="parent")
    model.objects.create(name="child", parent=parent)
    model.everything.create(name="gone", parent=parent, archived=True)
    assert [child.name for child in parent.children.all()] == ["child"]
    parent.children.update(name="new")
    assert parent.children.get().version == 2


def test_in_migrations_it_is_the_plain_one():
    for model in (ArchivedFirst, ArchivedLast):
        managers = dict(ModelState.from_model(model).managers)
        assert {m.deconstruct()[1] for m in managers.values()} == {
            "optilock.VersionedManager"
        }


# Classes of the tests' own


@pytest.fixture(autouse=True)
def isolated():
    with isolate_apps("testapp"):
        yield


def test_a_manager_that_travels_into_migrations_travels_with_its_methods():
    class Base(models.Model):
        objects = UserManager()

        class Meta:
            abstract = True

    class User(VersionedModel, Base):
        class Meta:
            app_label = "testapp"

    state = ModelState.from_model(User)
    (name, manager), *_ = state.managers
    written, imports = MigrationWriter.serialize(manager)
    assert (name, written) == (
        "objects",
        "optilock.versioned_manager(django.contrib.auth.models.UserManager())",
    )
    scope = {}
    exec("\n".join(imports), scope)  # noqa: S102 -- as the migration does
    read = eval(written, scope)  # noqa: S307
    assert isinstance(read, UserManager)
    assert isinstance(read, VersionedManager)
    assert read == manager
    historical = dict(state.construct_managers())["objects"]
    assert historical == manager
    assert state == state.clone()


def test_what_the_class_itself_declares_is_left_alone():
    class Base(models.Model):
        objects = ArchiveManager()
        everything = models.Manager()

        class Meta:
            abstract = True

    class Own(VersionedModel, Base):
        objects = models.Manager()

        class Meta:
            app_label = "testapp"

    class Nothing(VersionedModel, Base):
        objects = None

        class Meta:
            app_label = "testapp"

    assert type(Own.objects) is models.Manager
    assert Nothing.objects is None
    assert isinstance(Own.everything, VersionedManager)
    assert [m.name for m in Own._meta.managers] == ["objects", "everything"]


def test_plain_managers_of_other_bases_become_versioned_ones():
    class Plain(models.Model):
        objects = models.Manager()

        class Meta:
            abstract = True

    for name, bases in (
        ("First", (VersionedModel, Plain)),
        ("Last", (Plain, VersionedModel)),
    ):
        model = type(Plain)(name, bases, in_testapp())
        assert isinstance(model.objects, VersionedManager)


def in_testapp():
    return {"Meta": type("Meta", (), {"app_label": "testapp"}), "__module__": __name__}


def test_the_managers_of_a_versioned_parent_are_left_alone():
    class Parent(VersionedModel):
        drafts = VersionedManager()

        class Meta:
            app_label = "testapp"

    class Child(Parent):
        class Meta:
            app_label = "testapp"

    class Proxy(Parent):
        class Meta:
            app_label = "testapp"
            proxy = True

    for model in (Parent, Child, Proxy):
        assert {type(m) for m in model._meta.managers} == {VersionedManager}
    assert Child._meta.local_managers == []


def test_a_child_may_bring_managers_of_its_own():
    class Parent(VersionedModel):
        class Meta:
            app_label = "testapp"

    class Base(models.Model):
        objects = ArchiveManager()

        class Meta:
            abstract = True

    for name, bases in (("First", (Parent, Base)), ("Last", (Base, Parent))):
        child = type(Parent)(name, bases, in_testapp())
        assert isinstance(child.objects, ArchiveManager)
        assert isinstance(child.objects, VersionedManager)


def test_nothing_listens_any_more_once_a_model_is_there():
    def listening():
        # Those of fields of other tests go when the next one is connected.
        return sum(
            not isinstance(listener, ref) or listener() is not None
            for _, listener, *_ in class_prepared.receivers
        )

    gc.collect()
    before = listening()

    class Model(VersionedModel):
        class Meta:
            app_label = "testapp"

    assert listening() == before


def test_with_the_field_alone_the_manager_is_put_around_by_hand():
    manager = versioned_manager(ArchiveManager())

    class Alone(models.Model):
        version = IntegerVersionField()
        archived = models.BooleanField(default=False)
        objects = manager

        class Meta:
            app_label = "testapp"

    assert isinstance(Alone.objects.all(), ArchiveQuerySet)
    assert isinstance(Alone.objects.all(), VersionedQuerySet)
    assert versioned_manager(manager) is manager
    assert optilock.versioned_manager is versioned_manager


def test_a_get_queryset_that_makes_djangos_own_is_versioned():
    class Recent(models.Manager):
        def get_queryset(self):
            return models.QuerySet(self.model, using=self._db).order_by("-pk")

    manager = versioned_manager(Recent())
    manager.model = Unlocked
    assert type(manager.all()) is VersionedQuerySet
    assert manager.all().query.order_by == ("-pk",)


def test_a_bulk_update_that_takes_its_options_by_name_is_called():
    class ByName(models.QuerySet):
        def bulk_update(self, objs, fields, **options):
            asked.append(options)
            return super().bulk_update(objs, fields, **options)

    asked = []
    manager = versioned_manager(models.Manager.from_queryset(ByName)())
    manager.model = Account
    account = Account.objects.create(owner="first")
    account.owner = "second"
    assert manager.bulk_update([account], ["owner"]) == 1
    assert manager.bulk_update([account], ["owner"], batch_size=5) == 1
    assert asked == [{}, {"batch_size": 5}]
    assert Account.objects.get().version == 3


def test_what_a_queryset_of_others_adds_to_an_update_is_not_excluded():
    class Stamping(models.QuerySet):
        def update(self, **kwargs):
            return super().update(**added, **kwargs)

    manager = versioned_manager(models.Manager.from_queryset(Stamping)())
    manager.model = Article
    article, added = Article.objects.create(), {}
    manager.update(views=1)
    assert Article.objects.get().version == 1
    added["title"] = "stamped"
    manager.update(views=2)
    assert Article.objects.get().version == 2
    with pytest.raises(RecordModifiedError):
        article.save()


def test_managers_that_are_versioned_already_keep_their_order_beside_others():
    class Base(models.Model):
        plain = models.Manager()
        checked = VersionedManager()

        class Meta:
            abstract = True

    class Order(VersionedModel, Base):
        class Meta:
            app_label = "testapp"

    assert type(Order.checked) is VersionedManager
    assert isinstance(Order.plain, VersionedManager)
    names = [manager.name for manager in Order._meta.managers]
    assert names.index("plain") < names.index("checked")


def test_a_manager_of_a_relation_is_copied_with_what_it_is_about():
    class Owner(models.Model):
        class Meta:
            app_label = "testapp"

    class Base(models.Model):
        objects = ArchiveManager()

        class Meta:
            abstract = True

    class Thing(VersionedModel, Base):
        owner = models.ForeignKey(Owner, models.CASCADE)
        archived = models.BooleanField(default=False)

        class Meta:
            app_label = "testapp"

    owner = Owner(pk=7)
    copied = copy.copy(owner.thing_set)
    assert copied.instance is owner
    assert str(copied.all().query) == str(owner.thing_set.all().query)
    assert isinstance(copied.all(), VersionedQuerySet)
