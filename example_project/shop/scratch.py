"""A database of its own for the demo, dropped when the demo ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections


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
    name = f"optilock_demo_{os.getpid()}"
    test = {"NAME": name}
    with TemporaryDirectory(prefix="optilock-demo-") as folder:
        if entry["ENGINE"].endswith("sqlite3"):
            test["NAME"] = name = str(Path(folder) / name)
        elif entry["ENGINE"].endswith("mysql"):
            test["CHARSET"] = "utf8mb4"
        try:
            _use({**entry, "NAME": name, "TEST": test})
            with _created():
                yield
        finally:
            _use(usual)


def _use(entry: dict[str, Any]) -> None:
    """Point the default connection somewhere else."""
    chosen = connections.configure_settings({DEFAULT_DB_ALIAS: entry})
    connections.databases.update(chosen)
    del connections[DEFAULT_DB_ALIAS]


@contextmanager
def _created() -> Iterator[None]:
    connection = connections[DEFAULT_DB_ALIAS]
    exists = False
    # Django warns that there is no "postgres" database if there is no server.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            connection.creation.create_test_db(verbosity=0)
            exists = True
            yield
        except OperationalError as error:
            if exists or connection.vendor == "sqlite":
                raise
            raise CommandError(
                f"No database could be made: {error}\n"
                f"Start a server on this machine, or say where yours is, as a user who "
                f"may create databases:\n  --database KIND://user:password@host:port/"
            ) from error
        finally:
            connection.close()
            if connection.vendor != "sqlite":  # its file is deleted with the folder
                # An interrupted creation may have nothing to drop.
                with suppress(*() if exists else (DatabaseError,)):
                    connection.creation.destroy_test_db(verbosity=0)
