"""A database of its own for the demo, gone when the demo is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections

SERVERS = {
    "django.db.backends.postgresql": (
        "docker run --rm -d -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres"
    ),
    "django.db.backends.mysql": (
        "docker run --rm -d -p 3306:3306 -e MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 mariadb"
    ),
}


@contextmanager
def scratch_database(entry: dict[str, Any]) -> Iterator[None]:
    """Make the default connection one to a new database, and drop it at the end.

    Args:
        entry: which server, as in ``DATABASES``. Its ``NAME`` isn't touched.

    Raises:
        CommandError: the server doesn't answer.
    """
    usual = connections.databases[DEFAULT_DB_ALIAS]
    connections.close_all()
    with TemporaryDirectory(prefix="optilock-demo-") as folder:
        name = f"optilock_demo_{os.getpid()}"
        if entry["ENGINE"] == "django.db.backends.sqlite3":
            name = str(Path(folder) / name)
        test = {"NAME": name}
        if entry["ENGINE"] == "django.db.backends.mysql":
            test["CHARSET"] = "utf8mb4"
        try:
            _use({**entry, "NAME": name, "TEST": test})
            with _created(name):
                yield
        finally:
            _use(usual)


def _use(entry: dict[str, Any]) -> None:
    """Point the default connection somewhere else."""
    chosen = connections.configure_settings({DEFAULT_DB_ALIAS: entry})
    connections.databases.update(chosen)
    del connections[DEFAULT_DB_ALIAS]


@contextmanager
def _created(name: str) -> Iterator[None]:
    connection = connections[DEFAULT_DB_ALIAS]
    usual_name = settings.DATABASES[DEFAULT_DB_ALIAS]["NAME"]
    exists = False
    try:
        with _without_warnings():
            connection.creation.create_test_db(verbosity=0)
        exists = True
        yield
    except OperationalError as error:
        if exists:
            raise
        raise CommandError(_no_server(connection.settings_dict, error)) from error
    finally:
        settings.DATABASES[DEFAULT_DB_ALIAS]["NAME"] = usual_name
        connection.close()
        if connection.vendor != "sqlite":  # its file goes with the folder
            # An interrupted creation may have nothing to drop.
            with _without_warnings(), suppress(*() if exists else (DatabaseError,)):
                connection.creation.destroy_test_db(usual_name, verbosity=0)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Don't warn that there is no "postgres" database if there is no server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _no_server(entry: dict[str, Any], error: OperationalError) -> str:
    engine = entry["ENGINE"]
    if engine not in SERVERS:
        return f"The database can't be opened: {error}"
    where = entry["HOST"] + (f":{entry['PORT']}" if entry["PORT"] else "")
    return (
        f"No database could be made on the server at {where} as {entry['USER']!r}:\n"
        f"{error}\n"
        f"Start a server, for example with\n"
        f"  {SERVERS[engine]}\n"
        f"or say where yours is, as a user who may create databases:\n"
        f"  --database {'postgresql' if 'postgres' in engine else 'mariadb'}"
        f"://user:password@host:port/"
    )
