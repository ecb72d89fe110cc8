"""System checks: admin classes that look protected and aren't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.admin.sites import AdminSite, all_sites
from django.core import checks

from optilock.admin.options import VersionedAdminMixin, VersionedInlineMixin
from optilock.fields import version_field


def check_admin_sites(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Check the admin classes of every site."""
    return [
        message
        for site in all_sites
        for model, model_admin in site._registry.items()
        if app_configs is None or model._meta.app_config in app_configs
        for message in _check_admin(site, model_admin)
    ]


def _check_admin(
    site: AdminSite, model_admin: ModelAdmin[Any]
) -> Iterator[checks.CheckMessage]:
    cls = type(model_admin)
    is_versioned = isinstance(model_admin, VersionedAdminMixin)
    is_used = any(isinstance(a, VersionedAdminMixin) for a in site._registry.values())
    inlines = [i for i in model_admin.inlines if isinstance(i, type)]
    if is_versioned:
        yield from _check_order(cls, VersionedAdminMixin, ModelAdmin, "optilock.E030")
        yield from _check_actions(site, model_admin)
        yield from _check_groups(cls, model_admin.model)
        yield from _check_poll(cls)
        if not any(version_field(m) for m in (model_admin.model, *_models(inlines))):
            yield checks.Warning(
                f"{cls.__name__} is a VersionedAdminMixin, but neither "
                f"{model_admin.model._meta.label} nor an inline of it has a version.",
                hint="Derive the model from VersionedModel, or drop the mixin.",
                obj=cls,
                id="optilock.W031",
            )
    elif (
        is_used
        and version_field(model_admin.model)
        # Whoever overrides it may have taken the permission away.
        and cls.has_change_permission is ModelAdmin.has_change_permission
    ):
        yield checks.Warning(
            f"{cls.__name__} lets people overwrite each other's changes of "
            f"{model_admin.model._meta.label}, which has a version.",
            hint="Let it derive from VersionedModelAdmin, or VersionedAdminMixin.",
            obj=cls,
            id="optilock.W032",
        )
    for inline in inlines:
        yield from _check_inline(cls, inline, is_versioned=is_versioned)


def _check_inline(
    cls: type, inline: type, *, is_versioned: bool
) -> Iterator[checks.CheckMessage]:
    if issubclass(inline, VersionedInlineMixin):
        yield from _check_order(
            inline, VersionedInlineMixin, InlineModelAdmin, "optilock.E031"
        )
        if model := getattr(inline, "model", None):
            yield from _check_groups(inline, model)
        if not is_versioned:
            yield checks.Error(
                f"{inline.__name__} is versioned, but nothing shows its conflicts.",
                hint=f"Let {cls.__name__} derive from VersionedAdminMixin, too.",
                obj=cls,
                id="optilock.E032",
            )
    elif is_versioned and any(version_field(model) for model in _models([inline])):
        yield checks.Warning(
            f"{inline.__name__} puts back old values of rows that others have changed.",
            hint="Let it derive from VersionedInlineMixin, or VersionedTabularInline.",
            obj=inline,
            id="optilock.W030",
        )


def _check_order(
    cls: type, mixin: type, base: type, id: str
) -> Iterator[checks.CheckMessage]:
    if cls.__mro__.index(mixin) > cls.__mro__.index(base):
        yield checks.Error(
            f"{mixin.__name__} stands behind {base.__name__}, which never calls it.",
            hint=f"Write class {cls.__name__}({mixin.__name__}, …).",
            obj=cls,
            id=id,
        )


def _check_actions(site: AdminSite, model_admin: Any) -> Iterator[checks.CheckMessage]:
    cls: Any = type(model_admin)
    known = {name for name, _ in site.actions}
    for action in cls.actions or ():
        known.add(action if isinstance(action, str) else action.__name__)
    for name in model_admin.optilock_actions:
        if name not in known:
            yield checks.Error(
                f"optilock_actions of {cls.__name__} names {name!r}, which isn't an "
                f"action.",
                hint=f"Its actions are {', '.join(sorted(known))}.",
                obj=cls,
                id="optilock.E033",
            )


def _check_groups(cls: Any, model: Any) -> Iterator[checks.CheckMessage]:
    names = {f.name for f in (*model._meta.fields, *model._meta.many_to_many)}
    for group in cls.optilock_groups or ():
        unknown = [group] if isinstance(group, str) else sorted({*group} - names)
        if unknown:
            yield checks.Error(
                f"optilock_groups of {cls.__name__} has a group {group!r}, in which "
                f"{', '.join(map(repr, unknown))} is no field of {model._meta.label}.",
                hint='Write groups of field names: [("amount", "currency")].',
                obj=cls,
                id="optilock.E035",
            )


def _check_poll(cls: Any) -> Iterator[checks.CheckMessage]:
    seconds = cls.optilock_poll
    if seconds is not None and not (isinstance(seconds, int) and seconds > 0):
        yield checks.Error(
            f"optilock_poll of {cls.__name__} is {seconds!r}, not a number of seconds.",
            hint="Write a whole number from 1 on, or None to ask never.",
            obj=cls,
            id="optilock.E036",
        )


def _models(inlines: list[Any]) -> list[Any]:
    return [inline.model for inline in inlines if getattr(inline, "model", None)]
