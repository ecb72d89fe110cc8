"""System checks: admin classes that look protected and aren't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from django.apps import AppConfig, apps
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.admin.sites import AdminSite, all_sites
from django.contrib.admin.utils import flatten, flatten_fieldsets
from django.core import checks
from django.db import models

from optilock.admin import VersionedAdminMixin, VersionedInlineMixin
from optilock.decisions import DECISIONS, is_decision
from optilock.presence import people
from optilock.rows import version_field

__all__ = ["check_admin_sites"]


def check_admin_sites(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: object
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
    site: AdminSite, model_admin: ModelAdmin[models.Model]
) -> Iterator[checks.CheckMessage]:
    cls = type(model_admin)
    is_versioned = isinstance(model_admin, VersionedAdminMixin)
    inlines = [i for i in model_admin.inlines if isinstance(i, type)]
    if isinstance(model_admin, VersionedAdminMixin):
        yield from _check_order(cls, VersionedAdminMixin, ModelAdmin, "optilock.E030")
        yield from _check_names(cls, VersionedAdminMixin)
        yield from _check_actions(site, model_admin)
        yield from _check_row_options(type(model_admin), model_admin.model)
        yield from _check_poll(type(model_admin))
        yield from _check_telling(type(model_admin))
        if model_admin.optilock_presence and not people.is_installed():
            yield people.missing(cls)
        if not any(version_field(m) for m in (model_admin.model, *_models(inlines))):
            yield checks.Warning(
                f"{cls.__name__} is a VersionedAdminMixin, but neither "
                f"{model_admin.model._meta.label} nor an inline of it has a version.",
                hint="Derive the model from VersionedModel, or drop the mixin.",
                obj=cls,
                id="optilock.W031",
            )
    elif (
        version_field(model_admin.model)
        # An override may have taken the permission away.
        and cls.has_change_permission is ModelAdmin.has_change_permission
    ):
        yield checks.Warning(
            f"{cls.__name__} lets people overwrite each other's changes of "
            f"{model_admin.model._meta.label}, which has a version.",
            hint="Let it derive from VersionedModelAdmin, or VersionedAdminMixin.",
            obj=cls,
            id="optilock.W032",
        )
    yield from _check_fields(cls, model_admin.model)
    for inline in inlines:
        if getattr(inline, "model", None):
            yield from _check_fields(inline, inline.model)
        yield from _check_inline(cls, inline, is_versioned=is_versioned)


def _check_inline(
    cls: type, inline: type, *, is_versioned: bool
) -> Iterator[checks.CheckMessage]:
    if issubclass(inline, VersionedInlineMixin):
        yield from _check_order(
            inline, VersionedInlineMixin, InlineModelAdmin, "optilock.E031"
        )
        yield from _check_names(inline, VersionedInlineMixin)
        if model := getattr(inline, "model", None):
            yield from _check_row_options(inline, model)
        if not is_versioned:
            yield checks.Error(
                f"{inline.__name__} is versioned, but nothing shows its conflicts.",
                hint=f"Let {cls.__name__} derive from VersionedAdminMixin, too.",
                obj=cls,
                id="optilock.E032",
            )
    elif any(version_field(model) for model in _models([inline])) and (
        getattr(inline, "has_change_permission", None)
        is InlineModelAdmin.has_change_permission
    ):
        also = "" if is_versioned else f", and {cls.__name__} from VersionedAdminMixin"
        yield checks.Warning(
            f"{inline.__name__} puts back old values of rows that others have changed.",
            hint=(
                "Let it derive from VersionedInlineMixin, or VersionedTabularInline"
                f"{also}."
            ),
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


def _check_fields(
    cls: type, model: type[models.Model]
) -> Iterator[checks.CheckMessage]:
    """Find a version among the inputs, which django-concurrency wanted there."""
    version = version_field(model)
    if version is None or version.editable:
        return
    for option in ("fields", "fieldsets"):
        declared = getattr(cls, option, None) or ()
        try:
            names = (
                flatten(declared) if option == "fields" else flatten_fieldsets(declared)
            )
        except (KeyError, TypeError, ValueError):  # Django's own checks tell
            continue
        if version.name in names and version.name not in (
            getattr(cls, "readonly_fields", None) or ()
        ):
            yield checks.Error(
                f"{option} of {cls.__name__} names {version.name!r}, which isn't "
                f"editable: the page is an error 500.",
                hint=(
                    f"Take it out (the page has a token that says more), or name it "
                    f"in readonly_fields as well. {version} is an input only with "
                    f"IntegerVersionField(editable=True)."
                ),
                obj=cls,
                id="optilock.E038",
            )


def _check_names(cls: type, mixin: type) -> Iterator[checks.CheckMessage]:
    """Check that what looks like an option is one."""
    known = {name for name in dir(mixin) if name.startswith("optilock_")}
    for name in dir(cls):
        if name.startswith("optilock_") and name not in known:
            [nearest] = get_close_matches(name, known, n=1, cutoff=0)
            yield checks.Error(
                f"{cls.__name__} has {name}, which isn't an option of "
                f"{mixin.__name__} and has no effect.",
                hint=f"Write {nearest}. Its options are {', '.join(sorted(known))}.",
                obj=cls,
                id="optilock.E037",
            )


def _check_actions(
    site: AdminSite, model_admin: VersionedAdminMixin
) -> Iterator[checks.CheckMessage]:
    cls = type(model_admin)
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


def _check_row_options(
    cls: type[VersionedAdminMixin | VersionedInlineMixin], model: type[models.Model]
) -> Iterator[checks.CheckMessage]:
    names = {f.name for f in (*model._meta.fields, *model._meta.many_to_many)}
    for name, decision in (cls.optilock_merge_decisions or {}).items():
        if name not in names or not is_decision(decision):
            yield checks.Error(
                f"optilock_merge_decisions of {cls.__name__} has {name!r}: "
                f"{decision!r}, which is no field of {model._meta.label} with a "
                f"decision.",
                hint=f"Write field names, with one of these: {DECISIONS}.",
                obj=cls,
                id="optilock.E040",
            )
    names |= {*getattr(cls.form, "base_fields", ())}  # which needn't be the model's
    for group in cls.optilock_merge_together or ():
        unknown = [group] if isinstance(group, str) else sorted({*group} - names)
        if unknown:
            yield checks.Error(
                f"optilock_merge_together of {cls.__name__} has a group {group!r}, in "
                f"which {', '.join(map(repr, unknown))} is no field of "
                f"{model._meta.label}.",
                hint='Write groups of field names: [("amount", "currency")].',
                obj=cls,
                id="optilock.E035",
            )
    also = cls.optilock_compare_also
    columns = {field.name for field in model._meta.concrete_fields}
    for name in [also] if isinstance(also, str) else sorted({*also} - columns):
        yield checks.Error(
            f"optilock_compare_also of {cls.__name__} names {name!r}, which is no list "
            f"of fields with a column of {model._meta.label}.",
            hint='Write a list of field names: ["deleted"].',
            obj=cls,
            id="optilock.E039",
        )


def _check_poll(cls: type[VersionedAdminMixin]) -> Iterator[checks.CheckMessage]:
    seconds = cls.optilock_poll
    if seconds is not None and not (isinstance(seconds, int) and seconds > 0):
        yield checks.Error(
            f"optilock_poll of {cls.__name__} is {seconds!r}, not a number of seconds.",
            hint="Write a whole number from 1 on, or None to ask never.",
            obj=cls,
            id="optilock.E036",
        )


def _check_telling(cls: type[VersionedAdminMixin]) -> Iterator[checks.CheckMessage]:
    if cls.optilock_tell_overwritten and not apps.is_installed("optilock.log"):
        yield checks.Error(
            f"optilock_tell_overwritten of {cls.__name__} needs optilock.log, which "
            f"keeps what people are to be told, and isn't installed.",
            hint='Add "optilock.log" to INSTALLED_APPS, and run migrate.',
            obj=cls,
            id="optilock.E061",
        )


def _models(inlines: list[type]) -> list[type[models.Model]]:
    found = (getattr(inline, "model", None) for inline in inlines)
    return [model for model in found if model]
