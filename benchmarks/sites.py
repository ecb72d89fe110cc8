"""The same admin for models without a lock and with it, and its URLs."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from benchmarks import models
from optilock.admin import VersionedModelAdmin, VersionedTabularInline

#: How many rows the pages have.
LINES, ROWS = 50, 100


def site_of(name, model, line, base, inline):
    class Lines(inline):
        model = line
        extra = 0

    class Admin(base):
        inlines = [Lines]
        list_display = ["id", "owner", "email"]
        list_editable = ["owner", "email"]
        list_per_page = ROWS
        fields = ["owner", "email", "balance", "opened", "active"]

    site = admin.AdminSite(name)
    site.register(model, Admin)
    return site


unlocked = site_of(
    "unlocked",
    models.Unlocked,
    models.UnlockedLine,
    admin.ModelAdmin,
    admin.TabularInline,
)
locked = site_of(
    "locked",
    models.Locked,
    models.LockedLine,
    VersionedModelAdmin,
    VersionedTabularInline,
)
urlpatterns = [path("unlocked/", unlocked.urls), path("locked/", locked.urls)]
