"""A PUT that was done, and is repeated because its answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from rest_framework.request import Request
from rest_framework.response import Response

from optilock.http.errors import PreconditionError
from optilock.http.targets import all_noted
from optilock.rows import own_field, target_field
from optilock.values import same

if TYPE_CHECKING:
    from optilock.contrib.rest_framework.views import ConditionalMixin

__all__ = ["replayed"]


def replayed(
    view: ConditionalMixin, request: Request, error: PreconditionError
) -> Response | None:
    """Return the answer to a PUT whose every value is in the row already.

    ``None`` if there is a difference, or if it can't be told: nested objects,
    many-to-many fields and files aren't compared.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
    """
    noted = all_noted(request)
    if request.method != "PUT" or error.slug not in ("stale", "conflict") or not noted:
        return None
    instance = noted[-1].instance
    view._optilock.is_replaying = True
    serializer = view.get_serializer(instance, data=request.data)
    if not serializer.is_valid() or not isinstance(serializer.validated_data, dict):
        return None
    values = serializer.validated_data
    if not values or not all(_is_stored(instance, *item) for item in values.items()):
        return None
    view._optilock.result = instance
    return Response(serializer.data)


def _is_stored(instance: Model, name: str, value: object) -> bool:
    try:
        field = own_field(type(instance), name)
    except FieldDoesNotExist:
        return False
    if not field.concrete or field.many_to_many:
        return False
    if isinstance(value, Model):
        value = getattr(value, target_field(field).attname)
    return same(field, getattr(instance, field.attname), value)
