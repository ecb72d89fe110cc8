from __future__ import annotations

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.forms import modelformset_factory
from django.test import modify_settings
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


class UnknownGroup(VersionedModelAdmin):
    optilock_groups = [("amount", "curency")]


class OneGroup(VersionedModelAdmin):
    optilock_groups = ("amount", "currency")


class UnknownGroupInline(VersionedTabularInline):
    model = Line
    optilock_groups = [("quantity", "amount")]


class WithUnknownGroupInline(VersionedModelAdmin):
    inlines = [UnknownGroupInline]


class PollsAlways(VersionedModelAdmin):
    optilock_poll = 0


class PollsText(VersionedModelAdmin):
    optilock_poll = "15"


class Right(VersionedModelAdmin):
    inlines = [LineInline]
    optilock_groups = [("amount", "currency"), ("tags", "note")]
    optilock_poll = 15
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
        (Order, UnknownGroup, ["optilock.E035"]),
        (Order, OneGroup, ["optilock.E035", "optilock.E035"]),
        (Order, WithUnknownGroupInline, ["optilock.E035"]),
        (Order, PollsAlways, ["optilock.E036"]),
        (Order, PollsText, ["optilock.E036"]),
        (Order, WithPlainInline, ["optilock.W030"]),
        (Unlocked, VersionedModelAdmin, ["optilock.W031"]),
    ],
)
def test_a_hole_in_an_admin_class_is_told(model, cls, expected):
    site = admin.AdminSite()
    # A class of its own: other sites may have registered this one.
    site.register(model, type(cls.__name__, (cls,), {}))
    assert ids(site) == expected


class ReadOnly(admin.ModelAdmin):
    def has_change_permission(self, request, obj=None):
        return False


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(admin.ModelAdmin, ["optilock.W032"]), (ReadOnly, []), (VersionedModelAdmin, [])],
)
def test_a_plain_admin_beside_a_versioned_one_is_told(cls, expected):
    site = admin.AdminSite()
    site.register(Order, type("Versioned", (VersionedModelAdmin,), {}))
    site.register(Line, type(cls.__name__, (cls,), {}))
    assert ids(site) == expected


def test_an_admin_without_the_app_is_told():
    site = admin.AdminSite()
    model_admin = Right(Order, site)
    assert model_admin.check() == []
    with modify_settings(INSTALLED_APPS={"remove": "optilock"}):
        [message] = model_admin.check()
    assert message.id == "optilock.E034"
    assert "INSTALLED_APPS" in message.hint


def test_a_list_whose_rows_would_not_be_compared_is_refused(rf, admin_user):
    class Bypasses(VersionedModelAdmin):
        list_display = ["number", "status"]
        list_editable = ["status"]

        def get_changelist_formset(self, request, **kwargs):
            return modelformset_factory(Order, fields=["status"], extra=0)

    request = rf.get("/")
    request.user = admin_user
    with pytest.raises(ImproperlyConfigured, match="Bypasses"):
        Bypasses(Order, admin.AdminSite()).changelist_view(request)


def test_only_the_apps_asked_for_are_checked():
    site = admin.AdminSite()
    site.register(Label, type("T", (VersionedModelAdmin,), {}))
    messages = check_admin_sites(app_configs=[])
    assert messages == []


def test_the_checks_of_the_test_sites_are_quiet():
    assert not [m for m in run_checks(tags=["admin"]) if "testapp.admin" in repr(m.obj)]
