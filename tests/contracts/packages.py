"""Other packages, one at a time.

OPTILOCK_TEST_ADMIN chooses one of them. They can't all be installed together: the
themes replace each other's templates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        own: the only modules of tests that are about it, if it isn't for the admin.
        settings: more of them.
        database: the only one it works with.
        engine: its own, for this database.
        distribution: what pip calls it, if that isn't its name with hyphens.
    """

    apps: Sequence[str]
    model_admin: str = "django.contrib.admin.ModelAdmin"
    inlines: str = "django.contrib.admin"
    middleware: Sequence[str] = ()
    urls: Sequence[str] = ()
    own: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    database: str = ""
    engine: str = ""
    distribution: str = ""


LANGUAGES = {"LANGUAGE_CODE": "en", "LANGUAGES": [("en", "English"), ("de", "German")]}

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
    "mptt": Package(["mptt"], own=["test_trees"]),
    "treebeard": Package(["treebeard"], own=["test_trees", "test_moves"]),
    "polymorphic": Package(["polymorphic"], own=["test_bases", "test_children"]),
    "safedelete": Package(["safedelete"], own=["test_bases", "test_soft_deletes"]),
    "model_utils": Package([], own=["test_bases", "test_soft_deletes"]),
    "django_fsm": Package(
        [], own=["test_bases", "test_states"], distribution="django-fsm-2"
    ),
    "dirtyfields": Package([], own=["test_bases", "test_changes"]),
    "django_lifecycle": Package([], own=["test_bases", "test_changes"]),
    "modeltranslation": Package(
        ["modeltranslation"],
        own=["test_bases", "test_translations"],
        settings={
            **LANGUAGES,
            "MODELTRANSLATION_TRANSLATION_FILES": ["contracts.translated"],
        },
    ),
    "parler": Package(
        ["parler"],
        own=["test_bases", "test_translations"],
        settings={
            **LANGUAGES,
            "PARLER_LANGUAGES": {None: [{"code": "en"}, {"code": "de"}]},
            "PARLER_ENABLE_CACHING": False,  # it outlives a test's transaction
        },
    ),
    "cachalot": Package(
        ["cachalot"],
        own=["test_cache"],
        settings={"CACHALOT_INVALIDATE_RAW": False},
    ),
    "pghistory": Package(
        ["pgtrigger", "pghistory"],
        own=["test_history"],
        database="postgresql",
        settings={"PGTRIGGER_INSTALL_ON_MIGRATE": True},
    ),
    "django_filters": Package(
        ["django_filters"], own=["test_filters"], distribution="django-filter"
    ),
    "django_tenants": Package(
        [],
        own=["test_schemas"],
        database="postgresql",
        engine="django_tenants.postgresql_backend",
    ),
    "wagtail": Package(
        [
            "wagtail.snippets",
            "wagtail.users",
            "wagtail.sites",
            "wagtail.documents",
            "wagtail.images",
            "wagtail.search",
            "wagtail.admin",
            "wagtail",
            "modelcluster",
            "taggit",
        ],
        urls=["wagtail.admin.urls"],
        own=["test_drafts"],
        distribution="wagtail",
    ),
}

NAME = os.environ.get("OPTILOCK_TEST_ADMIN", "")
if NAME and NAME not in PACKAGES:
    raise SystemExit(
        f"OPTILOCK_TEST_ADMIN is {NAME!r}; choose one of {', '.join(PACKAGES)}."
    )
DATABASE = os.environ.get("OPTILOCK_TEST_DATABASE", "sqlite")
_wanted = PACKAGES[NAME] if NAME and find_spec(NAME) else None
CHOSEN = _wanted if _wanted and _wanted.database in ("", DATABASE) else None


def why_skipped() -> str:
    """Return why there is nothing to test; empty if there is."""
    if CHOSEN:
        return ""
    if _wanted:
        return f"{NAME} is for {_wanted.database}"
    if NAME:
        return f"{NAME} is not installed"
    return "OPTILOCK_TEST_ADMIN names no package; python tests/contracts tries each"
