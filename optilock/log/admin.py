"""The page that shows where people are in each other's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from optilock.log.models import EditConflict
from optilock.log.summary import summarize
from optilock.panel import isolate, listed

__all__ = ["EditConflictAdmin"]

if TYPE_CHECKING:
    from django.contrib.admin.filters import _ListFilterChoices
    from django.contrib.admin.views.main import ChangeList

    _ModelAdmin = admin.ModelAdmin[EditConflict]
else:
    _ModelAdmin = admin.ModelAdmin


class _ModelFilter(admin.AllValuesFieldListFilter):
    """The models by the names that people know, as in the list."""

    def choices(self, changelist: ChangeList) -> Iterator[_ListFilterChoices]:
        for choice in super().choices(changelist):
            label, *count = str(choice["display"]).split(" ", 1)
            name = EditConflict(model=label).model_name
            yield {**choice, "display": " ".join([name, *count])}


@admin.register(EditConflict)
class EditConflictAdmin(_ModelAdmin):
    """Read only: entries are written by conflicts, and deleted when they are old."""

    list_display = (
        "when",
        "model_name",
        "object_id",
        "fields_of_both",
        "fields_merged",
        "user",
        "author",
        "found_in",
    )
    list_display_links = None
    list_filter = ("when", "found_in", ("model", _ModelFilter))
    list_select_related = ("user", "author")
    ordering = ("-when", "-pk")
    actions = None
    change_list_template = "optilock/log/change_list.html"

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["optilock/log.css"]})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: EditConflict | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: EditConflict | None = None
    ) -> bool:
        return False

    @admin.display(description=_("model"), ordering="model")
    def model_name(self, entry: EditConflict) -> str:
        return entry.model_name

    @admin.display(description=_("changed by both"))
    def fields_of_both(self, entry: EditConflict) -> str:
        return _labels(entry, entry.colliding)

    @admin.display(description=_("merged"))
    def fields_merged(self, entry: EditConflict) -> str:
        return _labels(entry, entry.merged)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)  # there is nothing to select
        response = super().changelist_view(
            request, {"title": title, **(extra_context or {})}
        )
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            entries: models.QuerySet[EditConflict] = context["cl"].queryset
            context["optilock_charts"] = summarize(entries)
        return response


def _labels(entry: EditConflict, names: list[str]) -> str:
    labels = [isolate(entry.field_label(name)) for name in names]
    return listed(labels)
