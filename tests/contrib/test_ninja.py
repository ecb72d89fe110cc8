"""Django Ninja: what a client is answered, and what is in the database."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from asgiref.sync import async_to_sync
from clients import JSON, row, skip_where_nobody_can_write_meanwhile, theirs
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import aget_object_or_404, get_object_or_404
from django.test import AsyncClient, Client
from django.urls import path
from testapp.models import Account, Unlocked

pytest.importorskip("ninja", reason="needs django-ninja")

from ninja import NinjaAPI, Schema

from optilock.contrib.ninja import IfMatch, Problem, install
from optilock.http import check_preconditions, etag_of
from optilock.testing import write_meanwhile

pytestmark = pytest.mark.django_db
racing = pytest.mark.django_db(transaction=True)


class Change(Schema):
    balance: int


# Ninja reads the annotations: they must be classes, not their names.
def change(
    request: HttpRequest, response: HttpResponse, pk: int, data: Change, if_match=None
):
    account = get_object_or_404(Account, pk=pk)
    check_preconditions(
        request, account, required=True, current=lambda row: {"owner": row.owner}
    )
    Unlocked.objects.create(name="written before")
    account.balance = data.balance
    account.save()
    response["ETag"] = str(etag_of(account))
    return {"balance": account.balance}


change.__annotations__ |= {
    "request": HttpRequest,
    "response": HttpResponse,
    "pk": int,
    "data": Change,
    "if_match": IfMatch,
}


async def achange(request, pk):
    account = await aget_object_or_404(Account, pk=pk)
    check_preconditions(
        request, account, required=True, current=lambda row: {"owner": row.owner}
    )
    await account.asave()
    return {}


achange.__annotations__["pk"] = int


@pytest.fixture(params=[False, True], ids=["debug_off", "debug_on"])
def api(request, settings):
    settings.DEBUG = request.param
    api = NinjaAPI(urls_namespace=f"ninja{request.param}")
    install(api)
    responses = {200: dict, 409: Problem, 412: Problem, 428: Problem}
    api.patch("/plain/{pk}/", response=responses)(change)
    api.patch("/atomic/{pk}/", response=responses)(transaction.atomic(change))
    api.patch("/async/{pk}/", response=responses)(achange)
    module = ModuleType("ninja_urls")
    module.urlpatterns = [path("", api.urls)]
    sys.modules["ninja_urls"] = module
    settings.ROOT_URLCONF = "ninja_urls"
    yield api
    del sys.modules["ninja_urls"]


def patch(url, body=None, **headers):
    return Client().patch(
        url,
        json.dumps(body or {"balance": 1}),
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.mark.parametrize("kind", ["plain", "atomic"])
def test_a_change_needs_the_tag_it_came_with(api, kind, account):
    url = f"/{kind}/{account.pk}/"
    changed = patch(url, If_Match='"1"')
    assert (changed.status_code, changed["ETag"]) == (200, '"2"')
    refused = patch(url, If_Match='"1"')
    assert refused.status_code == 412
    assert refused["Content-Type"] == JSON
    assert refused["ETag"] == '"2"'
    assert refused.json()["current"] == {"owner": "first"}
    assert patch(url).status_code == 428
    assert patch(url, If_Match="1").status_code == 400
    assert patch("/plain/99/", If_Match='"1"').status_code == 404
    assert row(account) == ("first", 1, 2)


def test_the_body_is_validated_first(api, account):
    # Ninja calls the function only after that.
    url = f"/plain/{account.pk}/"
    assert patch(url, {"balance": "x"}, If_Match='"0"').status_code == 422


@racing
@pytest.mark.parametrize("kind", ["plain", "atomic"])
@pytest.mark.parametrize("atomic_requests", [False, True])
def test_who_loses_leaves_nothing_where_there_is_a_transaction(
    api, kind, atomic_requests, account, monkeypatch
):
    skip_where_nobody_can_write_meanwhile()
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    with write_meanwhile(Account, theirs(account)):
        refused = patch(f"/{kind}/{account.pk}/", If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    if atomic_requests:
        assert "current" not in refused.json()
    else:
        assert refused.json()["current"] == {"owner": "theirs"}
    assert row(account) == ("theirs", 100, 2)
    has_transaction = atomic_requests or kind == "atomic"
    assert Unlocked.objects.exists() is not has_transaction


def test_an_async_operation_is_answered_for(api, account):
    async def send(**headers):
        return await AsyncClient().patch(f"/async/{account.pk}/", headers=headers)

    refused = async_to_sync(send)(**{"If-Match": '"0"'})
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 1
    assert "current" not in refused.json()
    assert async_to_sync(send)(**{"If-Match": '"1"'}).status_code == 200


def test_the_schema_has_the_header_and_the_problem(api):
    operation = api.get_openapi_schema()["paths"]["/plain/{pk}/"]["patch"]
    headers = [p["name"] for p in operation["parameters"] if p["in"] == "header"]
    assert headers == ["If-Match"]
    assert {409, 412, 428} <= set(operation["responses"])
