"""Runs Django's ``runtests.py``, with one field more in the models of its tests."""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestCase, TextTestResult

from django.db import models
from django.db.models import signals
from django.db.models.base import ModelBase
from django.test.runner import DiscoverRunner

__all__ = [
    "LEFT_OUT",
    "OF_OTHER_THINGS",
    "Runner",
    "is_root",
    "keep_receivers_apart",
    "run",
    "version",
    "with_base",
]

SETTINGS = "optilock_django_suite"

#: Tests of databases and tools that aren't here, and of how pages are translated.
LEFT_OUT = frozenset(["admin_scripts", "gis_tests", "i18n", "postgres_tests"])
#: They have models, but are about something else, and take as long as all the others.
OF_OTHER_THINGS = frozenset(
    """
    admin_autodiscover admin_checks admin_custom_urls admin_docs admin_registration
    admin_views admin_widgets app_loading apps auth_tests backends cache check_framework
    context_processors field_deconstruction file_storage file_uploads forms_tests
    inspectdb introspection invalid_models_tests messages_tests migrations resolve_url
    schema servers shell sitemaps_tests syndication_tests test_runner test_utils
    utils_tests view_tests
    """.split()  # noqa: SIM905 -- shorter
)
#: They have a `version` of their own, as a field, a parent's field, or a related name.
MODELS_LEFT_OUT = frozenset(
    [
        "delete_regress.Policy",
        "delete_regress.VersionReport",
        "model_inheritance_regress.Politician",
        "proxy_models.Issue",
        "select_related_onetoone.Parent2",
    ]
)


def run(
    source: Path,
    labels: Iterable[str],
    into: Path,
    *,
    is_lock: bool,
    field_alone: bool,
) -> None:
    """Run Django's tests in this process, which is good for nothing else afterwards.

    Args:
        source: the folder of the tests.
        labels: which of them.
        into: the file that is told what became of them.
        is_lock: put in the lock, or else a plain column.
        field_alone: never put in the base class.
    """
    os.chdir(source)
    sys.path[0] = str(source)
    Runner.into = into
    Runner.models = _put_into_models(source, is_lock, field_alone)
    keep_receivers_apart()
    settings = types.ModuleType(SETTINGS)
    vars(settings).update(runpy.run_path("test_sqlite.py"))
    vars(settings).update(TEST_RUNNER=f"{__name__}.Runner")
    sys.modules[SETTINGS] = settings
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    sys.argv = ["runtests.py", "--parallel=1", *labels]
    with suppress(SystemExit):  # what failed is in the file
        runpy.run_path("runtests.py", run_name="__main__")


# --- the models --------------------------------------------------------------


def _put_into_models(source: Path, is_lock: bool, field_alone: bool) -> set[str]:
    """Let every model that Django's tests declare have one field more.

    Returns:
        The names of these models, while they are being declared.
    """
    make, changed = ModelBase.__new__, set()
    ours = {path.name for path in source.iterdir() if path.is_dir()} - LEFT_OUT

    def new(
        cls: Any, name: str, bases: Any, attrs: dict[str, Any], **kwargs: Any
    ) -> Any:
        module = attrs.get("__module__", "").partition(".")[0]
        label = f"{module}.{name}"
        if (
            module in ours
            and label not in MODELS_LEFT_OUT
            and "version" not in attrs
            and is_root(bases, attrs)
        ):
            changed.add(label)
            if field_alone or _has_managers(bases, attrs):
                attrs["version"] = version(is_lock)
            else:
                bases = with_base(bases, is_lock)
        return make(cls, name, bases, attrs, **kwargs)

    ModelBase.__new__ = new  # type: ignore[method-assign]
    return changed


def is_root(bases: Iterable[Any], attrs: dict[str, Any]) -> bool:
    """Tell whether it is a model with a table, and its parents have none."""
    return not getattr(attrs.get("Meta"), "abstract", False) and not any(
        hasattr(base, "_meta") and not base._meta.abstract
        for parent in bases
        for base in parent.__mro__
    )


def _has_managers(bases: Iterable[Any], attrs: dict[str, Any]) -> bool:
    parents = [base._meta for base in bases if hasattr(base, "_meta")]
    return any(meta.managers for meta in parents) or any(
        isinstance(value, models.Manager) for value in attrs.values()
    )


def version(is_lock: bool, **options: Any) -> Any:
    """Return a field: the lock's, with options for it, or a plain column."""
    from optilock import IntegerVersionField

    if is_lock:
        return IntegerVersionField(**options)
    return models.BigIntegerField(default=1, editable=False)


def with_base(bases: Iterable[Any], is_lock: bool) -> tuple[Any, ...]:
    """Return the bases of a model, with the one more that brings the field."""
    return *(base for base in bases if base is not models.Model), _base(is_lock)


@cache
def _base(is_lock: bool) -> Any:
    from optilock import VersionedModel  # not before the first model is declared

    column = VersionedModel._meta.get_field("version")
    # The first after the key, whatever was declared before it was imported.
    column.creation_counter = 0
    if is_lock:
        return VersionedModel
    field = version(is_lock)
    field.creation_counter = column.creation_counter
    meta = type("Meta", (), {"abstract": True})
    members = {"__module__": VersionedModel.__module__, "Meta": meta, "version": field}
    return type(models.Model)("Control", (models.Model,), members)


# --- the tests ---------------------------------------------------------------


def keep_receivers_apart() -> None:
    """Disconnect after each test what it has connected to the signals of models.

    Some leave receivers behind, and the tests after them take another way: their
    deletes, for one.
    """
    kept = [s for s in vars(signals).values() if isinstance(s, signals.ModelSignal)]
    run = TestCase.run

    def run_apart(self: Any, *args: Any) -> Any:
        before = [[*signal.receivers] for signal in kept]
        try:
            return run(self, *args)
        finally:
            for signal, receivers in zip(kept, before, strict=True):
                signal.receivers = receivers
                signal.sender_receivers_cache.clear()

    TestCase.run = run_apart  # type: ignore[method-assign]


class Result(TextTestResult):
    """Knows the tests that were run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ids: set[str] = set()

    def startTest(self, test: Any) -> None:  # noqa: N802 -- unittest's
        self.ids.add(test.id())
        super().startTest(test)


class Runner(DiscoverRunner):
    """Writes to a file what failed, and what it took."""

    into: ClassVar[Path]
    models: ClassVar[set[str]]

    def get_resultclass(self) -> type:
        return Result

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> Any:
        failed = {
            getattr(test, "test_case", test).id(): text
            for test, text in [*result.failures, *result.errors]
        }
        failed |= {test.id(): "no failure" for test in result.unexpectedSuccesses}
        found = {
            "ids": sorted(result.ids),
            "failed": failed,
            "models": len(self.models),
            "seconds": _cpu(),
        }
        self.into.write_text(json.dumps(found))
        return super().suite_result(suite, result, **kwargs)


def _cpu() -> float:
    """Return the seconds that this process and its children have computed.

    What the system does for them isn't theirs: how long that takes, others decide.
    """
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime for one in used)
