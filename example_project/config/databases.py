"""Databases by name or URL: "sqlite", "postgresql://user:secret@host:5432/name"."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

SQLITE_FILE = Path(__file__).resolve().parent.parent / "db.sqlite3"

ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "django.db.backends.mysql",
}

#: Modules that Django can use.
DRIVERS = {
    "sqlite": ["sqlite3"],
    "postgresql": ["psycopg", "psycopg2"],
    "mariadb": ["MySQLdb"],
}

OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {
        # Writers queue when they begin, not when it is too late to wait.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
    "postgresql": {"connect_timeout": 5},
    "mariadb": {"charset": "utf8mb4", "connect_timeout": 5},
}


def database(choice: str) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for a name or a URL.

    A name alone means the server on this machine, on its standard port, or
    what the variables of the server's own clients say (PGHOST, MYSQL_HOST, …).

    Raises:
        ImproperlyConfigured: no such kind of database, or its driver is missing.
    """
    url = urlsplit(choice if ":" in choice else f"{choice}:")
    if url.scheme not in ENGINES:
        raise ImproperlyConfigured(
            f"{choice!r} is no database known here: give one of "
            f"{', '.join(ENGINES)}, or a URL that begins with one of them."
        )
    if not any(map(_can_import, DRIVERS[url.scheme])):
        raise ImproperlyConfigured(
            f"The driver for {url.scheme} is missing. Install it: "
            f'pip install ".[example,{url.scheme}]"'
        )
    settings = {"ENGINE": ENGINES[url.scheme], "OPTIONS": dict(OPTIONS[url.scheme])}
    if url.scheme == "sqlite":
        return {**settings, "NAME": unquote(url.path[1:]) or SQLITE_FILE}
    prefix, user = {"postgresql": ("PG", "postgres"), "mariadb": ("MYSQL_", "root")}[
        url.scheme
    ]
    return {
        **settings,
        "NAME": unquote(url.path[1:]) or "optilock",
        "HOST": url.hostname or os.environ.get(f"{prefix}HOST", "127.0.0.1"),
        "PORT": url.port or os.environ.get(f"{prefix}PORT", ""),
        "USER": unquote(url.username or os.environ.get(f"{prefix}USER", user)),
        "PASSWORD": unquote(url.password or os.environ.get(f"{prefix}PASSWORD", "")),
    }


def _can_import(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True
