"""django-optimistic-lock's names, with optilock behind them."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.forms import HiddenInput

from optilock import IntegerVersionField, get_version_field
from optilock import RecordModifiedError as ConcurrentUpdate

__all__ = ["ConcurrentUpdate", "VersionField", "VersionedMixin"]



class VersionField(IntegerVersionField):
    """Ours, with the default and the input of theirs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"default": 0, "editable": True, **kwargs})

    def formfield(self, **kwargs):
        return super().formfield(**{**kwargs, "widget": HiddenInput})


class VersionedMixin:
    def get_version_field(self):
        field = get_version_field(type(self))
        if field is None:
            raise ImproperlyConfigured("VersionedMixin models must have a VersionField")
        return field
