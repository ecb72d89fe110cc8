"""System checks that ask the database: isolation levels and triggers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from django.apps import AppConfig, apps
from django.core import checks
from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from optilock.fields import IntegerVersionField
from optilock.triggers import VersionTrigger

__all__ = ["check_databases"]


def check_databases(
    *,
    app_configs: Sequence[AppConfig] | None,
    databases: Iterable[str] | None = None,
    **kwargs: object,
) -> list[checks.CheckMessage]:
    """Check these databases, so far as the lock depends on them."""
    configs = apps.get_app_configs() if app_configs is None else app_configs
    found = [model for config in configs for model in config.get_models()]
    messages: list[checks.CheckMessage] = []
    for alias in databases or ():
        messages += _check_isolation(alias)
        messages += _check_triggers(alias, found)
    return messages


def _check_isolation(alias: str) -> Iterator[checks.CheckMessage]:
    if _reads_uncommitted(connections[alias]):
        yield checks.Warning(
            f"Transactions on the database {alias!r} read what others haven't "
            f"committed (READ UNCOMMITTED), versions included.",
            hint=(
                "If what was read is rolled back, somebody else commits that same "
                "version, and the reader overwrites it. Set "
                'OPTIONS["isolation_level"] to "read committed", Django\'s default.'
            ),
            id="optilock.W040",
        )


def _reads_uncommitted(connection: BaseDatabaseWrapper) -> bool:
    # PostgreSQL has no such level, and SQLite only between connections that share
    # a cache, which programs that are more than one can't do.
    if connection.vendor != "mysql":
        return False
    with connection.cursor() as cursor:
        # MySQL 8 has the second name only, MariaDB before 11.1 only the first.
        cursor.execute(
            "SHOW SESSION VARIABLES "
            "WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"
        )
        levels = {level for _, level in cursor.fetchall()}
    return "READ-UNCOMMITTED" in levels


#: Each selects the table, the name and the body of the triggers of an UPDATE.
_TRIGGERS = {
    "sqlite": (
        "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' "
        "AND sql LIKE '%UPDATE%ON%'"
    ),
    "postgresql": """
SELECT c.relname, t.tgname, p.prosrc FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgtype::int & 16 <> 0 AND pg_table_is_visible(c.oid)""",
    "mysql": """
SELECT event_object_table, trigger_name, action_statement
FROM information_schema.triggers
WHERE event_manipulation = 'UPDATE' AND trigger_schema = DATABASE()""",
}


def _check_triggers(
    alias: str, found: Sequence[type[models.Model]]
) -> Iterator[checks.CheckMessage]:
    connection = connections[alias]
    if connection.vendor not in _TRIGGERS:
        return
    locked = [
        (model, field)
        for model in found
        if model._meta.managed and not model._meta.proxy
        for field in model._meta.local_fields
        if isinstance(field, IntegerVersionField)
        and router.allow_migrate_model(alias, model)
    ]
    if not locked:
        return
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS[connection.vendor])
        triggers = [tuple(map(str, row)) for row in cursor.fetchall()]
    for model, field in locked:
        table = model._meta.db_table.lower()
        there = {n: body for t, n, body in triggers if t.lower() == table}
        declared = {
            c.name for c in model._meta.constraints if isinstance(c, VersionTrigger)
        }
        yield from _check_foreign(model, field, there, declared)
        missing = sorted(declared - there.keys())
        if missing and not _is_to_be_migrated(connection):
            yield checks.Warning(
                f"The database {alias!r} has no trigger {missing[0]!r}, which "
                f"{model._meta.label} declares.",
                hint=(
                    "What others write bumps no version there. Take the constraint "
                    "out of Meta.constraints and put it back, with a migration for "
                    "each; or run the CREATE TRIGGER that sqlmigrate shows."
                ),
                obj=model,
                id="optilock.W042",
            )


def _check_foreign(
    model: type[models.Model],
    field: IntegerVersionField,
    there: dict[str, str],
    declared: set[str],
) -> Iterator[checks.CheckMessage]:
    for name, body in there.items():
        if name not in declared and _assigns(body, str(field.column)):
            yield checks.Warning(
                f"The trigger {name!r} sets {field} in the database, beside optilock.",
                hint=(
                    "If it bumps the version of a row that a save() has bumped, the "
                    "object is stale at once, and its next save() is refused. Drop "
                    "it (for one of django-concurrency, by RemoveTrigger of "
                    "optilock.operations), and declare a VersionTrigger instead."
                ),
                obj=model,
                id="optilock.W041",
            )


def _assigns(body: str, column: str) -> bool:
    """Tell whether a trigger sets a column: ``SET version =``, ``NEW.version :=``."""
    quoted = rf'["`\[]?{re.escape(column)}["`\]]?\s*:?='
    new = r'["`]?\bNEW["`]?\.'
    return bool(
        re.search(
            rf"(?:\bSET\s+|,\s*)(?:{new})?{quoted}"
            rf"|(?:^|;|\bBEGIN\b|\bTHEN\b|\bELSE\b|\bLOOP\b)\s*{new}{quoted}",
            body,
            re.IGNORECASE,
        )
    )


def _is_to_be_migrated(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a migration that isn't applied yet may still make it."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
