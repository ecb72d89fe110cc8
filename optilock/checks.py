"""System checks: holes in the lock that would otherwise be silent.

The field checks its own options; what needs a look at whole models is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db import models

from optilock.conflicts import is_decision
from optilock.fields import IntegerVersionField
from optilock.models import VersionedModel
from optilock.query import VersionedQuerySet
from optilock.triggers import VersionTrigger, has_trigger


def check_versioned_models(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Check every model with a version field."""
    configs = apps.get_app_configs() if app_configs is None else app_configs
    return [
        message
        for config in configs
        for model in config.get_models()
        for message in _check_model(model)
    ]


def _check_model(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    meta = model._meta
    yield from _check_triggers(model)
    versions = [f for f in meta.concrete_fields if isinstance(f, IntegerVersionField)]
    if not versions:
        if issubclass(model, VersionedModel):
            yield checks.Error(
                f"{meta.label} has replaced the version field, so it has no lock.",
                hint=(
                    "Give what replaced it another name, or derive the model from "
                    "models.Model if it is to have no lock."
                ),
                obj=model,
                id="optilock.E006",
            )
        return
    if len(versions) > 1:
        names = ", ".join(str(field) for field in versions)
        yield checks.Error(
            f"{meta.label} has more than one version field: {names}.",
            hint="A row has one version. Keep the one of the topmost parent.",
            obj=model,
            id="optilock.E004",
        )
    elif meta.parents and versions[0] in meta.local_fields and not meta.proxy:
        roots = ", ".join(parent._meta.label for parent in meta.parents)
        yield checks.Error(
            f"{versions[0]} is on a child model: saves of {roots} don't see it.",
            hint=f"Move the version field to {roots}.",
            obj=model,
            id="optilock.E005",
        )
    else:
        yield from _check_parents(model, versions[0])
    yield from _check_managers(model)
    yield from _check_on_delete(model)
    yield from _check_merging(model)


def _check_parents(
    model: type[models.Model], version: IntegerVersionField
) -> Iterator[checks.CheckMessage]:
    for parent in model._meta.parents:
        if version not in parent._meta.concrete_fields:
            yield checks.Warning(
                f"{model._meta.label} inherits from {parent._meta.label} as well, "
                f"whose own saves don't raise {version}.",
                hint=(
                    f"Whoever holds a {model._meta.label} overwrites what was saved as "
                    f"a {parent._meta.label}. Save such rows as {model._meta.label} "
                    f"only and silence this check, or make {parent._meta.label} "
                    f"abstract."
                ),
                obj=model,
                id="optilock.W003",
            )


def _check_triggers(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    for trigger in model._meta.constraints:
        if not isinstance(trigger, VersionTrigger):
            continue
        field = next(
            (f for f in model._meta.local_fields if f.name == trigger.field), None
        )
        if not isinstance(field, IntegerVersionField):
            yield checks.Error(
                f"{trigger!r} needs a version field {trigger.field!r} in the table of "
                f"{model._meta.label}.",
                hint=(
                    "Name the version field in the trigger's `field`. If it is on a "
                    "parent, declare the trigger there."
                ),
                obj=model,
                id="optilock.E011",
            )
        elif field.exclude:
            yield checks.Error(
                f"{trigger!r} raises the version when excluded fields are written.",
                hint=f"Remove the trigger, or `exclude` from {field}.",
                obj=model,
                id="optilock.E012",
            )


def _check_managers(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    for manager in model._meta.managers:
        if not issubclass(type(manager.get_queryset()), VersionedQuerySet):
            yield checks.Warning(
                f"{model._meta.label}.{manager.name} doesn't raise the version in "
                f"update(), so whoever holds one of the rows overwrites the update.",
                hint=(
                    f"Declare {manager.name} = VersionedManager() on the model, or "
                    f"derive the manager's queryset from VersionedQuerySet."
                ),
                obj=model,
                id="optilock.W001",
            )


def _check_on_delete(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    if has_trigger(model):
        return
    for field in model._meta.local_fields:
        relation: Any = field.remote_field
        on_delete = getattr(relation, "on_delete", None)
        if on_delete is None or on_delete in (
            models.CASCADE,
            models.PROTECT,
            models.RESTRICT,
            models.DO_NOTHING,
            getattr(models, "DB_CASCADE", models.CASCADE),
        ):
            continue
        yield checks.Warning(
            f"When a {relation.model._meta.label} is deleted, {field} is "
            f"changed without raising the version of its row.",
            hint=(
                "Whoever holds the row puts the old value back with the next save. "
                "Add a VersionTrigger to Meta.constraints, and the database raises "
                "it; or use CASCADE, PROTECT or RESTRICT."
            ),
            obj=field,
            id="optilock.W002",
        )


def _check_merging(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    policy = getattr(model, "on_conflict", "raise")
    if policy not in ("raise", "merge"):
        yield checks.Error(
            f"{model._meta.label}.on_conflict is {policy!r}.",
            hint='Use "raise" or "merge".',
            obj=model,
            id="optilock.E020",
        )
    if policy == "merge" and not getattr(model, "remember_loaded", False):
        yield checks.Warning(
            f"{model._meta.label} merges conflicts, but doesn't remember what was "
            f"loaded: who changed what is never known, and every conflict raises.",
            hint="Remove remember_loaded = False, or on_conflict.",
            obj=model,
            id="optilock.W020",
        )
    names = {field.name for field in model._meta.get_fields()}
    groups = getattr(model, "merge_together", ())
    if any(isinstance(group, str) for group in groups):
        yield checks.Error(
            f"{model._meta.label}.merge_together has a name where a group belongs.",
            hint='Each group is a sequence: [("amount", "currency")].',
            obj=model,
            id="optilock.E021",
        )
        groups = ()
    resolve = getattr(model, "merge_resolve", {})
    for name in (*(name for group in groups for name in group), *resolve):
        if name not in names:
            yield checks.Error(
                f"{model._meta.label} is to merge {name!r}, which isn't a field.",
                hint="Correct the name in merge_together or merge_resolve.",
                obj=model,
                id="optilock.E022",
            )
    for name, decision in resolve.items():
        if not is_decision(decision):
            yield checks.Error(
                f"{model._meta.label}.merge_resolve[{name!r}] is {decision!r}.",
                hint='Use "mine", "theirs", "base", "lines", or a function.',
                obj=model,
                id="optilock.E023",
            )
