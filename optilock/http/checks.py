"""System checks: APIs that look protected and aren't, or can't be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db.models import Model
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver

from optilock.http.middleware import ConflictMiddleware
from optilock.rows import version_field

__all__ = ["callbacks_of", "check_apis"]

_View: TypeAlias = Callable[..., HttpResponseBase]

#: Methods of a view that change what exists.
_CHANGING = ("put", "patch", "update", "partial_update")


def check_apis(
    *, app_configs: object = None, **kwargs: object
) -> list[checks.CheckMessage]:
    """Check the views that the project's URLs lead to, and what CORS lets through."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    callbacks = list(callbacks_of(get_resolver().url_patterns))
    messages: list[checks.CheckMessage] = []
    if apps.is_installed("rest_framework"):
        messages += _check_serializers(callbacks)
    if apps.is_installed("corsheaders") and _speaks_etags(callbacks):
        messages += _check_cors()
    return messages


def callbacks_of(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[_View]:
    """Yield the views that URL patterns lead to."""
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield pattern.callback
        else:
            yield from callbacks_of(pattern.url_patterns)


def _check_serializers(callbacks: list[_View]) -> Iterator[checks.CheckMessage]:
    from optilock.contrib.rest_framework import ConditionalMixin, VersionField

    seen = set()
    for callback in callbacks:
        view = getattr(callback, "cls", None)
        if view is None or issubclass(view, ConditionalMixin):
            continue
        given = getattr(callback, "initkwargs", {}).get("serializer_class")
        serializer: Any = given or getattr(view, "serializer_class", None)
        model: type[Model] | None = getattr(
            getattr(serializer, "Meta", None), "model", None
        )
        field = version_field(model) if model else None
        if model is None or field is None or not _can_change(callback, view):
            continue
        declared = getattr(serializer, "_declared_fields", {})
        if (view, serializer) in seen or any(
            isinstance(field, VersionField) for field in declared.values()
        ):
            continue
        seen.add((view, serializer))
        yield checks.Warning(
            f"{view.__module__}.{view.__qualname__} changes {model._meta.label} "
            f"without knowing which version its client has seen.",
            hint=(
                f"Put ConditionalMixin left of the view's bases, or give "
                f"{serializer.__qualname__} {field.name} = VersionField() (both of "
                f"optilock.contrib.rest_framework). A field that is only named in "
                f"Meta.fields is read-only: what clients send is dropped."
            ),
            obj=view,
            id="optilock.W050",
        )


def _can_change(callback: _View, view: object) -> bool:
    actions = getattr(callback, "actions", None)
    if actions is not None:  # a viewset's: {"put": "update"}
        return any(name in _CHANGING for name in actions.values())
    return any(hasattr(view, name) for name in _CHANGING)


def _speaks_etags(callbacks: list[_View]) -> bool:
    middleware = ConflictMiddleware.__module__ + "." + ConflictMiddleware.__qualname__
    return middleware in settings.MIDDLEWARE or any(
        hasattr(callback, "_optilock_conditional")
        or hasattr(getattr(callback, "cls", None), "_optilock_check")
        for callback in callbacks
    )


def _check_cors() -> Iterator[checks.CheckMessage]:
    from corsheaders.conf import conf

    allowed = {str(name).lower() for name in conf.CORS_ALLOW_HEADERS}
    exposed = {str(name).lower() for name in conf.CORS_EXPOSE_HEADERS}
    missing = [name for name in ("if-match", "if-none-match") if name not in allowed]
    if missing:
        yield checks.Warning(
            f"A browser on another site may not send {' and '.join(missing)}.",
            hint=(
                f"Set CORS_ALLOW_HEADERS = [*corsheaders.defaults.default_headers, "
                f"{', '.join(map(repr, missing))}]."
            ),
            id="optilock.W051",
        )
    if "etag" not in exposed:
        yield checks.Warning(
            "A browser on another site may not read the ETag of an answer.",
            hint='Set CORS_EXPOSE_HEADERS = ["etag"].',
            id="optilock.W052",
        )
