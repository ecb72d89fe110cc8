"""Settings of the test suite.

OPTILOCK_TEST_DATABASE chooses the database: sqlite (the default), postgresql
or mariadb. The servers are taken to run on 127.0.0.1, on their standard ports.

The example project's apps are installed too: its stories are tested on each
database.

OPTILOCK_TEST_ADMIN adds another package for the admin, for the tests in contracts/.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from config import settings as example
from contracts import packages

# Nobody loses a test's rows if the machine goes down: no commit waits for the disk.
CHOICES: dict[str, dict[str, Any]] = {
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA synchronous = off",
        },
    },
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "OPTIONS": {"options": "-c synchronous_commit=off"},
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("MYSQL_PORT", ""),
        "USER": os.environ.get("MYSQL_USER", "root"),
        "PASSWORD": os.environ.get("MYSQL_PASSWORD", ""),
    },
}
CHOICE = os.environ.get("OPTILOCK_TEST_DATABASE", "sqlite")
if CHOICE not in CHOICES:
    raise SystemExit(
        f"OPTILOCK_TEST_DATABASE is {CHOICE!r}; choose one of {', '.join(CHOICES)}."
    )


def database(name: str) -> dict[str, Any]:
    # Several suites (one per Python or Django) may run at once.
    name = f"optilock_{os.environ.get('OPTILOCK_TEST_SUFFIX', os.getpid())}_{name}"
    if CHOICE == "sqlite":
        # Threads need a database in a file: each gets its own connection.
        path = Path(tempfile.gettempdir()) / f"{name}.sqlite3"
        return {**CHOICES[CHOICE], "NAME": path, "TEST": {"NAME": path}}
    test: dict[str, Any] = {"NAME": name}
    if CHOICE == "mariadb":
        test |= {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}
    maintenance = {"postgresql": "postgres", "mariadb": "mysql"}[CHOICE]
    return {**CHOICES[CHOICE], "NAME": maintenance, "TEST": test}


DATABASES = {"default": database("default"), "other": database("other")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [*example.INSTALLED_APPS, "samples", "testapp"]
MEDIA_ROOT = tempfile.mkdtemp(prefix="optilock")
LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"
MIDDLEWARE = [
    # Once, wherever the example has it.
    *dict.fromkeys([*example.MIDDLEWARE, LOCALE_MIDDLEWARE]),
    "testapp.middleware.strict_policy",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # it is fast
ROOT_URLCONF = "testapp.urls"
SECRET_KEY = "not a secret"  # noqa: S105 -- nothing but the tests is signed with it
STATIC_URL = example.STATIC_URL
TEMPLATES = example.TEMPLATES
USE_TZ = True

if packages.CHOSEN:
    INSTALLED_APPS = [*packages.CHOSEN.apps, *INSTALLED_APPS, "contracts"]
    MIDDLEWARE = [*MIDDLEWARE, *packages.CHOSEN.middleware]
    ROOT_URLCONF = "contracts.urls"
    globals().update(packages.CHOSEN.settings)
    if packages.CHOSEN.engine:
        for one in DATABASES.values():
            one["ENGINE"] = packages.CHOSEN.engine
