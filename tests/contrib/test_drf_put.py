"""PUT in Django REST framework: creating by it, repeating it, and rows made anew."""

from __future__ import annotations

import pytest
from clients import created_meanwhile, row, skip_where_nobody_can_write_meanwhile
from django.db import connection
from factories import AccountFactory, AuthorFactory, BookFactory
from testapp.models import Account, Label, Labelled, StringKey

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from api_clients import send
from testapp import api

pytestmark = [pytest.mark.django_db, pytest.mark.urls("testapp.api")]
racing = pytest.mark.django_db(transaction=True)

BODY = {"owner": "mine", "balance": 1}


@pytest.fixture(params=[False, True], ids=["autocommit", "atomic_requests"])
def atomic_requests(request, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", request.param)


# --- creating --------------------------------------------------------------


def test_if_none_match_creates_once(atomic_requests):
    made = send("PUT", "/puts/5/", BODY, If_None_Match="*")
    assert made.status_code == 201
    assert made["ETag"].startswith('"1.')
    refused = send("PUT", "/puts/5/", {**BODY, "owner": "again"}, If_None_Match="*")
    assert refused.status_code == 412
    assert refused.json()["type"].endswith(":exists")
    assert refused.json()["current"]["owner"] == "mine"
    assert row(Account(pk=5)) == ("mine", 1, 1)
    changed = send("PUT", "/puts/5/", BODY, If_Match=refused["ETag"])
    assert (changed.status_code, row(Account(pk=5))[2]) == (200, 2)


@racing
@pytest.mark.parametrize(
    ("headers", "status"), [({"If_None_Match": "*"}, 412), ({}, 409)]
)
def test_who_loses_the_race_to_create_is_told(headers, status, atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    with created_meanwhile(pk=5, owner="theirs"):
        refused = send("PUT", "/puts/5/", BODY, **headers)
    assert refused.status_code == status
    problem = refused.json()
    assert problem["type"].endswith(":exists")
    assert problem["current_version"] == 1
    assert problem["current"]["owner"] == "theirs"
    assert row(Account(pk=5))[0] == "theirs"


@pytest.mark.parametrize("header", ['"1"', "*"])
def test_if_match_creates_nothing(header):
    refused = send("PUT", "/puts/5/", BODY, If_Match=header)
    assert refused.status_code == 412
    assert refused.json()["type"].endswith(":missing")
    assert not Account.objects.exists()


def test_only_a_put_creates():
    assert send("PATCH", "/puts/5/", BODY, If_None_Match="*").status_code == 404
    assert send("DELETE", "/puts/5/").status_code == 404
    assert send("GET", "/puts/5/").status_code == 404
    assert send("PUT", "/puts/x/", BODY).status_code == 404
    assert send("PUT", "/variants/5/", BODY, If_None_Match="*").status_code == 404
    assert not Account.objects.exists()


def test_the_media_type_and_the_body_are_looked_at():
    refused = send("PUT", "/puts/5/", BODY, content_type="text/csv")
    assert refused.status_code == 415
    assert send("PUT", "/puts/5/", {"balance": "x"}).status_code == 400
    assert not Account.objects.exists()


def test_who_may_not_post_creates_nothing(monkeypatch):
    class NoPost(api.permissions.BasePermission):
        def has_permission(self, request, view):
            return request.method != "POST"

    monkeypatch.setattr(api.Puts, "permission_classes", [NoPost])
    assert send("PUT", "/puts/5/", BODY).status_code == 403
    assert not Account.objects.exists()


def test_the_key_is_the_urls():
    assert send("PUT", "/codes/a/", {"name": "x", "code": "b"}).status_code == 201
    assert StringKey.objects.get().code == "a"


def test_options_of_what_is_not_there_is_answered():
    assert send("OPTIONS", "/puts/5/").status_code == 200


# --- repeating -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["replayed", "replayedbody"])
def test_a_put_that_was_done_is_answered_as_if_it_were_done_now(kind, atomic_requests):
    account = AccountFactory()
    url, body = f"/{kind}/{account.pk}/", {**BODY, "version": 1}
    headers = {} if kind == "replayedbody" else {"If_Match": '"1"'}
    first, second = (send("PUT", url, body, **headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert first["ETag"] == second["ETag"]
    assert row(account) == ("mine", 1, 2)


def test_a_repetition_is_known_by_the_keys_of_what_it_refers_to():
    book, other = BookFactory(), AuthorFactory()
    url, body = f"/replayedbooks/{book.pk}/", {"title": "a", "author": other.pk}
    statuses = [send("PUT", url, body, If_Match='"1"').status_code for _ in range(2)]
    assert statuses == [200, 200]
    body["author"] = book.author.pk
    assert send("PUT", url, body, If_Match='"1"').status_code == 412


def test_what_is_in_no_column_of_the_row_is_no_repetition():
    book, labelled = BookFactory(), Labelled.objects.create()
    for url, body in (
        (
            f"/replayedbooks/{book.pk}/",
            {"title": "a", "author": book.author.pk, "remark": "sent by post"},
        ),
        (f"/replayedlabels/{labelled.pk}/", {"labels": [Label.objects.create().pk]}),
    ):
        statuses = [send("PUT", url, body, If_Match='"1"').status_code for _ in "12"]
        assert statuses == [200, 412]


def test_a_put_that_somebody_has_overwritten_is_412():
    account = AccountFactory()
    url = f"/replayed/{account.pk}/"
    assert send("PUT", url, BODY, If_Match='"1"').status_code == 200
    other = {**BODY, "balance": 2}
    assert send("PUT", url, other, If_Match='"1"').status_code == 412
    assert send("PUT", url, {"balance": "x"}, If_Match='"1"').status_code == 412
    assert row(account) == ("mine", 1, 2)


def test_a_patch_is_never_taken_for_a_repetition():
    account = AccountFactory()
    url = f"/replayed/{account.pk}/"
    assert send("PATCH", url, BODY, If_Match='"1"').status_code == 200
    assert send("PATCH", url, BODY, If_Match='"1"').status_code == 412


def test_a_tag_of_another_resource_is_no_repetition():
    account = AccountFactory(**BODY)
    refused = send("PUT", f"/replayed/{account.pk}/", BODY, If_Match='"abc"')
    assert refused.status_code == 412


def test_without_being_asked_a_repetition_is_412():
    account = AccountFactory()
    url = f"/variants/{account.pk}/"
    assert send("PUT", url, BODY, If_Match='"1"').status_code == 200
    refused = send("PUT", url, BODY, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current"].items() >= BODY.items()


# --- made anew -------------------------------------------------------------


def test_a_row_made_anew_is_not_what_the_old_tag_is_about():
    account = AccountFactory(pk=5, owner="first")
    url = "/epochs/5/"
    old = send("GET", url)["ETag"]
    account.delete()
    AccountFactory(pk=5, owner="second")
    assert send("GET", url, If_None_Match=old).status_code == 200
    assert send("GET", url, If_Match=old).status_code == 412
    for header in (old, '"1"'):
        refused = send("PATCH", url, {"version": 1}, If_Match=header)
        assert refused.status_code == 412
        new = send("GET", url)["ETag"]
        assert refused["ETag"] == new == refused.json()["current"]["etag"]
    assert send("DELETE", url, If_Match=old).status_code == 412
    both = send("PATCH", url, {"balance": 3}, If_Match=f"{old}, {new}")
    assert both.status_code == 200
    assert send("GET", "/epochs/").json()[0]["etag"] == both["ETag"]
