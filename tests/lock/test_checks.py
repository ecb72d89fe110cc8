"""System checks: each id, and that good models are left in peace."""

from __future__ import annotations

from functools import partialmethod
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth.models import Group
from django.core import checks
from django.db import connection, connections, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext, isolate_apps
from testapp import models as testapp

from optilock import (
    IntegerVersionField,
    VersionedManager,
    VersionedModel,
    VersionedQuerySet,
)
from optilock.checks import check_versioned_models
from optilock.database_checks import _assigns, check_databases


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


def test_other_constraints_are_nothing_to_the_version():
    class Model(VersionedModel):
        number = models.IntegerField()

        class Meta:
            constraints = [models.UniqueConstraint("number", name="number")]

    assert found(Model) == []


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


def test_version_on_a_child_of_another_package_s_model():
    class Team(Group):
        version = IntegerVersionField()
        objects = VersionedManager()

    [message] = found(Team)
    assert isinstance(message, checks.Warning)
    assert (message.id, message.obj) == ("optilock.W005", Team)
    assert "auth.Group" in message.msg
    assert "silence" in message.hint


@pytest.mark.parametrize("replacement", [None, models.CharField(max_length=9)])
def test_versioned_model_that_replaced_its_version(replacement):
    class Model(VersionedModel):
        version = replacement

    [message] = found(Model)
    assert isinstance(message, checks.Error)
    assert (message.id, message.obj) == ("optilock.E006", Model)


def test_managers_that_don_t_bump_the_version():
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


class PlainManager(models.Manager.from_queryset(VersionedQuerySet)):
    """Raises versions, and stays at home."""


class Travelling(PlainManager):
    use_in_migrations = True


def test_manager_that_does_not_travel_into_migrations():
    class Model(VersionedModel):
        objects = PlainManager()

    [message] = found(Model)
    assert message.id == "optilock.W004"
    assert "testapp.Model.objects doesn't travel" in message.msg
    assert "VersionedManager.from_queryset(...)()" in message.hint


def test_managers_that_no_migration_has_or_that_travel():
    class Another(VersionedModel):
        objects = VersionedManager()
        another = PlainManager()

    class Own(VersionedModel):
        objects = Travelling()

    assert ids(Another, Own) == []


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


def test_relation_that_is_excluded_from_the_lock():
    class Target(models.Model):
        pass

    class Model(VersionedModel):
        version = IntegerVersionField(exclude=["target"])
        target = models.ForeignKey(Target, models.SET_NULL, null=True)

    assert ids(Target, Model) == []


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


class Silent(models.Model):
    class Meta:
        abstract = True

    def delete(self, *args, **kwargs):
        return type(self).objects.filter(pk=self.pk).delete()


class Bypassing(models.Model):
    class Meta:
        abstract = True

    def save(self, *args, **kwargs):
        type(self).objects.filter(pk=self.pk).update(text=self.text)

    async def adelete(self, *args, **kwargs):
        return await type(self).objects.filter(pk=self.pk).adelete()

    def delete(self, *args, **kwargs):
        return models.Model.delete(self)


class Harmless(models.Model):
    """Each reaches the lock in some way."""

    class Meta:
        abstract = True

    def save(self, *args, **kwargs):
        with transaction.atomic():
            models.Model.save(self, *args, **kwargs)

    async def asave(self, *args, **kwargs):
        await sync_to_async(lambda: super(Harmless, self).save())()

    @transaction.atomic
    def delete(self, *args, **kwargs):
        return self._put_away()

    def _put_away(self):
        self.archived = True
        self.save()

    @sync_to_async
    def adelete(self):
        return self.delete()


def test_overrides_that_never_reach_the_lock_are_found():
    class Deleting(Silent, VersionedModel):
        pass

    class Saving(Bypassing, VersionedModel):
        text = models.TextField()

    class Own(VersionedModel):
        def delete(self, *args, **kwargs):
            return 0, {}

    assert ids(Deleting) == ["optilock.W021"] * 5
    messages = [message.msg for message in found(Saving)]
    assert "Silent.delete() of testapp.Deleting calls no super()" in messages[0]
    assert [message.split()[0] for message in messages[1:4]] == [
        "Bypassing.save()",
        "Bypassing.delete()",
        "Bypassing.adelete()",
    ]
    assert messages[4].startswith("Own.delete() of testapp.Own")


def test_overrides_that_reach_the_lock_are_left_in_peace():
    class Fine(Harmless, VersionedModel):
        def save(self, *args, **kwargs):
            super().save(*args, **kwargs)

    class Behind(VersionedModel, Silent):
        pass

    class Lying(VersionedModel):
        delete = partialmethod(VersionedModel.delete)

    assert found(Fine, Behind, Lying) == []


def test_field_alone_is_looked_at_for_what_it_guards():
    class Alone(Silent):
        version = IntegerVersionField()
        objects = VersionedManager()

    class Saving(Bypassing):
        version = IntegerVersionField()
        objects = VersionedManager()

    assert [message.msg.split()[0] for message in found(Alone)] == ["Bypassing.save()"]


# Databases


@pytest.fixture
def at_level(request):
    """A connection of its own, with that isolation level."""
    before = connections["default"]
    other = connections.create_connection("default")
    options = {**other.settings_dict["OPTIONS"], "isolation_level": request.param}
    other.settings_dict = {**other.settings_dict, "OPTIONS": options}
    connections["default"] = other
    yield
    other.close()
    connections["default"] = before


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="has no such level")
@pytest.mark.parametrize(
    ("at_level", "expected"),
    [
        ("read uncommitted", ["optilock.W040"]),
        ("read committed", []),
        ("repeatable read", []),
        ("serializable", []),
    ],
    indirect=["at_level"],
)
def test_a_database_whose_readers_see_what_isn_t_committed(at_level, expected):
    messages = checks.run_checks(tags=["database"], databases=["default"])
    assert [m.id for m in messages if m.id.startswith("optilock.")] == expected


@pytest.mark.django_db(databases=["default", "other"])
def test_a_database_at_its_default_level_is_left_in_peace():
    assert check_databases(app_configs=None, databases=["default", "other"]) == []


def test_a_database_is_asked_nothing_unless_it_is_to_be_checked():
    assert check_databases(app_configs=None, databases=None) == []


@pytest.mark.django_db
def test_triggers_are_looked_for_only_where_there_may_be_some(monkeypatch, settings):
    def asked():
        with CaptureQueriesContext(connection) as captured:
            assert check_databases(app_configs=None, databases=["default"]) == []
        return [query for query in captured if "trigger" in query["sql"].lower()]

    assert asked()
    with monkeypatch.context() as patched:
        patched.setattr(connections["default"], "vendor", "oracle")
        assert not asked()

    class Nowhere:
        def allow_migrate(self, *args, **kwargs):
            return False

    settings.DATABASE_ROUTERS = [Nowhere()]
    assert not asked()


@pytest.fixture
def foreign_trigger():
    """Make a trigger as others make it, with this body; tell what the check says."""
    made = []

    def check(body):
        table, name = "testapp_guardedpage", "foreign_trigger"
        with connection.cursor() as cursor:
            for statement in {
                "sqlite": [
                    (
                        f"CREATE TRIGGER {name} AFTER UPDATE ON {table} BEGIN "
                        f"UPDATE {table} SET {body} WHERE id = NEW.id; END"
                    )
                ],
                "postgresql": [
                    (
                        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
                        f"AS $$ BEGIN NEW.{body}; RETURN NEW; END $$"
                    ),
                    (
                        f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW "
                        f"EXECUTE FUNCTION {name}()"
                    ),
                ],
                "mysql": [
                    (
                        f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW "
                        f"SET NEW.{body}"
                    )
                ],
            }[connection.vendor]:
                cursor.execute(statement)
        made.append(name)
        configs = [apps.app_configs["testapp"]]
        with patch.object(configs[0], "get_models", lambda: [testapp.GuardedPage]):
            return check_databases(app_configs=configs, databases=["default"])

    yield check
    with connection.cursor() as cursor:
        for name in made:
            cursor.execute(
                f"DROP FUNCTION {name} CASCADE"
                if connection.vendor == "postgresql"
                else f"DROP TRIGGER {name}"
            )


OLD = "" if connection.vendor == "sqlite" else "OLD."


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"version = {OLD}version + 1", ["optilock.W041"]),
        (f"number = {OLD}version + 1", []),
    ],
)
def test_another_trigger_that_sets_the_version(foreign_trigger, body, expected):
    messages = foreign_trigger(body)
    assert [message.id for message in messages] == expected
    if expected:
        assert "'foreign_trigger' sets testapp.GuardedPage.version" in messages[0].msg


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("UPDATE t SET version = version + 1 WHERE id = NEW.id", True),
        ('UPDATE "t" SET "n" = 1, "version" = "version" + 1', True),
        ("SET NEW.`version` = OLD.version + 1", True),
        ("BEGIN NEW.version := 1; RETURN NEW; END", True),
        ("IF NEW.name <> OLD.name THEN new.version = 2; END IF;", True),
        ("IF NEW.version = OLD.version THEN NEW.n := 1; END IF;", False),
        ("INSERT INTO log SELECT NEW.version", False),
        ("SET NEW.conversion = 1", False),
        ("UPDATE t SET n = n + 1 WHERE version = NEW.version", False),
    ],
)
def test_what_a_trigger_s_body_says_of_the_version(body, expected):
    assert _assigns(body, "version") is expected


@pytest.mark.django_db(transaction=True)
def test_a_declared_trigger_that_is_missing(monkeypatch):
    table, [trigger] = testapp.GuardedPage, testapp.GuardedPage._meta.constraints
    with connection.schema_editor() as editor:
        editor.execute(trigger.remove_sql(table, editor))
    try:
        [message] = check_databases(app_configs=None, databases=["default"])
        # What isn't migrated yet has none, of course.
        monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *args: [1])
        assert check_databases(app_configs=None, databases=["default"]) == []
    finally:
        with connection.schema_editor() as editor:
            editor.execute(trigger.create_sql(table, editor), params=None)
    assert (message.id, message.obj) == ("optilock.W042", table)
    assert "'testapp_guardedpage_version'" in message.msg
