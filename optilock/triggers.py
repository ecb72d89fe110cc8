"""A trigger that bumps the version where no manager sees the write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import checks
from django.db import NotSupportedError, models
from django.db.backends.ddl_references import Columns, Statement, Table
from django.db.models.constraints import BaseConstraint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.utils.functional import _StrOrPromise
    from typing_extensions import TypedDict, Unpack

    from optilock.fields import IntegerVersionField

    class _Violation(TypedDict, total=False):
        violation_error_code: str | None
        violation_error_message: _StrOrPromise | None


__all__ = ["VersionTrigger", "has_trigger"]

# In each of them NEW.version = OLD.version means that the UPDATE left the version
# alone. One that bumped it, as optilock's own do, is left alone.
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
UPDATE %(table)s SET %(column)s = NULLIF(OLD.%(column)s, 9223372036854775807) + 1
WHERE rowid = NEW.rowid;
END""",
}
_REMOVE = {
    # The trigger goes with its function.
    "postgresql": "DROP FUNCTION IF EXISTS %(name)s() CASCADE",
    "mysql": "DROP TRIGGER IF EXISTS %(name)s",
    "sqlite": "DROP TRIGGER IF EXISTS %(name)s",
}


class VersionTrigger(BaseConstraint):
    """Let the database bump the version when an UPDATE doesn't.

    That covers raw SQL, other programs, ``_base_manager`` and SET_NULL::

        class Meta:
            constraints = [VersionTrigger(name="account_version")]

    Nothing is bumped twice: writes by optilock bump the version themselves.

    Args:
        name: name of the trigger (and, on PostgreSQL, of its function); unique
            in the database.
        field: name of the version field.
        column: name of its column, where that is another one. Nobody has to give
            it: the field does, and so ``makemigrations`` sees when it changes.
    """

    def __init__(
        self,
        *,
        name: str,
        field: str = "version",
        column: str | None = None,
        **kwargs: Unpack[_Violation],
    ) -> None:
        self.field = field
        self.column = column
        super().__init__(name=name, **kwargs)

    def join(self, field: IntegerVersionField) -> None:
        """Take note of the column of the model's version field."""
        if field.name == self.field:
            self.column = None if field.column == self.field else field.column

    def constraint_sql(  # type: ignore[override]  # the stubs know of no Statement
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        # A trigger isn't a part of CREATE TABLE: it follows, once the table has
        # got its final name.
        schema_editor.deferred_sql.append(
            self._statement(_CREATE, model, schema_editor, self._current_column(model))
        )

    def create_sql(  # type: ignore[override]  # the stubs know of no Statement
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> Statement | str:
        statement = self._statement(
            _CREATE, model, schema_editor, self._current_column(model)
        )
        if self._current_column(model) == (self.column or self.field):
            return statement
        # The column is about to get the name that is known here, by a renaming that
        # is undone after this. Django corrects what is deferred, but no trigger.
        schema_editor.deferred_sql.append(statement)
        return ""

    def remove_sql(  # type: ignore[override]  # the stubs know of no Statement
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> Statement:
        statement = self._statement(_REMOVE, model, schema_editor)
        schema_editor.deferred_sql[:] = [
            sql
            for sql in schema_editor.deferred_sql
            if not (
                isinstance(sql, Statement)
                and sql.parts.get("name") == statement.parts["name"]
            )
        ]
        return statement

    def _current_column(self, model: type[models.Model]) -> str:
        """Return the column of the version, whatever its field is called by now."""
        fields = model._meta.local_fields
        if not any(field.name == self.field for field in fields):
            for field in fields:
                if hasattr(field, "lock"):  # a version field, or its copy
                    return str(field.column)
        return str(model._meta.get_field(self.field).column)  # type: ignore[union-attr]  # the version has one

    def _statement(
        self,
        templates: dict[str, str],
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        column: str | None = None,
    ) -> Statement:
        connection = schema_editor.connection
        if connection.vendor not in templates:
            raise NotSupportedError(
                f"VersionTrigger {self.name!r} of {model._meta.label}: there is no "
                f"trigger for {connection.display_name}, only for PostgreSQL, "
                f"MariaDB, MySQL and SQLite. Remove it from Meta.constraints."
            )
        table, quote = model._meta.db_table, schema_editor.quote_name
        parts = {"name": quote(self.name), "table": Table(table, quote)}
        if column is not None:
            # This follows when the column is renamed, as the other does the table.
            parts["column"] = Columns(table, [column], quote)
        return Statement(templates[connection.vendor].strip(), **parts)

    def validate(self, *args: object, **kwargs: object) -> None:
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

    def deconstruct(self) -> tuple[str, Sequence[object], dict[str, object]]:
        path, args, kwargs = super().deconstruct()
        if self.field != "version":
            kwargs["field"] = self.field
        if self.column is not None:
            kwargs["column"] = self.column
        return path.replace("optilock.triggers", "optilock"), args, kwargs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, VersionTrigger):
            return bool(self.deconstruct() == other.deconstruct())
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.field))

    def __repr__(self) -> str:
        column = "" if self.column is None else f" column={self.column!r}"
        return f"<VersionTrigger: name={self.name!r} field={self.field!r}{column}>"


def has_trigger(model: type[models.Model]) -> bool:
    """Return whether the database bumps the versions of the model's table."""
    return any(isinstance(c, VersionTrigger) for c in model._meta.constraints)
