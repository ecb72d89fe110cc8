"""Databases by name or URL: "sqlite", "postgresql://user:secret@host:5432/name"."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

#: Writers queue when they begin, not when it is too late to wait.
SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
WAIT, UTF8 = {"connect_timeout": 5}, {"charset": "utf8mb4"}
#: Of each kind: its engine, options, drivers (one will do), and who may do everything.
KINDS: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "sqlite": ("sqlite3", SQLITE, ["sqlite3"], ""),
    "postgresql": ("postgresql", WAIT, ["psycopg", "psycopg2"], "postgres"),
    "mariadb": ("mysql", WAIT | UTF8, ["MySQLdb"], "root"),
}


def database(choice: str) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for a name or a URL.

    A name alone means the server on this machine, on its standard port.

    Raises:
        ImproperlyConfigured: no such kind of database, or its driver is missing.
    """
    url = urlsplit(choice if ":" in choice else f"{choice}:")
    if url.scheme not in KINDS:
        raise ImproperlyConfigured(
            f"{choice!r} is no database known here: give one of {', '.join(KINDS)}, "
            f"or a URL that begins with one of them."
        )
    engine, options, drivers, user = KINDS[url.scheme]
    if not any(map(find_spec, drivers)):
        raise ImproperlyConfigured(
            f"The driver for {url.scheme} is missing. Install it: "
            f'pip install ".[example,{url.scheme}]"'
        )
    entry = {"ENGINE": f"django.db.backends.{engine}", "OPTIONS": dict(options)}
    name = unquote(url.path[1:])
    if url.scheme == "sqlite":
        return {**entry, "NAME": name or Path(__file__).parents[1] / "db.sqlite3"}
    return {
        **entry,
        "NAME": name or "optilock",
        "HOST": url.hostname or "127.0.0.1",
        "PORT": url.port or "",
        "USER": unquote(url.username or user),
        "PASSWORD": unquote(url.password or ""),
    }
