"""Fields of the row that count although they aren't on the form."""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.utils.safestring import SafeString

from optilock.rows import ModelField
from optilock.values import same

__all__ = ["UnseenField"]


class _Nothing(forms.HiddenInput):
    def render(self, *args: object, **kwargs: object) -> SafeString:
        return SafeString("")


class _Unseen(forms.BoundField):
    """Nobody types anything into it: what is posted is what was opened."""

    field: UnseenField

    @property
    def data(self) -> object:
        return self.field.opened()


class UnseenField(forms.Field):
    """Stands on a form for a model's field, to be compared and not to be rendered.

    Args:
        model_field: the model's field.
        opened: returns the value that the row had when the page was opened.
    """

    widget = _Nothing
    bound_field_class = _Unseen

    def __init__(self, model_field: ModelField, opened: Callable[[], object]) -> None:
        super().__init__(required=False, label=model_field.verbose_name)
        self.model_field = model_field
        self.opened = opened

    def has_changed(self, initial: object, data: object) -> bool:
        return not same(self.model_field, initial, data)
