"""The hidden input that carries the token."""

from __future__ import annotations

from collections.abc import Callable

from django import forms

__all__ = ["TOKEN", "TokenField"]

#: The name of the hidden input that carries the token.
TOKEN = "optilock_token"  # noqa: S105 -- a name


class _Token(forms.BoundField):
    """The token for the next round; it is signed when it is rendered."""

    field: TokenField

    def value(self) -> str:
        return self.field.sign()

    def build_widget_attrs(
        self, attrs: dict[str, str | bool], widget: forms.Widget | None = None
    ) -> dict[str, str | bool]:
        attrs = super().build_widget_attrs(attrs, widget)
        if self.form.is_bound:  # for the script: what a reload sends again
            attrs = {**attrs, "data-optilock-posted": ""}
        return attrs


class _TokenInput(forms.HiddenInput):
    class Media:
        js = ("optilock/token.js",)


class TokenField(forms.CharField):
    """A hidden input that always renders a new token."""

    widget = _TokenInput
    bound_field_class = _Token

    def __init__(self, sign: Callable[[], str]) -> None:
        super().__init__(required=False, label="")
        self.sign = sign

    def has_changed(self, initial: object, data: object) -> bool:
        return False
