"""What a project writes to have optilock and the package in one admin."""

from __future__ import annotations

from django.contrib import admin
from django.utils.module_loading import import_string
from testapp import models

from contracts.packages import CHOSEN, NAME
from optilock.admin import VersionedAdminMixin, VersionedInlineMixin

ModelAdmin = import_string(CHOSEN.model_admin)
TabularInline = import_string(f"{CHOSEN.inlines}.TabularInline")
StackedInline = import_string(f"{CHOSEN.inlines}.StackedInline")


class LineInline(VersionedInlineMixin, TabularInline):
    model = models.Line
    extra = 1


class ParcelInline(VersionedInlineMixin, StackedInline):
    model = models.Parcel
    extra = 0


@admin.register(models.Order)
class OrderAdmin(VersionedAdminMixin, ModelAdmin):
    inlines = [LineInline, ParcelInline]
    list_display = ["number", "status", "amount"]
    list_editable = ["status", "amount"]
    search_fields = ["number"]
    actions = ["mark_paid"]
    optilock_actions = ("mark_paid",)

    def mark_paid(self, request, queryset):
        queryset.update(status="paid")


if NAME == "mptt":
    from mptt.admin import MPTTModelAdmin

    from contracts.models import Genre

    admin.site.register(
        Genre, type("GenreAdmin", (VersionedAdminMixin, MPTTModelAdmin), {})
    )


if NAME == "treebeard":
    from treebeard.admin import TreeAdmin
    from treebeard.forms import movenodeform_factory

    from contracts.models import Genre

    @admin.register(Genre)
    class GenreAdmin(VersionedAdminMixin, TreeAdmin):
        form = movenodeform_factory(Genre)
        optilock_merge_together = [("treebeard_position", "treebeard_ref_node")]


if NAME in ("parler", "modeltranslation", "safedelete"):
    from contracts.models import MODELS

    theirs = {
        "parler": "parler.admin.TranslatableAdmin",
        "modeltranslation": "modeltranslation.admin.TranslationAdmin",
        "safedelete": "safedelete.admin.SafeDeleteAdmin",
    }

    class TheirAdmin(VersionedAdminMixin, import_string(theirs[NAME])):
        optilock_compare_also = ["deleted"] if NAME == "safedelete" else []

    admin.site.register(MODELS, TheirAdmin)
