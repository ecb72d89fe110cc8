"""When two values of a field are the same to the database."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import models
from django.utils import timezone

from optilock import loaded
from optilock.loaded import UNKNOWN
from optilock.rows import ModelField, own_field, target_field, version_field

__all__ = ["base_values", "changed_fields", "comparable", "same"]


def base_values(instance: models.Model) -> dict[str, object]:
    """Return what the instance was loaded with, by field name.

    Fields whose value isn't known are left out; all of them if the model has
    ``remember_loaded = False``, or if the instance was never loaded or saved.
    """
    known = loaded.recall(instance)
    if known is None:
        return {}
    return {
        f.name: loaded.frozen(value)
        for f, value in zip(instance._meta.concrete_fields, known, strict=True)
        if value is not UNKNOWN and _is_compared(f)
    }


def changed_fields(instance: models.Model) -> list[str]:
    """Return the names of the fields whose values aren't those of the row.

    A value that can't be compared, because what was loaded isn't known, counts
    as changed. A deferred field that was never touched doesn't.
    """
    base = base_values(instance)
    fields = {field.name: field for field in instance._meta.concrete_fields}
    return [
        name
        for name, value in _values(instance).items()
        if not _is_computed(fields[name])
        and not (name in base and same(fields[name], base[name], value))
    ]


def same(model_field: ModelField, one: object, other: object) -> bool:
    """Return whether two values of a field are the same to the database.

    One moment in two time zones is the same, as are ``Decimal("1.5")`` and
    ``"1.50"``; ``True`` and ``1`` inside JSON aren't.
    """
    if one is UNKNOWN or other is UNKNOWN:
        return one is other
    # Most values are; and a field may encrypt what it prepares, differently each time.
    if _equal(one, other) and not isinstance(model_field, _EXACT):
        return True
    return _equal(comparable(model_field, one), comparable(model_field, other))


#: Fields whose values may be equal to Python, and not to the database.
_EXACT = (models.FileField, models.JSONField)

_same = same  # the name is an argument's as well


def comparable(model_field: ModelField, value: object) -> object:
    """Return a value that equals another one's if the database would say so.

    What isn't a value yet, an expression or an upload that isn't stored, is
    returned as it is and equals only itself.
    """
    while isinstance(model_field, models.ForeignKey):
        model_field = model_field.target_field
    if isinstance(model_field, models.GeneratedField):
        model_field = model_field.output_field  # type: ignore[assignment]  # it has one
    if hasattr(value, "resolve_expression") or value is UNKNOWN:
        return value
    try:
        return _comparable(model_field, value)
    except (TypeError, ValueError, ArithmeticError, ValidationError):
        return value  # the field couldn't save it either


def _comparable(model_field: ModelField, value: Any) -> object:
    if isinstance(model_field, models.FileField):
        if isinstance(value, File) and not getattr(value, "_committed", False):
            return value  # an upload; its name says nothing yet
        return str(value or "")
    if value is None:
        return None
    if isinstance(model_field, models.JSONField):
        return json.dumps(value, cls=model_field.encoder, sort_keys=True)
    if isinstance(model_field, models.DateTimeField):
        if isinstance(value, datetime.date) and not isinstance(
            value, datetime.datetime
        ):
            value = datetime.datetime(value.year, value.month, value.day)
        value = model_field.to_python(value)
        if settings.USE_TZ and timezone.is_naive(value):
            value = timezone.make_aware(value, timezone.get_default_timezone())
        return value
    if isinstance(model_field, models.BinaryField):
        return bytes(value)
    value = model_field.get_prep_value(value)
    if isinstance(model_field, models.DecimalField):
        # As it is rounded on its way to the database.
        context = decimal.Context(prec=model_field.max_digits or 28)
        places = decimal.Decimal(1).scaleb(-(model_field.decimal_places or 0))
        return value.quantize(places, context=context)
    return value


def _key(model: type[models.Model], name: str, value: object) -> Any:
    if not isinstance(value, models.Model):
        return value
    return getattr(value, target_field(own_field(model, name)).attname)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, File) or isinstance(other, File):
        return one is other  # Django compares their names
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):
        return False


def _is_compared(model_field: ModelField) -> bool:
    """Return whether a field is part of what people change."""
    model = model_field.model
    remote = model_field.remote_field
    return not (
        model_field in model._meta.pk_fields
        or model_field is version_field(model)
        or (remote is not None and getattr(remote, "parent_link", False))
    )


def _is_computed(model_field: ModelField) -> bool:
    """Return whether the write itself sets the field, whatever its value was."""
    return getattr(model_field, "generated", False) or getattr(
        model_field, "auto_now", False
    )


def _values(instance: models.Model) -> dict[str, Any]:
    """Return the values of an instance that aren't deferred, by field name."""
    values = vars(instance)
    return {
        f.name: loaded.frozen(value) if isinstance(value, dict | list) else value
        for f in instance._meta.concrete_fields
        if (value := values.get(f.attname, UNKNOWN)) is not UNKNOWN and _is_compared(f)
    }
