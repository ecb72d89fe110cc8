"""APIs that look protected and aren't, and what CORS lets through."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from django.urls import include, path
from testapp.models import Account, Unlocked

pytest.importorskip("rest_framework", reason="needs djangorestframework")
pytest.importorskip("corsheaders", reason="needs django-cors-headers")

from rest_framework import generics, routers, serializers, viewsets

from optilock.contrib.rest_framework import ConditionalMixin, VersionField
from optilock.http import conditional_view
from optilock.http.checks import check_apis


def serializer_of(model_class, **declared):
    class Meta:
        model = model_class
        fields = "__all__"

    return type(
        "ItsSerializer", (serializers.ModelSerializer,), {"Meta": Meta, **declared}
    )


def viewset(*bases, model=Account, **declared):
    return type(
        "Views",
        (*bases, viewsets.ModelViewSet),
        {
            "queryset": model.objects.all(),
            "serializer_class": serializer_of(model, **declared),
        },
    )


@pytest.fixture
def ids(settings):
    """The ids of what the checks say about some URLs."""

    def check(*patterns):
        module = ModuleType("checked")
        module.urlpatterns = [path("api/", include(list(patterns)))]
        sys.modules["checked"] = module
        settings.ROOT_URLCONF = "checked"
        return [message.id for message in check_apis()]

    yield check
    sys.modules.pop("checked", None)


def routed(view):
    router = routers.SimpleRouter()
    router.register("rows", view, basename="row")
    return path("", include(router.urls))


def test_a_version_that_is_only_named_protects_nothing(ids):
    assert ids(routed(viewset())) == ["optilock.W050"]


@pytest.mark.parametrize(
    "view",
    [
        viewset(ConditionalMixin),
        viewset(version=VersionField()),
        viewset(model=Unlocked),
    ],
    ids=["mixin", "field", "unlocked"],
)
def test_views_that_know_the_version_or_need_none_are_left_alone(view, ids):
    assert ids(routed(view)) == []


def test_views_that_change_nothing_are_left_alone(ids):
    view = viewset()
    assert ids(path("rows/", view.as_view({"get": "list", "post": "create"}))) == []
    assert ids(path("rows/<int:pk>/", view.as_view({"put": "update"}))) == [
        "optilock.W050"
    ]


def test_generic_views_are_looked_at_too(ids):
    arguments = {
        "queryset": Account.objects.all(),
        "serializer_class": serializer_of(Account),
    }
    changing = generics.RetrieveUpdateAPIView.as_view(**arguments)
    reading = generics.RetrieveAPIView.as_view(**arguments)
    assert ids(path("1/", changing), path("2/", changing), path("3/", reading)) == [
        "optilock.W050"
    ]


def test_without_urls_there_is_nothing_to_check(settings):
    settings.ROOT_URLCONF = None
    assert check_apis() == []


def etag_view():
    return path("plain/", conditional_view(lambda request: None))


def test_cors_must_let_the_headers_through(ids, settings):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
    assert ids() == []  # nobody speaks of tags
    assert ids(etag_view()) == ["optilock.W051", "optilock.W052"]
    assert ids(routed(viewset(ConditionalMixin))) == ["optilock.W051", "optilock.W052"]
    settings.CORS_ALLOW_HEADERS = ["accept", "If-Match", "if-none-match"]
    assert ids(etag_view()) == ["optilock.W052"]
    settings.CORS_EXPOSE_HEADERS = ["ETag"]
    assert ids(etag_view()) == []


def test_the_middleware_speaks_of_tags_too(ids, settings):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
    settings.MIDDLEWARE = ["optilock.http.middleware.ConflictMiddleware"]
    assert ids() == ["optilock.W051", "optilock.W052"]


def test_without_the_packages_nothing_is_imported(ids, settings):
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app != "rest_framework"
    ]
    assert ids(routed(viewset())) == []
