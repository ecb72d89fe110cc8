from __future__ import annotations

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from testapp.models import Label, Line, Order, Unlocked

from optilock.admin import (
    VersionedAdminMixin,
    VersionedInlineMixin,
    VersionedModelAdmin,
    VersionedTabularInline,
)
from optilock.admin.checks import check_admin_sites


class PlainInline(admin.TabularInline):
    model = Line


class LineInline(VersionedTabularInline):
    model = Line


class WrongInline(admin.TabularInline, VersionedInlineMixin):
    model = Line


class WrongOrder(admin.ModelAdmin, VersionedAdminMixin):
    pass


class WithPlainInline(VersionedModelAdmin):
    inlines = [PlainInline]


class WithWrongInline(VersionedModelAdmin):
    inlines = [WrongInline]


class PlainWithVersionedInline(admin.ModelAdmin):
    inlines = [LineInline]


class UnknownAction(VersionedModelAdmin):
    optilock_actions = ("mark_piad",)


class Right(VersionedModelAdmin):
    inlines = [LineInline]
    actions = ["mark_paid"]
    optilock_actions = ("mark_paid", "delete_selected")

    def mark_paid(self, request, queryset):
        pass


def ids(site):
    messages = check_admin_sites(app_configs=None)
    ours = {type(a) for a in site._registry.values()}
    ours |= {inline for cls in ours for inline in cls.inlines}
    assert all(message.hint for message in messages)
    return [message.id for message in messages if message.obj in ours]


@pytest.mark.parametrize(
    ("model", "cls", "expected"),
    [
        (Order, Right, []),
        (Order, admin.ModelAdmin, []),
        (Order, WrongOrder, ["optilock.E030"]),
        (Order, WithWrongInline, ["optilock.E031"]),
        (Order, PlainWithVersionedInline, ["optilock.E032"]),
        (Order, UnknownAction, ["optilock.E033"]),
        (Order, WithPlainInline, ["optilock.W030"]),
        (Unlocked, VersionedModelAdmin, ["optilock.W031"]),
    ],
)
def test_a_hole_in_an_admin_class_is_told(model, cls, expected):
    site = admin.AdminSite()
    # A class of its own: other sites may have registered this one.
    site.register(model, type(cls.__name__, (cls,), {}))
    assert ids(site) == expected


def test_only_the_apps_asked_for_are_checked():
    site = admin.AdminSite()
    site.register(Label, type("T", (VersionedModelAdmin,), {}))
    messages = check_admin_sites(app_configs=[])
    assert messages == []


def test_the_checks_of_the_test_sites_are_quiet():
    assert not [m for m in run_checks(tags=["admin"]) if "testapp.admin" in repr(m.obj)]
