"""``VersionTrigger``: its life in migrations, and when it keeps out of the way.

What it does for each way of writing a row is in test_write_paths.py.
"""

from __future__ import annotations

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import (
    DatabaseError,
    NotSupportedError,
    connection,
    models,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration, operations
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter, OperationWriter
from django.db.models import F
from django.test.utils import isolate_apps
from testapp.models import FiledPage, GuardedPage, Place

from optilock import IntegerVersionField, VersionTrigger
from optilock.checks import check_versioned_models

TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "mysql": "SELECT trigger_name FROM information_schema.triggers "
    "WHERE trigger_schema = DATABASE()",
}


def account(
    name="Account", *, version="version", column=None, trigger="bank_trigger", **options
):
    """Return the state of a model, with or without a trigger."""
    fields = [("id", models.BigAutoField(primary_key=True))]
    fields += [(version, IntegerVersionField(db_column=column))]
    fields += options.pop("fields", [("text", models.CharField(max_length=9))])
    if trigger:
        options["constraints"] = [VersionTrigger(name=trigger, field=version)]
    return ModelState("bank", name, fields, options)


PLAIN = account(trigger=None)
STEPS = {
    "nothing": [],
    "create": [account()],
    "add": [PLAIN, account()],
    "remove": [account(), PLAIN],
    "remove and add": [account(), PLAIN, account()],
    "rename the trigger": [account(), account(trigger="another")],
    "rename the model": [account(), account("Konto")],
    "rename the model twice": [account(), account("Konto"), account("Depot")],
    "rename the table": [account(), account(db_table="other_accounts")],
    "rename the version": [account(), account(version="lock")],
    "rename the version and add": [PLAIN, account(version="lock")],
    "rename both": [account(), account("Konto"), account("Konto", version="lock")],
    "rename the column": [account(), account(column="number")],
    "rename the column back": [account(column="number"), account()],
    "rename the column twice": [
        account(),
        account(column="number"),
        account(column="no"),
    ],
    "rename the column and add": [PLAIN, account(column="number")],
    "rename the version and its column": [
        account(),
        account(version="lock", column="number"),
    ],
    "rename the version, not its column": [
        account(),
        account(version="lock", column="version"),
    ],
    "rename the column and the model": [
        account(column="number"),
        account("Konto", column="no"),
    ],
    "rename the column and the table": [
        account(db_table="old_accounts"),
        account(db_table="new_accounts", column="number"),
    ],
    "rename a field": [
        account(),
        account(fields=[("note", models.CharField(max_length=9))]),
    ],
    "add a field": [
        account(),
        account(
            fields=[
                ("text", models.CharField(max_length=9)),
                ("number", models.IntegerField(default=3)),
            ]
        ),
    ],
    "add a field in a table of its own making": [
        account(),
        account(
            fields=[
                ("text", models.CharField(max_length=9)),
                ("number", models.IntegerField(null=True)),
            ]
        ),
    ],
    "remove a field": [
        account(
            fields=[
                ("text", models.CharField(max_length=9)),
                ("number", models.IntegerField(unique=True, null=True)),
            ]
        ),
        account(),
    ],
    "alter a field": [
        account(),
        account(fields=[("text", models.TextField(unique=False))]),
    ],
    "delete": [account(), None],
    "delete and create": [account(), None, account()],
}
STEPS = {
    name: [[state] if state else [] for state in states]
    for name, states in STEPS.items()
}


class SaysYes(MigrationQuestioner):
    """Yes, it was renamed."""

    def ask_rename(self, *args):
        return True

    def ask_rename_model(self, *args):
        return True


def project(models, *, rendered=False):
    state = ProjectState()
    for model in models:
        # The autodetector takes the indexes and constraints out of the options.
        options = {"indexes": [], "constraints": [], **model.options}
        state.add_model(
            ModelState(model.app_label, model.name, list(model.fields.items()), options)
        )
    # What makemigrations compares is made from models.
    return ProjectState.from_apps(state.apps) if rendered else state


def detect(before, after):
    """Return what makemigrations would write."""
    before = project(before.models.values())
    after = project(after.models.values(), rendered=True)
    changes = MigrationAutodetector(before, after, SaysYes())._detect_changes()
    return [op for m in changes.get("bank", []) for op in m.operations]


class Bank:
    """A database in which the migrations of an app are applied."""

    def __init__(self):
        self.applied = []
        self.state = ProjectState()

    def migrate(self, models):
        operations = self.apply(detect(self.state, project(models)))
        assert detect(self.state, project(models)) == []
        return operations

    def apply(self, operations):
        migration = Migration(f"m{len(self.applied)}", "bank")
        migration.operations = operations
        before = self.state.clone()
        with connection.schema_editor(atomic=True) as editor:
            self.state = migration.apply(self.state.clone(), editor)
        self.applied.append((migration, before))
        return migration.operations

    def back(self):
        migration, self.state = self.applied.pop()
        with connection.schema_editor(atomic=True) as editor:
            migration.unapply(self.state.clone(), editor)

    def model(self):
        (found,) = self.state.apps.get_models()
        return found


@pytest.fixture
def bank(transactional_db):
    bank = Bank()
    yield bank
    while bank.applied:
        bank.back()


def triggers():
    with connection.cursor() as cursor:
        cursor.execute(TRIGGERS[connection.vendor])
        names = {name for (name,) in cursor.fetchall()}
    return names - {"testapp_guardedpage_version"}


def raised_by_raw_sql(model):
    """Write a row by raw SQL; return by how much its version has changed."""
    version = next(f for f in model._meta.fields if isinstance(f, IntegerVersionField))
    row = model.objects.create(**{version.name: 5})
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET id = id WHERE id = %s", [row.pk])
        assert cursor.rowcount == 1
    found = model.objects.values_list(version.name, flat=True).get(pk=row.pk)
    row.delete()
    return found - 5


def assert_as_declared(bank):
    declared = [c for m in bank.state.apps.get_models() for c in m._meta.constraints]
    assert triggers() == {trigger.name for trigger in declared}
    if bank.state.models:
        assert raised_by_raw_sql(bank.model()) == len(declared)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_trigger_is_there_after_each_migration_and_on_the_way_back(bank, steps):
    for models_ in steps:
        bank.migrate(models_)
        assert_as_declared(bank)
    while bank.applied:
        bank.back()
        assert_as_declared(bank)


def test_a_column_by_another_name_is_noticed(bank):
    bank.migrate([account()])
    remove, alter, add = bank.migrate([account(column="number")])
    assert isinstance(remove, operations.RemoveConstraint)
    assert isinstance(alter, operations.AlterField)
    assert add.constraint.column == "number"


def trigger(field="version", column=None):
    return VersionTrigger(name="bank_trigger", field=field, column=column)


RENAME = operations.RenameField("account", "version", "lock")
ALTER = operations.AlterField("account", "version", IntegerVersionField(db_column="no"))
REMOVE = operations.RemoveConstraint("account", "bank_trigger")
BY_HAND = {
    "rename, remove, add": [
        RENAME,
        REMOVE,
        operations.AddConstraint("account", trigger("lock")),
    ],
    "remove, add, rename": [
        REMOVE,
        operations.AddConstraint("account", trigger("lock")),
        RENAME,
    ],
    "alter, remove, add": [
        ALTER,
        REMOVE,
        operations.AddConstraint("account", trigger(column="no")),
    ],
    "alter, remove, add as it was": [
        ALTER,
        REMOVE,
        operations.AddConstraint("account", trigger()),
    ],
    "rename, add a field, remove, add": [
        RENAME,
        operations.AddField("account", "size", models.IntegerField(default=0)),
        REMOVE,
        operations.AddConstraint("account", trigger("lock")),
    ],
    "remove, rename the model, rename, add": [
        REMOVE,
        operations.RenameModel("Account", "Konto"),
        operations.RenameField("konto", "version", "lock"),
        operations.AddConstraint("konto", trigger("lock")),
    ],
    "rename, remove, rename the table, add": [
        RENAME,
        REMOVE,
        operations.AlterModelTable("account", "other_accounts"),
        operations.AddConstraint("account", trigger("lock")),
    ],
}


@pytest.mark.parametrize("steps", BY_HAND.values(), ids=BY_HAND)
def test_a_renaming_written_by_hand_keeps_rows_and_trigger(bank, steps):
    bank.migrate([account()])
    row = bank.model().objects.create(text="kept", version=3)
    bank.apply(steps)
    assert_as_declared(bank)
    bank.back()
    assert_as_declared(bank)
    kept = bank.model().objects.get(pk=row.pk)
    assert (kept.text, kept.version) == ("kept", 3)
    kept.save()
    assert kept.version == bank.model().objects.get(pk=row.pk).version == 4


def test_a_trigger_that_is_created_and_removed_at_once_is_gone(bank):
    state = account()
    bank.apply(
        [
            operations.CreateModel(
                "Account", list(state.fields.items()), state.options
            ),
            REMOVE,
        ]
    )
    assert triggers() == set()


def test_adding_and_removing_are_one_operation_each(bank):
    bank.migrate([PLAIN])
    (add,) = bank.migrate([account()])
    (remove,) = bank.migrate([PLAIN])
    assert isinstance(add, operations.AddConstraint)
    assert isinstance(remove, operations.RemoveConstraint)


def test_sqlmigrate_shows_the_trigger(bank):
    migration = Migration("m", "bank")
    migration.operations = detect(ProjectState(), project([account()]))
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        migration.apply(ProjectState(), editor)
    assert "CREATE TRIGGER" in "\n".join(map(str, editor.collected_sql))
    assert triggers() == set()


def test_the_rows_are_kept_when_a_trigger_is_added(bank):
    bank.migrate([PLAIN])
    bank.model().objects.create(text="a", version=4)
    bank.migrate([account()])
    assert bank.model().objects.values_list("text", "version").get() == ("a", 4)


def test_a_migration_names_what_can_be_imported():
    trigger = VersionTrigger(name="a", field="lock")
    text, imports = OperationWriter(operations.AddConstraint("x", trigger)).serialize()
    assert "optilock.VersionTrigger(field='lock', name='a')" in text
    assert imports == {"import optilock"}
    assert MigrationWriter.serialize(VersionTrigger(name="a"))[0] == (
        "optilock.VersionTrigger(name='a')"
    )


def test_triggers_are_equal_if_they_do_the_same():
    trigger = VersionTrigger(name="a")
    assert trigger == VersionTrigger(name="a", field="version")
    assert hash(trigger) == hash(VersionTrigger(name="a"))
    assert trigger != VersionTrigger(name="b")
    assert trigger != VersionTrigger(name="a", field="lock")
    assert trigger != models.UniqueConstraint(fields=["a"], name="a")
    assert repr(trigger) == "<VersionTrigger: name='a' field='version'>"


@pytest.mark.django_db
def test_a_valid_instance_is_valid_with_a_trigger():
    GuardedPage(slug="a", text="b").validate_constraints()


@pytest.mark.django_db
def test_our_own_writes_are_not_raised_twice():
    page = GuardedPage.objects.create()
    page.save()
    page.touch()
    GuardedPage.objects.bulk_update([page], ["text"])
    page.text = F("slug")
    GuardedPage.objects.bulk_update([page], ["text"])
    assert page.version == GuardedPage.objects.get().version == 5
    GuardedPage.objects.update(text="")
    assert GuardedPage.objects.get().version == 6


@pytest.mark.django_db
def test_raw_sql_bumps_the_version_of_its_rows_only():
    pages = [GuardedPage.objects.create(slug=slug) for slug in "abc"]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE testapp_guardedpage SET text = 'x' WHERE id < %s", [pages[2].pk]
        )
        assert cursor.rowcount == 2
    found = GuardedPage.objects.order_by("pk").values_list("version", flat=True)
    assert list(found) == [2, 2, 1]


# Where it can't be


class OtherWrapper(BaseDatabaseWrapper):
    vendor = "other"
    display_name = "OtherDB"

    def __init__(self):
        """Stay unconnected."""


@pytest.mark.parametrize("method", ["create_sql", "remove_sql", "constraint_sql"])
def test_another_database_is_refused_with_a_clear_error(method):
    class Editor:
        connection = OtherWrapper()
        deferred_sql = []

    with pytest.raises(NotSupportedError, match=r"no trigger for OtherDB"):
        getattr(VersionTrigger(name="a"), method)(GuardedPage, Editor())


@pytest.mark.parametrize("method", ["check", "_check"])
def test_another_database_fails_a_check(method):
    check = getattr(VersionTrigger(name="a"), method)
    (error,) = check(GuardedPage, OtherWrapper())
    assert error.id == "optilock.E013"
    assert check(GuardedPage, connection) == []


def checked(model):
    class Config:
        def get_models(self):
            return [model]

    return [m.id for m in check_versioned_models(app_configs=[Config()])]


@isolate_apps("testapp")
def test_a_trigger_without_a_version_field_fails_a_check():
    class Wrong(models.Model):
        class Meta:
            app_label = "testapp"
            constraints = [VersionTrigger(name="a")]

    assert checked(Wrong) == ["optilock.E011"]


@isolate_apps("testapp")
def test_a_trigger_on_a_child_fails_a_check():
    class Wrong(Place):
        class Meta:
            app_label = "testapp"
            constraints = [VersionTrigger(name="a")]

    assert checked(Wrong) == ["optilock.E011"]


@isolate_apps("testapp")
def test_a_trigger_beside_excluded_fields_fails_a_check():
    class Wrong(models.Model):
        version = IntegerVersionField(exclude=["views"])
        views = models.IntegerField()

        class Meta:
            app_label = "testapp"
            constraints = [VersionTrigger(name="a")]

    assert "optilock.E012" in checked(Wrong)


def test_set_null_is_no_warning_with_a_trigger():
    assert "optilock.W002" in checked(FiledPage)
    assert checked(GuardedPage) == []


@pytest.mark.django_db
def test_trigger_doesn_t_go_beyond_the_last_number():
    page = GuardedPage.objects.create()
    GuardedPage.objects.update(version=2**63 - 1)
    rows = models.QuerySet(GuardedPage).filter(pk=page.pk)
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.update(text="new")
    assert rows.values_list("version", "text").get() == (2**63 - 1, "old")


@pytest.mark.django_db(transaction=True)
@isolate_apps("testapp")
def test_a_trigger_for_a_field_that_is_not_there_is_an_error_that_names_it():
    class Mistyped(models.Model):
        text = models.CharField(max_length=20)

        class Meta:
            app_label = "testapp"
            constraints = (VersionTrigger(name="mistyped", field="revision"),)

    with (
        pytest.raises(FieldDoesNotExist, match="'revision'"),
        connection.schema_editor(collect_sql=True) as editor,
    ):
        editor.create_model(Mistyped)
