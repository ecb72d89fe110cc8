"""An admin site with a case of each kind."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.contrib.admin import options

from optilock.admin import (
    VersionedAdminMixin,
    VersionedModelAdmin,
    VersionedStackedInline,
    VersionedTabularInline,
)
from optilock.log.admin import EditConflictAdmin
from optilock.log.models import EditConflict
from testapp import models

site = admin.AdminSite()
site.register(EditConflict, EditConflictAdmin)


class LineInline(VersionedTabularInline):
    model = models.Line
    extra = 1


class ParcelInline(VersionedStackedInline):
    model = models.Parcel
    extra = 0


class OrderForm(forms.ModelForm):
    def clean(self):
        cleaned = super().clean()
        if cleaned.get("status") == "shipped" and not cleaned.get("amount"):
            raise forms.ValidationError("What is shipped has a price.")
        return cleaned


@admin.register(models.Order, site=site)
class OrderAdmin(VersionedModelAdmin):
    form = OrderForm
    exclude = ["secret"]
    inlines = [LineInline, ParcelInline]
    list_display = ["number", "status", "amount"]
    list_editable = ["status", "amount"]
    search_fields = ["number"]
    save_as = True
    optilock_merge_together = [("amount", "currency")]
    actions = ["mark_paid", "do_nothing"]
    optilock_actions = ("mark_paid",)

    def mark_paid(self, request, queryset):
        queryset.update(status="paid")

    # Django 6.1 offers actions on the change form, too.
    mark_paid.locations = list(getattr(options, "ActionLocation", ()))

    def do_nothing(self, request, queryset):
        self.message_user(request, "Nothing was done.")


class ScanInline(VersionedTabularInline):
    model = models.Scan
    extra = 1


@admin.register(models.Assorted, site=site)
class AssortedAdmin(VersionedModelAdmin):
    inlines = [ScanInline]
    optilock_presence = True


@admin.register(models.Customer, site=site)
class CustomerAdmin(VersionedModelAdmin):
    ordering = ["name"]
    search_fields = ["name"]
    optilock_ask_always = True


@admin.register(models.Parcel, site=site)
class ParcelAdmin(VersionedModelAdmin):
    fields = ["code", "weight"]
    list_display = ["code", "weight"]
    list_editable = ["weight"]
    optilock_presence = True


@admin.register(models.Memo, site=site)
class MemoAdmin(VersionedModelAdmin):
    raw_id_fields = ["parcel"]
    optilock_poll = 15
    fieldsets = [
        ("Memo", {"fields": ["subject", "parcel"]}),
        ("More", {"fields": ["body"], "classes": ["collapse"]}),
    ]


@admin.register(models.Branch, site=site)
class BranchAdmin(VersionedModelAdmin):
    actions = ["fell"]
    optilock_actions = ("fell",)

    def fell(self, request, queryset):
        for branch in queryset.order_by("pk"):
            branch.delete()


class PlainChildInline(VersionedTabularInline):
    model = models.PlainChild
    extra = 0


@admin.register(models.Plain, site=site)
class PlainAdmin(VersionedAdminMixin, admin.ModelAdmin):
    inlines = [PlainChildInline]


#: What Django's own classes do, to compare with.
plain_site = admin.AdminSite("plain")


class PlainLineInline(admin.TabularInline):
    model = models.Line
    extra = 1


class PlainParcelInline(admin.StackedInline):
    model = models.Parcel
    extra = 0


@admin.register(models.Order, site=plain_site)
class PlainOrderAdmin(admin.ModelAdmin):
    form = OrderForm
    exclude = ["secret"]
    inlines = [PlainLineInline, PlainParcelInline]
    list_display = ["number", "status", "amount"]
    list_editable = ["status", "amount"]
    search_fields = ["number"]
    save_as = True
