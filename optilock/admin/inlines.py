"""The rows of inlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import InlineModelAdmin
from django.db import models
from django.forms import BaseInlineFormSet
from django.http import HttpRequest

from optilock.admin.options import RowOptionsMixin
from optilock.djangos import signature_of
from optilock.forms.formset import versioned_formset
from optilock.rows import version_field

__all__ = ["VersionedInlineMixin", "VersionedStackedInline", "VersionedTabularInline"]

if TYPE_CHECKING:
    _Inline = InlineModelAdmin[Any, Any]
    _Base = _Inline
else:  # it is mixed into one
    _Inline, _Base = InlineModelAdmin, object


class VersionedInlineMixin(RowOptionsMixin, _Base):
    """For an inline of a versioned model: ``(VersionedInlineMixin, TabularInline)``.

    The inline's admin has to be a ``VersionedAdminMixin``, whether or not the
    parent has a version: that is what shows the conflict page.

    Attributes:
        optilock_ask_always: as for the admin.
        optilock_merge_together: as for the admin.
        optilock_merge_decisions: as for the admin.
        optilock_secret_fields: as for the admin.
        optilock_compare_also: as for the admin.
    """

    _optilock_is_reverting = False

    @signature_of(_Inline.get_formset)
    def get_formset(
        self, request: HttpRequest, obj: models.Model | None = None, **kwargs: object
    ) -> type[
        BaseInlineFormSet[models.Model, models.Model, forms.ModelForm[models.Model]]
    ]:
        formset = super().get_formset(request, obj, **kwargs)
        if (
            version_field(self.model) is None
            or obj is None
            or obj._state.adding
            or self._optilock_is_reverting
        ):
            return formset
        can_write = self.has_change_permission(
            request, obj
        ) or self.has_delete_permission(request, obj)
        if not can_write:
            return formset
        return versioned_formset(formset, **self._optilock_row_options)


class VersionedTabularInline(VersionedInlineMixin, admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    """A ``TabularInline`` for a versioned model."""


class VersionedStackedInline(VersionedInlineMixin, admin.StackedInline):  # type: ignore[type-arg]  # not generic at run time
    """A ``StackedInline`` for a versioned model."""
