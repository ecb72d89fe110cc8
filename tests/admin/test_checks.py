from __future__ import annotations

import pytest
from django import forms
from django.contrib import admin
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.forms import modelformset_factory
from testapp.models import Label, Line, Numbered, Order, Unlocked

from optilock.admin import (
    VersionedAdminMixin,
    VersionedInlineMixin,
    VersionedModelAdmin,
    VersionedTabularInline,
)
from optilock.admin.checks import check_admin_sites
from optilock.presence import people


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
    optilock_merge_together = [("amount", "curency")]


class Present(VersionedModelAdmin):
    optilock_presence = True


class OneGroup(VersionedModelAdmin):
    optilock_merge_together = ("amount", "currency")


class UnknownDecision(VersionedModelAdmin):
    optilock_merge_decisions = {"amount": "mine", "note": "line", "nothing": "mine"}


class UnknownGroupInline(VersionedTabularInline):
    model = Line
    optilock_merge_together = [("quantity", "amount")]


class WithUnknownGroupInline(VersionedModelAdmin):
    inlines = [UnknownGroupInline]


class Misspelt(VersionedModelAdmin):
    optilock_secret_field = ["note"]


class MisspeltInline(VersionedTabularInline):
    model = Line
    optilock_poll = 15  # an option of admins only


class WithMisspeltInline(VersionedModelAdmin):
    inlines = [MisspeltInline]


class PollsAlways(VersionedModelAdmin):
    optilock_poll = 0


class PollsText(VersionedModelAdmin):
    optilock_poll = "15"


class Right(VersionedModelAdmin):
    inlines = [LineInline]
    optilock_merge_together = [("amount", "currency"), ("tags", "note")]
    optilock_merge_decisions = {"note": "ask", "tags": "elements", "amount": max}
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
        (Order, WrongOrder, ["optilock.E030"]),
        (Order, WithWrongInline, ["optilock.E031"]),
        (Order, PlainWithVersionedInline, ["optilock.W032", "optilock.E032"]),
        (Order, UnknownAction, ["optilock.E033"]),
        (Order, UnknownGroup, ["optilock.E035"]),
        (Order, OneGroup, ["optilock.E035", "optilock.E035"]),
        (Order, WithUnknownGroupInline, ["optilock.E035"]),
        (Order, UnknownDecision, ["optilock.E040", "optilock.E040"]),
        (Order, PollsAlways, ["optilock.E036"]),
        (Order, PollsText, ["optilock.E036"]),
        (Order, Misspelt, ["optilock.E037"]),
        (Order, WithMisspeltInline, ["optilock.E037"]),
        (Order, WithPlainInline, ["optilock.W030"]),
        (Unlocked, VersionedModelAdmin, ["optilock.W031"]),
    ],
)
def test_a_hole_in_an_admin_class_is_told(model, cls, expected):
    site = admin.AdminSite()
    # A class of its own: other sites may have registered this one.
    site.register(model, type(cls.__name__, (cls,), {}))
    assert ids(site) == expected


@pytest.mark.parametrize("names", ["note", ["nothing"], ["tags"]])
def test_what_is_to_be_compared_also_has_a_column_of_the_model(names):
    class Comparing(VersionedModelAdmin):
        optilock_compare_also = names

    class ComparingInline(VersionedInlineMixin, admin.TabularInline):
        model = Line
        optilock_compare_also = ["nothing"]

    class WithInline(VersionedModelAdmin):
        inlines = [ComparingInline]
        optilock_compare_also = ["note", "version"]

    for cls in (Comparing, WithInline):
        site = admin.AdminSite()
        site.register(Order, cls)
        assert ids(site) == ["optilock.E039"]


class MovingForm(forms.ModelForm):
    place = forms.CharField(required=False)
    position = forms.CharField(required=False)


def test_fields_of_the_form_alone_may_move_together():
    class Moving(VersionedModelAdmin):
        form = MovingForm
        optilock_merge_together = [("place", "position")]

    site = admin.AdminSite()
    site.register(Order, Moving)
    assert ids(site) == []


def test_a_misspelt_option_is_told_with_the_one_that_was_meant():
    site = admin.AdminSite()
    site.register(Order, Misspelt)
    [message] = [m for m in check_admin_sites(app_configs=None) if m.obj is Misspelt]
    assert "optilock_secret_field," in message.msg
    assert message.hint.startswith("Write optilock_secret_fields.")


class ReadOnly(admin.ModelAdmin):
    def has_change_permission(self, request, obj=None):
        return False


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(admin.ModelAdmin, ["optilock.W032"]), (ReadOnly, []), (VersionedModelAdmin, [])],
)
@pytest.mark.parametrize("model", [Order, Unlocked])
def test_a_plain_admin_of_a_versioned_model_is_told(cls, model, expected):
    site = admin.AdminSite()
    site.register(Line, type(cls.__name__, (cls,), {}))
    site.register(model, type("Other", (ReadOnly,), {}))
    assert ids(site) == expected


class PlainWithPlainInline(ReadOnly):
    inlines = [PlainInline]


class ReadOnlyInline(PlainInline):
    def has_change_permission(self, request, obj=None):
        return False


class PlainWithReadOnlyInline(ReadOnly):
    inlines = [ReadOnlyInline]


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(PlainWithPlainInline, ["optilock.W030"]), (PlainWithReadOnlyInline, [])],
)
def test_a_plain_inline_of_a_versioned_model_is_told_in_any_admin(cls, expected):
    site = admin.AdminSite()
    site.register(Order, cls)
    messages = check_admin_sites(app_configs=None)
    # The sites of other tests may still be there, and have the same inlines.
    hint = f"{cls.__name__} from VersionedAdminMixin"
    assert [m.id for m in messages if hint in m.hint] == expected


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
    found = [m for m in run_checks(tags=["admin"]) if "testapp.admin" in repr(m.obj)]
    assert not [m for m in found if "testapp.admin.Plain" not in repr(m.obj)]
    assert {m.id for m in found} == {"optilock.W030", "optilock.W032"}


class WithNumber(VersionedModelAdmin):
    fields = ["number", ("status", "version")]


class WithNumberInFieldsets(admin.ModelAdmin):
    fieldsets = [(None, {"fields": ["number", "version"]})]


class ShowingNumber(WithNumber):
    readonly_fields = ["version"]


class NumberInline(VersionedTabularInline):
    model = Line
    fields = ["product", "version"]


class WithNumberInline(VersionedModelAdmin):
    inlines = [NumberInline]


class OfNumbered(VersionedModelAdmin):
    fields = ["version", "title"]


@pytest.mark.parametrize(
    ("model", "model_admin", "at_fault"),
    [
        (Order, WithNumber, WithNumber),
        (Order, WithNumberInFieldsets, WithNumberInFieldsets),
        (Order, WithNumberInline, NumberInline),
        (Order, ShowingNumber, None),
        (Numbered, OfNumbered, None),
        (Unlocked, VersionedModelAdmin, None),
    ],
)
def test_a_version_among_the_inputs_would_be_an_error_500(
    model, model_admin, at_fault, monkeypatch
):
    site = admin.AdminSite()
    site.register(model, model_admin)
    monkeypatch.setattr("optilock.admin.checks.all_sites", [site])
    wrong = [m.obj for m in check_admin_sites(app_configs=None) if m.id.endswith("038")]
    assert wrong == ([at_fault] if at_fault else [])


def test_to_tell_people_needs_the_log(settings):
    class Telling(VersionedModelAdmin):
        optilock_tell_overwritten = True

    site = admin.AdminSite()
    site.register(Order, Telling)
    assert ids(site) == []
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "optilock.log"
    ]
    assert ids(site) == ["optilock.E061"]


def test_presence_needs_its_table(monkeypatch):
    site = admin.AdminSite()
    site.register(Order, Present)
    monkeypatch.setattr(people, "is_installed", lambda: False)
    [error] = [
        message
        for message in check_admin_sites(app_configs=None)
        if message.id == "optilock.E060" and message.obj is Present
    ]
    assert "optilock.presence" in error.hint
    monkeypatch.undo()
    assert not [
        message
        for message in check_admin_sites(app_configs=None)
        if message.id == "optilock.E060"
    ]


class WithoutModel(admin.TabularInline):
    pass


class VersionedWithoutModel(VersionedTabularInline):
    pass


class WithoutModels(VersionedModelAdmin):
    inlines = [WithoutModel, VersionedWithoutModel]


class WithoutOptions(VersionedModelAdmin):
    fieldsets = [("Title", {})]


@pytest.mark.parametrize("cls", [WithoutModels, WithoutOptions])
def test_what_djangos_checks_refuse_is_left_to_them(cls, monkeypatch):
    site = admin.AdminSite()
    site.register(Order, cls)
    monkeypatch.setattr("optilock.admin.checks.all_sites", [site])
    assert check_admin_sites(app_configs=None) == []
    assert cls(Order, site).check()
