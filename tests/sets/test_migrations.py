"""What the field means to migrations, and what it does in them."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import UserManager
from django.db import connection, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter, OperationWriter
from django.test.utils import CaptureQueriesContext, isolate_apps
from testapp.models import (
    Account,
    AccountProxy,
    ConcurrentModel,
    Renamed,
    Restaurant,
    Ticket,
)

from optilock import (
    IntegerVersionField,
    RecordModifiedError,
    VersionedManager,
    VersionedModel,
    VersionedQuerySet,
)


def written(field):
    """The field as a migration file has it."""
    text, _ = MigrationWriter.serialize(field)
    return text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "optilock.IntegerVersionField()"),
        ({"default": 1, "db_default": 1}, "optilock.IntegerVersionField()"),
        ({"db_column": "lock"}, "optilock.IntegerVersionField(db_column='lock')"),
        ({"default": 0}, "optilock.IntegerVersionField(default=0)"),
        ({"editable": True}, "optilock.IntegerVersionField(editable=True)"),
        (
            {"db_default": models.NOT_PROVIDED},
            "optilock.IntegerVersionField(db_default=NOT_PROVIDED)",
        ),
    ],
)
def test_migration_names_only_what_was_chosen(options, text):
    field = IntegerVersionField(**options)
    assert written(field).replace("django.db.models.fields.", "") == text
    _, _, args, kwargs = field.deconstruct()
    again = IntegerVersionField(*args, **kwargs)
    assert (again.default, again.editable) == (field.default, field.editable)
    assert again.db_default == field.db_default
    assert again.deconstruct() == field.deconstruct()


@pytest.mark.parametrize(
    "model", [Account, AccountProxy, ConcurrentModel, Renamed, Restaurant, Ticket]
)
def test_nothing_leaks_into_a_migration(model):
    state = ModelState.from_model(model)
    for _, manager in state.managers:
        assert manager.deconstruct()[1] == "optilock.VersionedManager"
    assert not any(
        isinstance(base, type) and base.__module__.startswith("optilock")
        for base in state.bases
    )
    for name, field in state.fields.items():
        if isinstance(field, IntegerVersionField):
            assert name in ("version", "lock")


def test_autodetector_finds_nothing_new_the_second_time():
    state = ProjectState.from_apps(apps)
    loaded = state.clone()
    changes = MigrationAutodetector(loaded, state).changes(graph=MigrationGraph())
    assert changes == {}


def test_autodetector_adds_the_field_without_asking_for_a_default():
    before, after = ProjectState(), ProjectState()
    key = ("id", models.BigAutoField(primary_key=True))
    before.add_model(ModelState("shop", "Thing", [key]))
    after.add_model(
        ModelState("shop", "Thing", [key, ("version", IntegerVersionField())])
    )
    changes = MigrationAutodetector(before, after)._detect_changes()
    [operation] = changes["shop"][0].operations
    assert isinstance(operation, migrations.AddField)
    assert operation.preserve_default is True


# Migrations that run

MODELS = {
    "plain": [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=100)),
    ],
}


@pytest.fixture
def migrate(transactional_db):
    """Apply operations one after the other; give each the historical apps."""
    state = ProjectState()

    def run(*operations):
        nonlocal state
        for operation in operations:
            after = state.clone()
            operation.state_forwards("shop", after)
            with connection.schema_editor() as editor:
                operation.database_forwards("shop", editor, state, after)
            state = after
        return state.apps

    yield run
    with connection.schema_editor() as editor:
        for name in ("Child", "Thing"):
            try:
                model = state.apps.get_model("shop", name)
            except LookupError:
                continue
            editor.delete_model(model)


def create_thing(*fields, name="Thing", bases=(models.Model,)):
    return migrations.CreateModel(name, fields=list(fields), bases=bases)


@pytest.mark.parametrize(
    ("name", "options"),
    [("version", {}), ("lock", {}), ("lock", {"db_column": "the lock"})],
)
def test_field_can_be_added_to_a_table_with_rows(migrate, name, options):
    historical = migrate(create_thing(*MODELS["plain"]))
    old = historical.get_model("shop", "Thing")
    old.objects.create(name="a")
    historical = migrate(
        migrations.AddField("thing", name, IntegerVersionField(**options))
    )
    thing = historical.get_model("shop", "Thing")
    first, second = thing.objects.get(), thing.objects.get()
    assert getattr(first, name) == 1
    first.save()
    with pytest.raises(RecordModifiedError):
        second.save()
    # Code that is still the old one, while the new one is being rolled out.
    old.objects.create(name="b")
    assert thing.objects.get(name="b").save() is None


def test_data_migration_is_guarded(migrate):
    refused = []

    def forwards(apps, schema_editor):
        thing = apps.get_model("shop", "Thing")
        thing.objects.create(name="a")
        first, second = thing.objects.get(), thing.objects.get()
        first.name = "b"
        first.save()
        try:
            second.save()
        except RecordModifiedError as error:
            refused.append(error.current_version)
        assert thing.objects.get().name == "b"

    migrate(
        create_thing(*MODELS["plain"], ("version", IntegerVersionField())),
        migrations.RunPython(forwards),
    )
    assert refused == [2]


class Rows(VersionedQuerySet):
    """A project's queryset."""


class Published(VersionedManager.from_queryset(Rows)):
    """A project's manager: it filters, and wants an argument."""

    def __init__(self, kind):
        self.kind = kind
        super().__init__()

    def get_queryset(self):
        return super().get_queryset().filter(name=self.kind)


class Own(VersionedManager):
    """A project's manager that goes into migrations as it is."""

    use_in_migrations = True


class OfUsers(VersionedManager, UserManager):
    """One that Django's own has taken along already."""


def local_manager():
    class Local(VersionedManager):
        pass

    return Local()


PLAIN = ("optilock.VersionedManager", (), {})
MANAGERS = {
    "plain": (VersionedManager, PLAIN),
    "as_manager": (Rows.as_manager, PLAIN),
    "from_queryset": (lambda: VersionedManager.from_queryset(Rows)(), PLAIN),
    "derived": (lambda: Published("a"), PLAIN),
    "local": (local_manager, PLAIN),
    "its own": (Own, (f"{__name__}.Own", (), {})),
    "of users": (OfUsers, (f"{__name__}.OfUsers", (), {})),
}


@isolate_apps("testapp")
@pytest.mark.parametrize(("make", "parts"), MANAGERS.values(), ids=MANAGERS)
def test_what_a_manager_is_in_a_migration(make, parts):
    def model(manager):
        class Thing(models.Model):
            version = IntegerVersionField()
            name = models.CharField(max_length=9)
            objects = manager

            class Meta:
                app_label = "testapp"

        return Thing

    state = ModelState.from_model(model(make()))
    ((name, manager),) = state.managers
    _, path, _, args, kwargs = manager.deconstruct()
    assert (name, (path, args, kwargs)) == ("objects", parts)
    # makemigrations finds nothing new when it compares that with the model.
    before, after = ProjectState(), ProjectState()
    before.add_model(
        ModelState(
            "testapp",
            "Thing",
            list(state.fields.items()),
            state.options,
            state.bases,
            list(state.construct_managers()),
        )
    )
    with isolate_apps("testapp"):
        after.add_model(ModelState.from_model(model(make())))
    assert MigrationAutodetector(before, after)._detect_changes() == {}


@isolate_apps("testapp")
def test_a_manager_that_was_plain_in_the_migrations_is_noticed():
    class Thing(VersionedModel):
        rows = VersionedManager()
        objects = None

        class Meta:
            app_label = "testapp"

    before, after = ProjectState(), ProjectState()
    state = ModelState.from_model(Thing)
    before.add_model(
        ModelState(
            "testapp",
            "Thing",
            list(state.fields.items()),
            state.options,
            managers=[("rows", models.Manager())],
        )
    )
    after.add_model(state)
    changes = MigrationAutodetector(before, after)._detect_changes()
    (operation,) = changes["testapp"][0].operations
    assert isinstance(operation, migrations.AlterModelManagers)


def noticed(model):
    """The operations that makemigrations writes for a project from before."""
    before, after = ProjectState(), ProjectState()
    state = ModelState.from_model(model)
    fields = list(state.fields.items())
    before.add_model(ModelState("shop", "Thing", fields, state.options))
    after.add_model(
        ModelState("shop", "Thing", fields, state.options, managers=state.managers)
    )
    changes = MigrationAutodetector(before, after)._detect_changes()
    return changes["shop"][0].operations


@pytest.fixture
def old_project(migrate):
    """Apply the migrations of a project from before managers travelled."""
    with isolate_apps("testapp"):

        class Thing(VersionedModel):
            name = models.CharField(max_length=100)

            class Meta:
                app_label = "testapp"

    fields = list(ModelState.from_model(Thing).fields.items())
    historical = migrate(migrations.CreateModel("Thing", fields))
    historical.get_model("shop", "Thing").objects.create(name="old", version=3)
    return migrate, noticed(Thing)


def test_the_migration_for_existing_projects_touches_no_table(old_project):
    migrate, operations = old_project
    (operation,) = operations
    assert isinstance(operation, migrations.AlterModelManagers)
    text, imports = OperationWriter(operation).serialize()
    assert "('objects', optilock.VersionedManager())" in text
    assert "import optilock" in imports
    with CaptureQueriesContext(connection) as queries:
        historical = migrate(*operations)
    assert not [q for q in queries if "shop_thing" in q["sql"].lower()]
    thing = historical.get_model("shop", "Thing").objects.get()
    assert (thing.name, thing.version) == ("old", 3)


def test_update_in_a_data_migration_bumps_the_version(old_project):
    migrate, operations = old_project
    held = []

    def forwards(apps, schema_editor):
        thing = apps.get_model("shop", "Thing")
        held.append(thing.objects.get())
        assert thing.objects.filter(name="old").update(name="new") == 1

    thing = migrate(*operations, migrations.RunPython(forwards)).get_model(
        "shop", "Thing"
    )
    assert thing.objects.values_list("name", "version").get() == ("new", 4)
    with pytest.raises(RecordModifiedError):
        held[0].save()
    assert thing.objects.get().name == "new"


def test_bulk_update_in_a_data_migration_is_checked(old_project):
    migrate, operations = old_project
    refused = []

    def forwards(apps, schema_editor):
        thing = apps.get_model("shop", "Thing")
        stale, fresh = thing.objects.get(), thing.objects.get()
        fresh.name = "fresh"
        assert thing.objects.bulk_update([fresh], ["name"]) == 1
        stale.name = "stale"
        try:
            thing.objects.bulk_update([stale], ["name"])
        except RecordModifiedError as error:
            refused.append(error.conflicts[0].current_version)

    thing = migrate(*operations, migrations.RunPython(forwards)).get_model(
        "shop", "Thing"
    )
    assert refused == [4]
    assert thing.objects.values_list("name", "version").get() == ("fresh", 4)


def test_only_in_a_data_migration_keeps_the_version(old_project):
    migrate, operations = old_project
    thing = migrate(*operations).get_model("shop", "Thing")
    row = thing.objects.only("name").get()
    row.name = "new"
    row.save()
    assert thing.objects.values_list("name", "version").get() == ("new", 4)


def test_data_migration_of_a_child_is_guarded(migrate):
    historical = migrate(
        create_thing(*MODELS["plain"], ("version", IntegerVersionField())),
        create_thing(
            (
                "thing_ptr",
                models.OneToOneField(
                    "shop.Thing",
                    models.CASCADE,
                    primary_key=True,
                    parent_link=True,
                    auto_created=True,
                    serialize=False,
                ),
            ),
            ("size", models.IntegerField(default=0)),
            name="Child",
            bases=("shop.thing",),
        ),
    )
    child = historical.get_model("shop", "Child")
    child.objects.create(name="a")
    first, second = child.objects.get(), child.objects.get()
    first.save(update_fields=["size"])
    with pytest.raises(RecordModifiedError):
        second.save()


def test_field_can_be_renamed_and_the_table_changed(migrate):
    historical = migrate(
        create_thing(*MODELS["plain"], ("version", IntegerVersionField()))
    )
    thing = historical.get_model("shop", "Thing").objects.create(name="a")
    thing.save()
    historical = migrate(
        migrations.RenameField("thing", "version", "lock"),
        migrations.AddField("thing", "size", models.IntegerField(default=0)),
        migrations.AlterField("thing", "name", models.TextField()),
    )
    thing = historical.get_model("shop", "Thing").objects.get()
    assert thing.lock == 2
    thing.save()
    assert historical.get_model("shop", "Thing").objects.get().lock == 3


@pytest.mark.django_db
def test_executor_has_nothing_to_do_for_the_package_itself():
    executor = MigrationExecutor(connection)
    assert not any(app == "optilock" for app, _ in executor.loader.graph.nodes)
