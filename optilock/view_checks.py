"""System checks: class-based views and forms that look protected and aren't."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib.admin.sites import all_sites
from django.core import checks
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver
from django.views.generic.edit import BaseUpdateView

from optilock.fields import IntegerVersionField
from optilock.forms import VersionedFormMixin
from optilock.http.checks import callbacks_of
from optilock.presence import people
from optilock.rows import version_field
from optilock.views import VersionedUpdateMixin

__all__ = ["check_views"]

_F = TypeVar("_F", bound=forms.BaseForm)


def check_views(
    *, app_configs: object = None, **kwargs: object
) -> list[checks.CheckMessage]:
    """Check the generic views that the project's URLs lead to, and its plain forms."""
    has_urls = getattr(settings, "ROOT_URLCONF", None)
    patterns = get_resolver().url_patterns if has_urls else []
    return [
        *_check_updates(patterns),
        *_check_presence(patterns),
        *_check_forms(patterns),
    ]


def _views(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[tuple[type, Mapping[str, object]]]:
    """Yield the classes of views, and the options that their URLs give them."""
    for callback in callbacks_of(patterns):
        view = getattr(callback, "view_class", None)
        if isinstance(view, type):
            yield view, getattr(callback, "view_initkwargs", {})


def _check_updates(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[checks.CheckMessage]:
    seen = set()
    for view, options in _views(patterns):
        if not issubclass(view, BaseUpdateView):
            continue
        given = {
            name: options.get(name, getattr(view, name, None))
            for name in ("model", "queryset", "form_class", "fields")
        }
        model = _model_of(given)
        field = None if model is None else version_field(model)
        if (
            model is None
            or field is None
            or issubclass(view, VersionedUpdateMixin)
            or _sends_version(given, field)
            or (view, model) in seen
        ):
            continue
        seen.add((view, model))
        yield checks.Warning(
            f"{view.__module__}.{view.__qualname__} changes {model._meta.label} "
            f"without knowing which version was on the page: what others save while it "
            f"is open is overwritten.",
            hint=(
                "Put VersionedUpdateMixin (of optilock.views) left of the view's bases."
            ),
            obj=view,
            id="optilock.W053",
        )


def _check_presence(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[checks.CheckMessage]:
    """Find views that need a table that isn't there."""
    seen: set[type] = set()
    for view, options in _views(patterns):
        if not issubclass(view, VersionedUpdateMixin):
            continue
        is_wanted = options.get("presence", view.presence)
        if is_wanted and view not in seen and not people.is_installed():
            seen.add(view)
            yield people.missing(view)


def _check_forms(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[checks.CheckMessage]:
    """Find the project's plain forms, but for those that other checks tell about."""
    seen_to = set(_forms_of_views(patterns))
    if apps.is_installed("django.contrib.admin"):
        seen_to |= set(_forms_of_admins())
    for form in _derived_from(forms.ModelForm)[1:]:
        model = form._meta.model
        field = None if model is None else version_field(model)
        if (
            field is None
            or form in seen_to
            or field.name in form.base_fields
            or any(issubclass(one, VersionedFormMixin) for one in _derived_from(form))
            or not _is_the_projects(form)
        ):
            continue
        yield checks.Warning(
            f"{form.__module__}.{form.__qualname__} doesn't know which version of "
            f"{model._meta.label} was on the page: where it changes a row, what others "
            f"save while it is open is overwritten.",
            hint=(
                "Derive it from VersionedModelForm (of optilock.forms), which is a "
                "plain form where a row is new."
            ),
            obj=form,
            id="optilock.W054",
        )


def _forms_of_views(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[object]:
    for view, options in _views(patterns):
        yield options.get("form_class") or getattr(view, "form_class", None)


def _forms_of_admins() -> Iterator[type[forms.BaseForm] | None]:
    for site in all_sites:
        for model_admin in site._registry.values():
            for one in (model_admin, *model_admin.inlines):
                yield getattr(one, "form", None)


def _derived_from(form: type[_F]) -> list[type[_F]]:
    """Return a class and those that derive from it, each once."""
    found = [form]
    for one in form.__subclasses__():
        found += [cls for cls in _derived_from(one) if cls not in found]
    return found


def _is_the_projects(form: type) -> bool:
    """Tell whether a file of the project declares a class, and no package's."""
    name = form.__module__
    parts = Path(getattr(sys.modules.get(name), "__file__", None) or "").parts
    return name.partition(".")[0] not in ("django", "optilock") and (
        {"site-packages", "dist-packages"}.isdisjoint(parts)
    )


def _model_of(given: dict[str, Any]) -> type[models.Model] | None:
    meta = getattr(given["form_class"], "_meta", None)
    return (
        getattr(given["queryset"], "model", None)
        or given["model"]
        or getattr(meta, "model", None)
    )


def _sends_version(given: dict[str, Any], field: IntegerVersionField) -> bool:
    """Tell whether a form brings back the version, in a token or a field."""
    form = given["form_class"]
    if form is not None:
        return issubclass(form, VersionedFormMixin) or field.name in form.base_fields
    return field.name in (given["fields"] or ())
