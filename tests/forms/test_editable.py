"""A version that people's forms and clients send back: ``editable=True``."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from django import forms
from django.contrib import admin
from django.forms import modelform_factory
from django.urls import path, reverse
from django.views.generic import CreateView, UpdateView
from factories import UserFactory
from testapp.models import Account, Numbered, Unlocked

from optilock import RecordModifiedError
from optilock.admin import VersionedModelAdmin
from optilock.forms import VersionedFormMixin, VersionedModelForm
from optilock.view_checks import check_views
from optilock.views import VersionedUpdateMixin

pytestmark = pytest.mark.django_db


class PlainForm(forms.ModelForm):
    class Meta:
        model = Numbered
        fields = ["version", "title", "text"]


class TokenForm(VersionedModelForm):
    class Meta:
        model = Numbered
        fields = ["version", "title", "text"]


@pytest.fixture
def served(settings):
    """Have these URLs lead somewhere, and no others."""

    def serve(*patterns):
        module = ModuleType("served_by_a_test")
        module.urlpatterns = list(patterns)
        sys.modules["served_by_a_test"] = module
        settings.ROOT_URLCONF = "served_by_a_test"

    yield serve
    sys.modules.pop("served_by_a_test", None)


def sent(form, **changes):
    """What a browser sends back."""
    data = {
        bound.html_name: bound.value() for bound in form if not bound.field.disabled
    }
    return {**data, **changes}


def test_a_plain_form_brings_the_version_back_and_a_stale_one_is_refused():
    numbered = Numbered.objects.create(title="old")
    data = sent(PlainForm(instance=numbered), title="mine")
    Numbered.objects.update(text="theirs")
    form = PlainForm(data, instance=Numbered.objects.get())
    assert form.is_valid(), form.errors
    with pytest.raises(RecordModifiedError):
        form.save()
    assert Numbered.objects.values_list("title", "text").get() == ("old", "theirs")


def test_a_plain_form_that_is_not_stale_is_saved():
    numbered = Numbered.objects.create(title="old")
    data = sent(PlainForm(instance=numbered), title="mine")
    assert PlainForm(data, instance=Numbered.objects.get()).save().version == 2


def test_a_versioned_form_does_not_tell_of_the_version_as_merged():
    numbered = Numbered.objects.create(title="old")
    data = sent(TokenForm(instance=numbered), title="mine")
    Numbered.objects.update(text="theirs")
    form = TokenForm(data, instance=Numbered.objects.get())
    assert form.is_valid(), form.errors
    assert form.conflict.merged == ["text"]
    form.save()
    found = Numbered.objects.get()
    assert (found.title, found.text, found.version) == ("mine", "theirs", 3)


def test_a_versioned_form_that_was_read_before_the_change_takes_the_rows_number():
    numbered = Numbered.objects.create(title="old")
    data = sent(TokenForm(instance=numbered), title="mine")
    early = Numbered.objects.get()
    Numbered.objects.update(text="theirs")
    form = TokenForm(data, instance=early)
    assert form.is_valid(), form.errors
    form.save()
    assert (early.version, early.text) == (3, "theirs")


def test_a_versioned_form_asks_about_a_collision_and_not_about_the_version():
    numbered = Numbered.objects.create(title="old")
    data = sent(TokenForm(instance=numbered), title="mine")
    Numbered.objects.update(title="theirs")
    form = TokenForm(data, instance=Numbered.objects.get())
    assert not form.is_valid()
    assert form.conflict.undecided == ["title"]
    assert form["version"].value() == 2


def test_nobody_chooses_the_number_of_a_versioned_form():
    form = TokenForm({"title": "new", "version": 7})
    assert form.save().version == 1


def test_the_admin_shows_it_and_compares_by_the_token(client, served):
    client.force_login(UserFactory())
    numbered = Numbered.objects.create(title="old")
    site = admin.AdminSite()
    options = {"fields": ["version", "title"]}
    site.register(Numbered, type("Admin", (VersionedModelAdmin,), options))
    served(path("admin/", site.urls))
    url = reverse("admin:testapp_numbered_change", args=[numbered.pk])
    form = client.get(url).context["adminform"].form
    assert form.fields["version"].disabled
    Numbered.objects.update(text="theirs")
    client.post(url, sent(form, title="mine"))
    assert Numbered.objects.values_list("title", "text").get() == ("mine", "theirs")


def test_a_serializer_brings_the_version_back():
    serializers = pytest.importorskip("rest_framework.serializers")

    class Serializer(serializers.ModelSerializer):
        class Meta:
            model = Numbered
            fields = "__all__"

    numbered = Numbered.objects.create(title="old")
    data = {**Serializer(numbered).data, "title": "mine"}
    Numbered.objects.update(text="theirs")
    serializer = Serializer(Numbered.objects.get(), data=data)
    assert serializer.is_valid()
    with pytest.raises(RecordModifiedError):
        serializer.save()
    serializer = Serializer(Numbered.objects.get(), data={**data, "version": 2})
    assert serializer.is_valid()
    serializer.save()


# The check of generic views


def view(*bases, **options):
    return type("Edit", (*bases, UpdateView), options).as_view()


VIEWS = [
    (view(model=Account, fields=["owner"]), True),
    (view(queryset=Account.objects.all(), fields=["owner"]), True),
    (view(form_class=modelform_factory(Account, fields=["owner"])), True),
    (UpdateView.as_view(model=Account, fields=["owner"]), True),
    (view(model=Numbered, fields=["title"]), True),
    (view(model=Numbered, fields=["title", "version"]), False),
    (view(form_class=PlainForm), False),
    (view(form_class=TokenForm), False),
    (view(VersionedUpdateMixin, model=Account, fields=["owner"]), False),
    (view(model=Unlocked, fields=["name"]), False),
    (view(fields=["name"]), False),
    (lambda request: None, False),
]


@pytest.mark.parametrize(("checked", "is_told"), VIEWS)
def test_a_generic_view_that_overwrites_is_told(checked, is_told, served):
    served(path("a/", checked), path("b/", checked))
    found = [m.id for m in check_views() if m.id != "optilock.W054"]
    assert found == ["optilock.W053"] * is_told


def test_a_project_without_urls_has_no_views(settings):
    del settings.ROOT_URLCONF
    assert told() == []


# The check of plain forms


def told(*names):
    """The ids of what is said about forms of these names, or of this module."""
    found = [m for m in check_views() if m.obj.__module__ == __name__]
    return [m.id for m in found if not names or m.obj.__name__ in names]


def declared(name, base=forms.ModelForm, model=Account, **attributes):
    """A form as a module of the project declares it."""
    meta = type("Meta", (), {"model": model, "fields": "__all__"})
    body = {"Meta": meta, "__module__": __name__, **attributes}
    return type(forms.ModelForm)(name, (base,), body)


def test_a_plain_form_of_a_versioned_model_is_told(served):
    served()
    form = declared("Overwriting")
    [message] = [m for m in check_views() if m.obj is form]
    assert message.id == "optilock.W054"
    assert "testapp.Account" in message.msg
    assert "VersionedModelForm" in message.hint


def test_forms_that_overwrite_nothing_are_left_in_peace(served):
    forms_made = [
        declared("Versioned", VersionedModelForm),
        declared("Numbered", model=Numbered),
        declared("WithoutLock", model=Unlocked),
        declared("WithoutModel", model=None),
        declared("Elsewhere", __module__="django.contrib.auth.forms"),
        declared("Parent"),
    ]
    child = type("Child", (VersionedFormMixin, forms_made[-1]), {})
    assert issubclass(child, VersionedFormMixin)
    served()
    assert told("Versioned", "Numbered", "WithoutLock", "WithoutModel", "Parent") == []
    assert not [m for m in check_views() if m.obj is forms_made[4]]


def test_a_form_that_a_view_or_an_admin_class_has_is_seen_to_there(served):
    adding, changing = declared("Adding"), declared("Changing")
    edited = declared("Edited")
    site = admin.AdminSite("checked")
    site.register(Account, type("A", (VersionedModelAdmin,), {"form": edited}))
    served(
        path("a/", CreateView.as_view(model=Account, form_class=adding)),
        path("b/", view(VersionedUpdateMixin, model=Account, form_class=changing)),
    )
    assert told("Adding", "Changing", "Edited") == []
