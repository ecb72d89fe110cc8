"""A trigger that raises the version where no manager sees the write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import NotSupportedError, models
from django.db.backends.ddl_references import Columns, Statement, Table
from django.db.models.constraints import BaseConstraint

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# In each of them NEW.version = OLD.version means that the UPDATE left the version
# alone. One that raised it, as optilock's own do, is left alone in turn.
_CREATE = {
    "postgresql": """
CREATE OR REPLACE FUNCTION %(name)s() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.%(column)s := OLD.%(column)s + 1; RETURN NEW; END $$;
CREATE TRIGGER %(name)s BEFORE UPDATE ON %(table)s FOR EACH ROW
WHEN (NEW.%(column)s = OLD.%(column)s) EXECUTE FUNCTION %(name)s()""",
    "mysql": """
CREATE TRIGGER %(name)s BEFORE UPDATE ON %(table)s FOR EACH ROW
SET NEW.%(column)s = NEW.%(column)s + (NEW.%(column)s = OLD.%(column)s)""",
    "sqlite": """
CREATE TRIGGER %(name)s AFTER UPDATE ON %(table)s FOR EACH ROW
WHEN NEW.%(column)s = OLD.%(column)s
BEGIN
UPDATE %(table)s SET %(column)s = OLD.%(column)s + 1 WHERE rowid = NEW.rowid;
END""",
}
_REMOVE = {
    # The trigger goes with its function.
    "postgresql": "DROP FUNCTION IF EXISTS %(name)s() CASCADE",
    "mysql": "DROP TRIGGER IF EXISTS %(name)s",
    "sqlite": "DROP TRIGGER IF EXISTS %(name)s",
}


class VersionTrigger(BaseConstraint):
    """Let the database raise the version when an UPDATE doesn't.

    That covers raw SQL, other programs, ``_base_manager`` and SET_NULL::

        class Meta:
            constraints = [VersionTrigger(name="account_version")]

    Nothing is raised twice: writes by optilock raise the version themselves.

    Args:
        name: name of the trigger (and, on PostgreSQL, of its function); unique
            in the database.
        field: name of the version field.
    """

    def __init__(self, *, name: str, field: str = "version", **kwargs: Any) -> None:
        self.field = field
        super().__init__(name=name, **kwargs)

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        # A trigger isn't a part of CREATE TABLE: it follows, once the table has
        # got its final name.
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._statement(_CREATE, model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._statement(_REMOVE, model, schema_editor)

    def _statement(
        self, templates: dict[str, str], model: Any, schema_editor: Any
    ) -> Statement:
        connection = schema_editor.connection
        if connection.vendor not in templates:
            raise NotSupportedError(
                f"VersionTrigger {self.name!r} of {model._meta.label}: there is no "
                f"trigger for {connection.display_name}, only for PostgreSQL, "
                f"MariaDB, MySQL and SQLite. Remove it from Meta.constraints."
            )
        table, quote = model._meta.db_table, schema_editor.quote_name
        column = model._meta.get_field(self.field).column
        return Statement(
            templates[connection.vendor].strip(),
            name=quote(self.name),
            # These follow when the table or the column is renamed.
            table=Table(table, quote),
            column=Columns(table, [column], quote),
        )

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Accept every instance: the trigger corrects, it doesn't refuse."""

    def check(
        self, model: type[models.Model], connection: BaseDatabaseWrapper
    ) -> list[checks.CheckMessage]:
        if connection.vendor in _CREATE:
            return []
        return [
            checks.Error(
                f"{connection.display_name} has no VersionTrigger.",
                hint=f"Remove {self.name!r} from the constraints of the model.",
                obj=model,
                id="optilock.E013",
            )
        ]

    _check = check  # what Django 5.2 calls it

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        if self.field != "version":
            kwargs["field"] = self.field
        return path.replace("optilock.triggers", "optilock"), args, kwargs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, VersionTrigger):
            return bool(self.deconstruct() == other.deconstruct())
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.field))

    def __repr__(self) -> str:
        return f"<VersionTrigger: name={self.name!r} field={self.field!r}>"


def has_trigger(model: type[models.Model]) -> bool:
    """Return whether the database raises the versions of the model's table."""
    return any(isinstance(c, VersionTrigger) for c in model._meta.constraints)
