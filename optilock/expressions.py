"""The next version, as an expression in SQL, and the last one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models.expressions import Expression

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from optilock.rows import ModelField

__all__ = [
    "LAST_VERSION",
    "ExpectedVersion",
    "NextOfExpected",
    "NextVersion",
    "next_version_sql",
]

#: What a column of 64 bits can hold.
LAST_VERSION = 2**63 - 1


class NextVersion(Expression):
    """``"version" + 1`` in the ``SET`` of an ``UPDATE``.

    What ``F("version") + 1`` renders, at a fraction of its cost.
    """

    def __init__(self, field: ModelField) -> None:
        super().__init__(output_field=field)

    def resolve_expression(self, *args: object, **kwargs: object) -> NextVersion:
        return self

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[()]]:
        column = connection.ops.quote_name(str(self.output_field.column))
        return f"{column} + 1", ()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[()]]:
        # Behind the last number SQLite goes on with a float. NULL is refused.
        column = connection.ops.quote_name(str(self.output_field.column))
        return f"NULLIF({column}, {LAST_VERSION}) + 1", ()


def next_version_sql(field: ModelField, connection: BaseDatabaseWrapper) -> str:
    """Return what ``NextVersion`` renders where there is more than one such column."""
    quote = connection.ops.quote_name
    column = f"{quote(field.model._meta.db_table)}.{quote(str(field.column))}"
    if connection.vendor == "sqlite":
        column = f"NULLIF({column}, {LAST_VERSION})"
    return f"{column} + 1"


class NextOfExpected(NextVersion):
    """The same where ``expected()`` has seen that there is a next number."""

    as_sqlite = NextVersion.as_sql


class ExpectedVersion(int):
    """The version that ``pre_save()`` hands to an update.

    A raw save (a fixture being loaded) doesn't call ``pre_save()``: a plain
    number among the values of an update is one to be stored as it is.
    """
