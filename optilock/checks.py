"""System checks: holes in the lock that would otherwise be silent.

The field checks its own options; what needs a look at whole models is here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import checks
from django.db import models

from optilock.decisions import DECISIONS, is_decision
from optilock.fields import IntegerVersionField
from optilock.models import VersionedModel
from optilock.query import VersionedQuerySet
from optilock.triggers import VersionTrigger, has_trigger

__all__ = ["check_versioned_models"]


def check_versioned_models(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: object
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
        yield _tell_of_child(model, versions[0])
    else:
        yield from _check_parents(model, versions[0])
    yield from _check_managers(model)
    yield from _check_overrides(model)
    yield from _check_user(model, versions[0])
    yield from _check_on_delete(model, versions[0])
    yield from _check_merging(model)


def _tell_of_child(
    model: type[models.Model], field: IntegerVersionField
) -> checks.CheckMessage:
    """Return what is to be said of a version that a parent's rows don't have."""
    parents = model._meta.parents
    roots = ", ".join(parent._meta.label for parent in parents)
    if not all(map(_is_installed, parents)):
        return checks.Error(
            f"{field} is on a child model: saves of {roots} don't see it.",
            hint=f"Move the version field to {roots}.",
            obj=model,
            id="optilock.E005",
        )
    return checks.Warning(
        f"{field} is on a child of {roots}, which is another package's: "
        f"what is saved, updated or deleted as {roots} doesn't see it.",
        hint=(
            f"Saves of {model._meta.label} are checked, with the fields of {roots}. "
            f"Write such rows as {model._meta.label} only, and silence this check."
        ),
        obj=model,
        id="optilock.W005",
    )


def _is_installed(model: type[models.Model]) -> bool:
    """Tell whether a model is of Django or an installed package, and not the project's.

    Nobody can move a field there.
    """
    config = model._meta.app_config
    parts = Path(config.path).parts if config else ()
    return not {"site-packages", "dist-packages"}.isdisjoint(parts)


def _check_parents(
    model: type[models.Model], version: IntegerVersionField
) -> Iterator[checks.CheckMessage]:
    for parent in model._meta.parents:
        if version not in parent._meta.concrete_fields:
            yield checks.Warning(
                f"{model._meta.label} inherits from {parent._meta.label} as well, "
                f"whose own saves don't bump {version}.",
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
                f"{trigger!r} bumps the version when excluded fields are written.",
                hint=f"Remove the trigger, or `exclude` from {field}.",
                obj=model,
                id="optilock.E012",
            )


def _check_managers(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    for manager in model._meta.managers:
        if not issubclass(type(manager.get_queryset()), VersionedQuerySet):
            yield checks.Warning(
                f"{model._meta.label}.{manager.name} doesn't bump the version in "
                f"update(), so whoever holds one of the rows overwrites the update.",
                hint=f"Declare {manager.name} = {_versioned(manager)} on the model.",
                obj=model,
                id="optilock.W001",
            )
        elif manager is model._default_manager and not manager.use_in_migrations:
            yield checks.Warning(
                f"{model._meta.label}.{manager.name} doesn't travel into migrations: "
                f"there, update() doesn't bump the version and bulk_update() doesn't "
                f"check it.",
                hint=(
                    f"Derive {manager.name} from VersionedManager, for instance "
                    f"VersionedManager.from_queryset(...)(), and run makemigrations; "
                    f"or give its class use_in_migrations = True."
                ),
                obj=model,
                id="optilock.W004",
            )


def _versioned(manager: models.Manager[models.Model]) -> str:
    """Return how to make the same manager, with querysets that bump versions."""
    if type(manager) is models.Manager:
        return "VersionedManager()"
    name = type(manager).__name__
    is_named = hasattr(inspect.getmodule(type(manager)), name)
    return f"versioned_manager({f'{name}()' if is_named else '...'})"


#: What the lock is built on, and the calls by which an override reaches it.
_GUARDED = {
    "save": {"super", "save", "save_base"},
    "asave": {"super", "save", "asave", "save_base"},
    "delete": {"super", "save", "asave"},  # a soft delete saves
    "adelete": {"super", "save", "asave", "delete"},
}


def _check_overrides(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    """Look for methods in front of the lock's own that never get there."""
    is_whole = issubclass(model, VersionedModel)
    base = VersionedModel if is_whole else models.Model
    in_front = model.__mro__[: model.__mro__.index(base)]
    for name, calls in _GUARDED.items():
        if not is_whole and name.endswith("delete"):
            continue  # the field alone doesn't guard it
        for owner in in_front:
            method = vars(owner).get(name)
            if method is None or _calls(method, calls, in_front, set()):
                continue
            yield checks.Warning(
                f"{owner.__name__}.{name}() of {model._meta.label} calls no super(), "
                f"so what it writes is unchecked.",
                hint=(
                    f"Call super().{name}() in it. If it writes no row of this model "
                    f"past the lock, silence this check."
                ),
                obj=model,
                id="optilock.W021",
            )


def _calls(
    method: Callable[..., object],
    names: set[str],
    owners: Sequence[type],
    seen: set[CodeType],
) -> bool:
    """Tell whether a function mentions one of the names, itself or in its helpers.

    Args:
        method: the function; anything else counts as mentioning them.
        names: what is looked for.
        owners: the classes whose methods count as helpers.
        seen: the code that was looked at already.
    """
    function = inspect.unwrap(getattr(method, "__func__", method))
    if not inspect.isfunction(function):
        return True
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        if names.intersection(code.co_names):
            return True
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
        for owner in owners:
            for helper in map(vars(owner).get, code.co_names):
                if inspect.isfunction(helper) and _calls(helper, names, owners, seen):
                    return True
    return False


def _check_user(
    model: type[models.Model], version: IntegerVersionField
) -> Iterator[checks.CheckMessage]:
    """Find a user model where one of two logins would be refused."""
    if not (
        model._meta.label_lower == settings.AUTH_USER_MODEL.lower()
        and issubclass(model, AbstractBaseUser)
    ):
        return
    written = []
    if not version.excludes(["last_login"]):
        written.append("last_login")
    if not version.excludes(["password"]) and (
        model.check_password is AbstractBaseUser.check_password
    ):
        written.append("a better password hash")
    if written:
        yield checks.Warning(
            f"A login writes {' and '.join(written)} into {model._meta.label}: of two "
            f"logins at once, one fails with a RecordModifiedError.",
            hint=(
                'Declare version = IntegerVersionField(exclude=["last_login"]) on the '
                "model, and have its check_password() begin again after a "
                "RecordModifiedError: docs/packages.md shows both."
            ),
            obj=model,
            id="optilock.W022",
        )


def _check_on_delete(
    model: type[models.Model], version: IntegerVersionField
) -> Iterator[checks.CheckMessage]:
    if has_trigger(model):
        return
    for field in model._meta.local_fields:
        if version.excludes([field.name]):
            continue
        relation = field.remote_field
        on_delete = getattr(relation, "on_delete", None)
        if relation is None or on_delete in (
            None,
            models.CASCADE,
            models.PROTECT,
            models.RESTRICT,
            models.DO_NOTHING,
            getattr(models, "DB_CASCADE", models.CASCADE),
        ):
            continue
        yield checks.Warning(
            f"When a {relation.model._meta.label} is deleted, {field} is "
            f"changed without bumping the version of its row.",
            hint=(
                "Whoever holds the row puts the old value back with the next save. "
                "Add a VersionTrigger to Meta.constraints, and the database bumps "
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
    resolve = getattr(model, "merge_decisions", {})
    for name in (*(name for group in groups for name in group), *resolve):
        if name not in names:
            yield checks.Error(
                f"{model._meta.label} is to merge {name!r}, which isn't a field.",
                hint="Correct the name in merge_together or merge_decisions.",
                obj=model,
                id="optilock.E022",
            )
    for name, decision in resolve.items():
        if not is_decision(decision):
            yield checks.Error(
                f"{model._meta.label}.merge_decisions[{name!r}] is {decision!r}.",
                hint=f"Use {DECISIONS}.",
                obj=model,
                id="optilock.E023",
            )
