"""The operations by themselves; the projects run them on whole tables."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import NotSupportedError, connection, models
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter
from testapp.models import Account

from optilock.operations import AdoptVersion, RemoveTrigger

OPERATIONS = [
    (
        AdoptVersion("account", "version", was=models.BigIntegerField(default=0)),
        "optilock.operations.AdoptVersion(",
        "Take over account.version as a version",
    ),
    (
        RemoveTrigger("account", "version"),
        "optilock.operations.RemoveTrigger(",
        "Drop the old trigger of account.version",
    ),
    (
        RemoveTrigger("account", "version", trigger="concurrency_t"),
        "trigger='concurrency_t'",
        "Drop the old trigger of account.version",
    ),
]


@pytest.mark.parametrize(("operation", "text", "description"), OPERATIONS)
def test_an_operation_can_be_written_and_described(operation, text, description):
    assert text in OperationWriter(operation).serialize()[0]
    assert operation.describe() == description


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", [operation for operation, *_ in OPERATIONS])
def test_a_database_that_the_router_keeps_from_the_model_is_left(operation, settings):
    class Nowhere:
        def allow_migrate(self, *args, **kwargs):
            return False

    settings.DATABASE_ROUTERS = [Nowhere()]
    state = ProjectState.from_apps(apps)
    with connection.schema_editor(collect_sql=True) as editor:
        operation.state_forwards("testapp", state)
        operation.database_forwards("testapp", editor, state, state)
        assert editor.collected_sql == []


@pytest.mark.django_db(transaction=True)
def test_a_database_whose_triggers_nobody_knows_is_refused(monkeypatch):
    monkeypatch.setattr("optilock.operations._DROP", {})
    operation, state = RemoveTrigger("account", "version"), ProjectState.from_apps(apps)
    with (
        pytest.raises(NotSupportedError, match="knows no triggers"),
        connection.schema_editor(collect_sql=True) as editor,
    ):
        operation.database_forwards("testapp", editor, state, state)


TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger",
    "mysql": "SELECT trigger_name FROM information_schema.triggers "
    "WHERE trigger_schema = DATABASE()",
}


@pytest.mark.django_db(transaction=True)
def test_a_trigger_comes_back_on_the_way_back_and_goes_again():
    def run(direction):
        with connection.schema_editor() as editor:
            getattr(operation, direction)("testapp", editor, state, state)
        with connection.cursor() as cursor:
            cursor.execute(TRIGGERS[connection.vendor])
            return "concurrency_t" in {name for (name,) in cursor.fetchall()}

    operation = RemoveTrigger("account", "version", trigger="concurrency_t")
    state = ProjectState.from_apps(apps)
    try:
        assert run("database_backwards")
        account = Account.objects.create()
        Account._base_manager.update(owner="theirs")
        account.refresh_from_db()
        assert account.version > 1
    finally:
        assert not run("database_forwards")
