"""Runs Wagtail's tests, with the lock in every model of Wagtail and of its tests."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.core.management import execute_from_command_line
from django.db.models.base import ModelBase
from django_suite import inside

__all__ = ["Runner", "run"]

SETTINGS = "optilock_wagtail_suite"

#: What Wagtail notes of a row's revisions, which makes nobody's object stale.
NOTES = (
    "draft_title",
    "has_unpublished_changes",
    "latest_revision",
    "latest_revision_created_at",
    "live_revision",
)


def run(labels: Iterable[str], into: Path, *, is_lock: bool) -> int:
    """Run Wagtail's tests in this process, which is good for nothing else afterwards.

    Args:
        labels: which of them.
        into: the file that is told what became of them.
        is_lock: put in the lock, or else a plain column.
    """
    Runner.into, Runner.models = into, _put_into_models(is_lock)
    inside.keep_receivers_apart()
    settings = types.ModuleType(SETTINGS)
    vars(settings).update(vars(import_module("wagtail.test.settings")))
    # Its migrations don't know of the column, and take minutes.
    vars(settings).update(
        MIGRATION_MODULES=_NoMigrations(), TEST_RUNNER=f"{__name__}.Runner"
    )
    sys.modules[SETTINGS] = settings
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    django.setup()
    execute_from_command_line(["manage.py", "test", *labels])
    return 0


class _NoMigrations:
    def __contains__(self, app: str) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


def _put_into_models(is_lock: bool) -> set[str]:
    """Let every model of Wagtail's, and of its tests, have one field more.

    Returns:
        The names of these models, while they are being declared.
    """
    make, changed = ModelBase.__new__, set()

    def new(
        cls: Any, name: str, bases: Any, attrs: dict[str, Any], **kwargs: Any
    ) -> Any:
        module = attrs.get("__module__", "")
        if module.startswith("wagtail.") and inside.is_root(bases, attrs):
            changed.add(f"{module}.{name}")
            bases = _locked(bases, attrs, is_lock)
        return make(cls, name, bases, attrs, **kwargs)

    ModelBase.__new__ = new  # type: ignore[method-assign]
    return changed


def _locked(bases: Any, attrs: dict[str, Any], is_lock: bool) -> Any:
    """Return a model's bases, with what docs/packages.md says is to be written."""
    from optilock.contrib.wagtail import VersionedRevisionMixin

    abstract = [base for base in bases if hasattr(base, "_meta")]
    names = {field.name for base in abstract for field in base._meta.local_fields}
    bases = inside.with_base(bases, is_lock)
    if "latest_revision" not in names:
        return bases
    notes = [name for name in NOTES if name in names]
    attrs["version"] = inside.version(is_lock, exclude=notes)
    return (VersionedRevisionMixin, *bases) if is_lock else bases


class Runner(inside.Runner):
    """Puts into the database what Wagtail's migrations would."""

    def setup_databases(self, **kwargs: Any) -> Any:
        found = super().setup_databases(**kwargs)
        _put_in_first_rows()
        return found


def _put_in_first_rows() -> None:
    import swapper
    from django.contrib.auth.models import Group
    from wagtail import models

    pages = swapper.load_model("wagtailcore", "Page")
    locale = models.Locale.objects.create(language_code="en")
    models.Collection.add_root(name="Root")
    root = pages.add_root(title="Root", slug="root", locale=locale)
    home = root.add_child(title="Welcome!", slug="home", locale=locale)
    models.Site.objects.create(
        hostname="localhost", root_page=home, is_default_site=True
    )
    groups = {"Moderators": ("add", "change", "publish"), "Editors": ("add", "change")}
    for name, actions in groups.items():
        group = Group.objects.create(name=name)
        for action in actions:
            models.GroupPagePermission.objects.create(
                group=group, page=root, permission_type=action
            )
    task = models.GroupApprovalTask.objects.create(name="Moderators approval")
    task.groups.set(Group.objects.filter(name="Moderators"))
    workflow = models.Workflow.objects.create(name=task.name)
    models.WorkflowTask.objects.create(workflow=workflow, task=task, sort_order=0)
    models.WorkflowPage.objects.create(workflow=workflow, page=root)
