"""Operations for migrations: taking over a column another package counted in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import NotSupportedError, router, transaction
from django.db.migrations.operations.base import Operation

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

    from optilock.rows import ModelField

    Deconstructed = tuple[str, list[object], dict[str, object]]

__all__ = ["AdoptVersion", "RemoveTrigger"]


class AdoptVersion(Operation):
    """Make a column what a version field needs, where an edited migration says it is.

    The numbers in it stay as they are, and NULL becomes 1. The type becomes that of a
    64-bit integer, not null, with a default in the database. On a database that was
    made with the edited migrations it changes nothing.

    On the way back nothing is done: whoever counted in the column before can go on,
    also while both run.

    Args:
        model_name: the model, as in ``AddField``.
        name: the version field.
        was: the field as it was in the database: ``models.BigIntegerField()``, say.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, name: str, *, was: ModelField) -> None:
        self.model_name = model_name
        self.name = name
        self.was = was

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: the state has the version field already."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            field = model._meta.get_field(self.name)
            old = self.was.clone()
            old.db_column = field.db_column
            old.set_attributes_from_name(field.name)
            old.model = model
            schema_editor.alter_field(model, old, field)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do nothing: see above."""

    def deconstruct(self) -> Deconstructed:
        return type(self).__qualname__, [self.model_name, self.name], {"was": self.was}

    def describe(self) -> str:
        return f"Take over {self.model_name}.{self.name} as a version"


_DROP = {
    "sqlite": "DROP TRIGGER IF EXISTS {trigger}",
    "mysql": "DROP TRIGGER IF EXISTS {trigger}",
    "postgresql": "DROP FUNCTION IF EXISTS {function}() CASCADE",
}
_CREATE = {
    "sqlite": """
CREATE TRIGGER {trigger} AFTER UPDATE ON {table} BEGIN
UPDATE {table} SET {column} = {column} + 1 WHERE {key} = NEW.{key}; END""",
    "mysql": """
CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW
SET NEW.{column} = OLD.{column} + 1""",
    "postgresql": """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.{column} := OLD.{column} + 1; RETURN NEW; END $$;
CREATE TRIGGER {trigger} BEFORE UPDATE ON {table}
FOR EACH ROW EXECUTE FUNCTION {function}()""",
}


class RemoveTrigger(Operation):
    """Drop the trigger that django-concurrency's ``TriggerVersionField`` has made.

    On the way back it is made again: without it, the old field counts nothing. On
    MySQL and MariaDB no migration is atomic; this one can be run again.

    Args:
        model_name: the model, as in ``AddField``.
        name: the version field.
        trigger: the trigger's name, if the field was given a ``trigger_name``:
            ``concurrency_`` and that name.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, name: str, trigger: str | None = None) -> None:
        self.model_name = model_name
        self.name = name
        self.trigger = trigger

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: no state knows of that trigger."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._run(_DROP, app_label, schema_editor, to_state)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        def create() -> None:
            self._run(_DROP, app_label, schema_editor, to_state)
            self._run(_CREATE, app_label, schema_editor, to_state)

        connection = schema_editor.connection
        if connection.vendor == "sqlite":
            # Other operations make the table anew, without its triggers.
            transaction.on_commit(create, using=connection.alias)
        else:
            create()

    def _run(
        self,
        templates: dict[str, str],
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        connection = schema_editor.connection
        model = state.apps.get_model(app_label, self.model_name)
        if not router.allow_migrate_model(connection.alias, model):
            return
        if connection.vendor not in templates:
            raise NotSupportedError(
                f"RemoveTrigger knows no triggers of {connection.display_name}."
            )
        meta, quote = model._meta, schema_editor.quote_name
        trigger = self.trigger or f"concurrency_{meta.db_table}_{self.name}"
        if connection.vendor == "postgresql":
            trigger = trigger.lower()  # they don't quote it
        schema_editor.execute(
            templates[connection.vendor]
            .strip()
            .format(
                trigger=quote(trigger),
                function=quote(f"func_{trigger}"),
                table=quote(meta.db_table),
                column=quote(meta.get_field(self.name).column),
                key=quote(meta.pk.column),
            ),
            params=None,
        )

    def deconstruct(self) -> Deconstructed:
        kwargs: dict[str, object] = {}
        if self.trigger is not None:
            kwargs["trigger"] = self.trigger
        return type(self).__qualname__, [self.model_name, self.name], kwargs

    def describe(self) -> str:
        return f"Drop the old trigger of {self.model_name}.{self.name}"
