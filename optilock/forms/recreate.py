"""Making a row again that was deleted while its form was open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias, TypeVar

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.http import Http404
from django.shortcuts import get_object_or_404

from optilock import rollback
from optilock.forms import tokens
from optilock.forms.token_field import TOKEN
from optilock.rows import own_field

__all__ = [
    "as_opened",
    "deleted_instance",
    "get_opened_or_404",
    "is_deleted",
    "prepare_as_new",
]

_M = TypeVar("_M", bound=models.Model)
_Rows: TypeAlias = "type[_M] | models.Manager[_M] | models.QuerySet[_M]"

#: Marks an instance whose row isn't there any more, so that its form knows.
_MARK = "_optilock_is_deleted"


def get_opened_or_404(
    klass: _Rows[_M],
    data: Mapping[str, str],
    *,
    prefix: str | None = None,
    **lookup: object,
) -> _M:
    """Return the object that a form is for, also if somebody has deleted it meanwhile.

    As ``get_object_or_404()``, for the view of a ``VersionedModelForm``. If the object
    isn't there, but its form was sent, it is an unsaved one with what the form has
    shown: so the form can be shown again, with what was typed.

    Args:
        klass: a model, manager or queryset, which narrows down who may see what.
        data: what was sent, as ``request.POST``.
        prefix: that of the form.
        lookup: which object, as ``pk=pk``. One that has been renamed is found, too, by
            a field that is on the form.

    Raises:
        Http404: there is no such object, nor was the form of one sent.
    """
    try:
        return get_object_or_404(klass, **lookup)
    except Http404:
        manager = klass._default_manager if isinstance(klass, type) else klass
        rows: models.QuerySet[_M] = manager.all()
        text = data.get(f"{prefix}-{TOKEN}" if prefix else TOKEN)
        opened = deleted_instance(rows.model, text)
        if opened is None or not _is_found_by(opened, lookup, text):
            raise
        return rows.filter(pk=opened.pk).first() or opened


def _is_found_by(
    instance: models.Model, lookup: Mapping[str, object], text: str | None
) -> bool:
    """Tell whether this is the object that a page has shown under this URL."""
    shown = next(iter(tokens.read(text, type(instance)).rows.values())).base
    key = instance._meta.pk
    return all(
        tokens.key(value) == tokens.key(instance.pk)
        if name in ("pk", key.name)
        else name in shown and str(instance.serializable_value(name)) == str(value)
        for name, value in lookup.items()
    )


def prepare_as_new(instance: models.Model) -> None:
    """Let a deleted row's instance be inserted, under a new key if that can be."""
    pk = instance._meta.pk
    if isinstance(pk, models.AutoField) or pk.has_default():
        instance.pk = None
    instance._state.adding = True


def deleted_instance(model: type[_M], text: str | None) -> _M | None:
    """Return an unsaved instance like the one a form was opened for.

    For a form whose row is deleted when it is sent, so that it can be shown again.

    Args:
        model: the form's model.
        text: the token that was posted.

    Returns:
        The instance; ``None`` if the token isn't one for a form of this model.
    """
    token = tokens.trusted(text, model)
    if token is None:
        return None
    try:
        [(pk, row)] = token.rows.items()
        instance = as_opened(model, model._meta.pk.to_python(pk), row)
    except (ValidationError, ValueError):
        return None
    vars(instance)[_MARK] = True
    return instance


def is_deleted(instance: models.Model) -> bool:
    """Return whether an instance stands for a row that isn't there any more."""
    return instance._state.adding and _MARK in vars(instance)


def as_opened(model: type[_M], pk: object, row: tokens.OpenedRow) -> _M:
    """Return an unsaved instance with what a page has shown of a row."""
    instance = model(pk=pk)
    for name, value in row.base.items():
        with suppress(FieldDoesNotExist):
            field = own_field(model, name)
            if not field.many_to_many and not tokens.is_digest(value):
                rollback.put(instance, field.attname, tokens.thaw(field, value))
    return instance
