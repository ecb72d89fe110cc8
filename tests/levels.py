"""Connections at each isolation level that the database has."""

from __future__ import annotations

from contextlib import contextmanager

from django.conf import settings
from django.db import connections

VENDOR = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


def isolation_levels():
    if VENDOR == "postgresql":
        from psycopg import IsolationLevel

        # A deadlock is looked for after a second, by default.
        fast = {"options": "-c deadlock_timeout=20ms"}
        return {
            level.name: {"isolation_level": level, **fast}
            for level in IsolationLevel
            if level is not IsolationLevel.READ_UNCOMMITTED
        }
    if VENDOR == "mysql":
        # On by default in newer releases. At SERIALIZABLE it changes nothing: there
        # all that is read is locked.
        off, on = (
            {"init_command": f"SET innodb_snapshot_isolation = {value}"}
            for value in ("OFF", "ON")
        )
        return {
            "READ_COMMITTED": {"isolation_level": "read committed"},
            "REPEATABLE_READ": {"isolation_level": "repeatable read", **off},
            "SERIALIZABLE": {"isolation_level": "serializable"},
            "SNAPSHOT": {"isolation_level": "repeatable read", **on},
        }
    # With the timeout that sqlite3 has by default, and without waiting for the disk.
    wal = {"init_command": "PRAGMA journal_mode = wal; PRAGMA synchronous = off"}
    journal = {"init_command": "PRAGMA journal_mode = delete; PRAGMA synchronous = off"}
    return {
        "JOURNAL": {"transaction_mode": "DEFERRED", **journal},
        "JOURNAL_IMMEDIATE": {"transaction_mode": "IMMEDIATE", **journal},
        "WAL": {"transaction_mode": "DEFERRED", **wal},
        "WAL_IMMEDIATE": {"transaction_mode": "IMMEDIATE", **wal},
    }


LEVELS = isolation_levels()


@contextmanager
def connected(options, **others):
    """Use a connection of its own for this thread, with these OPTIONS and settings."""
    before = connections["default"]
    rival = connections.create_connection("default")
    rival.settings_dict = {**rival.settings_dict, "OPTIONS": options, **others}
    connections["default"] = rival
    try:
        yield
    finally:
        rival.close()
        connections["default"] = before
