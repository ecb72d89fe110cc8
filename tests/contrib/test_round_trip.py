"""Clients that know nothing but HTTP, and the schema."""

from __future__ import annotations

import pytest
from clients import row
from django.urls import include, path
from factories import AccountFactory
from testapp.models import Account

pytest.importorskip("drf_spectacular", reason="needs drf-spectacular")
pytest.importorskip("httpx", reason="needs httpx")
pytest.importorskip("schemathesis", reason="needs schemathesis")

import httpx
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given, settings
from rest_framework import routers, serializers, viewsets
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_headers_conformance,
    response_schema_conformance,
)

from optilock.contrib.rest_framework import ConditionalMixin
from optilock.contrib.spectacular import ConditionalAutoSchema

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

CHECKS = [
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
]


class AccountSerializer(serializers.ModelSerializer):
    class Meta:
        model = Account
        fields = ["owner", "balance"]


class Wanted(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Account.objects.order_by("pk")
    serializer_class = AccountSerializer
    schema = ConditionalAutoSchema()
    precondition_required = True


router = routers.SimpleRouter()
router.register("wanted", Wanted, basename="wanted")
urlpatterns = [path("", include(router.urls))]


@pytest.fixture
def client(live_server):
    with httpx.Client(base_url=live_server.url, timeout=60) as client:
        yield client


def test_a_client_goes_round_get_patch_refused_merge_patch(client):
    account = AccountFactory(owner="first", balance=100)
    url = f"/wanted/{account.pk}/"
    base = client.get(url)
    mine = {"balance": 90}

    # Somebody else, meanwhile.
    theirs = client.patch(
        url, json={"owner": "theirs"}, headers={"If-Match": base.headers["ETag"]}
    )
    assert theirs.status_code == 200

    refused = client.patch(url, json=mine, headers={"If-Match": base.headers["ETag"]})
    assert refused.status_code == 412
    assert refused.headers["Content-Type"] == "application/problem+json"
    current = refused.json()["current"]
    # Nobody else has changed what I want to change.
    assert all(base.json()[name] == current[name] for name in mine)

    merged = client.patch(url, json=mine, headers={"If-Match": refused.headers["ETag"]})
    assert merged.status_code == 200
    assert row(account) == ("theirs", 90, 3)
    again = client.get(url, headers={"If-None-Match": merged.headers["ETag"]})
    assert again.status_code == 304


def test_a_client_without_a_header_is_told_which(client):
    account = AccountFactory()
    refused = client.delete(f"/wanted/{account.pk}/")
    assert refused.status_code == 428
    assert "If-Match" in refused.json()["detail"]


def test_a_header_that_is_sent_twice_is_one_list(client):
    account = AccountFactory(owner="first")
    url = f"/wanted/{account.pk}/"
    other, tag = ("If-Match", '"0"'), client.get(url).headers["ETag"]
    for step in (1, -1):
        headers = [other, ("If-Match", tag)][::step]
        done = client.patch(url, json={"balance": 1}, headers=headers)
        assert done.status_code == 200
        tag = done.headers["ETag"]
    for headers, status in [
        ([other, other], 412),
        ([other, ("If-Match", "*")], 400),
        ([other, ("If-Match", "0")], 400),
    ]:
        refused = client.patch(url, json={"balance": 2}, headers=headers)
        assert refused.status_code == status
    assert row(account) == ("first", 1, 3)


def test_whatever_the_schema_allows_is_answered_as_it_says(live_server):
    described = SchemaGenerator(patterns=urlpatterns).get_schema(public=True)
    schema = schemathesis.openapi.from_dict(described)
    statuses = {"PUT": set(), "PATCH": set(), "DELETE": set(), "GET": set()}

    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method.upper() not in statuses or "{" not in operation.path:
            continue

        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(path_parameters={"id": 1}))
        def call(case):
            Account.objects.get_or_create(pk=1)  # a DELETE with "*" is done
            response = case.call_and_validate(base_url=live_server.url, checks=CHECKS)
            statuses[case.method.upper()].add(response.status_code)

        call()

    assert statuses["GET"] >= {200}
    # What a generator of headers doesn't guess: the tag. What it does is refused.
    for method in ("PUT", "PATCH", "DELETE"):
        assert statuses[method] <= {200, 204, 400, 404, 412, 428}
        assert statuses[method] & {400, 412}
