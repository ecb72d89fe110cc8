"""Other packages for the admin, one at a time.

OPTILOCK_TEST_ADMIN chooses one of them. They can't all be installed together: the
themes replace each other's templates.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Package:
    """What has to be written in a project to use the package.

    Attributes:
        apps: go in front of ``INSTALLED_APPS``.
        model_admin: the class that the project's own derive from.
        inlines: the module of the classes that its inlines derive from.
        middleware: goes behind ``MIDDLEWARE``.
        urls: modules of more URLs.
    """

    apps: Sequence[str]
    model_admin: str = "django.contrib.admin.ModelAdmin"
    inlines: str = "django.contrib.admin"
    middleware: Sequence[str] = ()
    urls: Sequence[str] = ()


PACKAGES = {
    "unfold": Package(["unfold"], "unfold.admin.ModelAdmin", "unfold.admin"),
    "jazzmin": Package(["jazzmin"]),
    "grappelli": Package(["grappelli"], urls=["grappelli.urls"]),
    "admin_interface": Package(
        ["admin_interface", "colorfield"],
        urls=["django.conf.urls.i18n"],
    ),
    "import_export": Package(
        ["import_export"], "import_export.admin.ImportExportModelAdmin"
    ),
    "reversion": Package(["reversion"], "reversion.admin.VersionAdmin"),
    "simple_history": Package(
        ["simple_history"],
        "simple_history.admin.SimpleHistoryAdmin",
        middleware=["simple_history.middleware.HistoryRequestMiddleware"],
    ),
}

NAME = os.environ.get("OPTILOCK_TEST_ADMIN", "")
if NAME and NAME not in PACKAGES:
    raise SystemExit(
        f"OPTILOCK_TEST_ADMIN is {NAME!r}; choose one of {', '.join(PACKAGES)}."
    )
CHOSEN = PACKAGES[NAME] if NAME and find_spec(NAME) else None


def why_skipped() -> str:
    """Return why there is nothing to test; empty if there is."""
    if CHOSEN:
        return ""
    if NAME:
        return f"{NAME} is not installed"
    return "OPTILOCK_TEST_ADMIN names no package; python tests/contracts tries each"
