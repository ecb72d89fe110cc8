"""Django REST framework: what a client is answered, and what is in the database."""

from __future__ import annotations

from functools import partial

import pytest
from clients import JSON, row, skip_where_nobody_can_write_meanwhile, theirs
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from factories import (
    AccountFactory,
    LineFactory,
    OrderFactory,
    PageFactory,
    UserFactory,
)
from replicas import ReadsElsewhere
from testapp.models import Account, Line, Order, Page, Unlocked

from optilock.testing import write_meanwhile

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from api_clients import send
from rest_framework import generics, serializers
from rest_framework.settings import api_settings
from rest_framework.test import APIClient, APIRequestFactory
from testapp.api import Accounts, AccountSerializer, BodySerializer, Epochs

from optilock.contrib import rest_framework
from optilock.http.errors import VersionMismatch

pytestmark = [pytest.mark.django_db, pytest.mark.urls("testapp.api")]
racing = pytest.mark.django_db(transaction=True)

KINDS = ["accounts", "generic"]


# --- the table -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_object_is_changed_with_the_tag_it_came_with(kind, method, account):
    url = f"/{kind}/{account.pk}/"
    got = send("GET", url)
    assert got["ETag"] == '"1"'
    assert got["Cache-Control"] == "private, no-cache"
    changed = send(method, url, {"owner": "mine"}, If_Match=got["ETag"])
    assert changed.status_code == 200
    assert changed["ETag"] == '"2"'
    assert row(account) == ("mine", 100, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_a_stale_tag_is_refused_with_what_a_get_would_answer(kind, method, account):
    theirs(account)()
    refused = send(method, f"/{kind}/{account.pk}/", {"owner": "mine"}, If_Match='"1"')
    assert refused.status_code == 412
    assert refused["Content-Type"] == JSON
    assert refused["Cache-Control"] == "no-store"
    assert refused["ETag"] == '"2"'
    problem = refused.json()
    assert problem.pop("detail")
    assert problem == {
        "type": "urn:optilock:problem:stale",
        "title": "The precondition is false",
        "status": 412,
        "current_version": 2,
        "current": {"id": account.pk, "owner": "theirs", "balance": 100},
    }
    assert row(account) == ("theirs", 100, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_a_request_without_a_tag_is_told_to_send_one(kind, method, account):
    refused = send(method, f"/{kind}/{account.pk}/", {"owner": "mine"})
    assert refused.status_code == 428
    assert refused["Cache-Control"] == "no-store"
    assert row(account) == ("first", 100, 1)


def test_an_action_is_checked_like_a_change(account):
    url = f"/accounts/{account.pk}/close/"
    assert send("POST", url).status_code == 428
    assert send("POST", url, If_Match='"0"').status_code == 412
    assert send("POST", url, If_Match='"1"').status_code == 200
    assert row(account)[0] == "closed"


def test_a_deleted_object_is_gone_for_whoever_repeats(account):
    url = f"/accounts/{account.pk}/"
    assert send("DELETE", url, If_Match='"1"').status_code == 204
    assert send("DELETE", url, If_Match='"1"').status_code == 404


def test_what_was_created_has_a_tag():
    made = send("POST", "/accounts/", {"owner": "mine", "balance": 1})
    assert (made.status_code, made["ETag"]) == (201, '"1"')


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_None_Match": "*"}, 412),
        ({"If_Match": '"1"'}, 412),
        ({"If_Match": "1"}, 400),
        ({"If_Match": "*"}, 201),
        ({"If_None_Match": '"1"'}, 201),
    ],
)
def test_a_create_is_about_the_collection(headers, status):
    answer = send("POST", "/accounts/", {"owner": "mine", "balance": 1}, **headers)
    assert answer.status_code == status
    assert Account.objects.exists() is (status == 201)


@pytest.mark.parametrize(("headers", "status"), [("*", 412), ('"1"', 201)])
def test_a_create_without_a_viewset_is_about_the_collection_too(headers, status):
    class Create(rest_framework.ConditionalMixin, generics.CreateAPIView):
        queryset = Account.objects.all()
        serializer_class = AccountSerializer

    sent = {"owner": "mine", "balance": 1}
    request = APIRequestFactory().post("/", sent, headers={"If-None-Match": headers})
    assert Create.as_view()(request).status_code == status
    assert Account.objects.exists() is (status == 201)


def test_a_view_whose_init_calls_no_other_is_checked(account):
    class Forgetful(Accounts):
        def __init__(self, **kwargs):
            pass

    factory = APIRequestFactory()
    view = Forgetful.as_view({"get": "retrieve", "patch": "partial_update"})
    assert view(factory.get("/"), pk=account.pk)["ETag"] == '"1"'
    stale = factory.patch("/", {"owner": "mine"}, headers={"If-Match": '"0"'})
    assert view(stale, pk=account.pk).status_code == 412


# --- the order of things -------------------------------------------------


@pytest.mark.parametrize("header", ['"0"', "0"])
def test_what_else_is_wrong_comes_before_the_precondition(header, account):
    url = f"/accounts/{account.pk}/"
    refused = partial(send, "PATCH", If_Match=header)
    assert refused(url, {}, Accept="image/png").status_code == 406
    assert refused("/accounts/99/", {}).status_code == 404
    assert refused(url, {}, content_type="text/csv").status_code == 415
    assert refused(f"/forbidden/{account.pk}/", {}).status_code == 403
    assert send("POST", url, {}, If_Match=header).status_code == 405


def test_the_precondition_comes_before_the_body(account):
    url, wrong = f"/accounts/{account.pk}/", {"balance": "wrong"}
    assert send("PATCH", url, wrong, If_Match='"1"').status_code == 400
    assert send("PATCH", url, wrong, If_Match='"0"').status_code == 412
    assert send("PATCH", url, wrong).status_code == 428
    malformed = send("PATCH", url, wrong, If_Match="1")
    assert malformed.json()["type"].endswith(":malformed-precondition")


def test_options_still_tells_what_can_be_sent(account):
    told = send("OPTIONS", f"/accounts/{account.pk}/", If_Match='"0"')
    assert told.status_code == 200
    assert set(told.json()["actions"]["PUT"]) == {"id", "owner", "balance"}


# --- reading -------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(method, account):
    url = f"/accounts/{account.pk}/"
    with CaptureQueriesContext(connection) as captured:
        fresh = send(method, url, If_None_Match='W/"1"')
    assert len(captured) == 1
    assert fresh.status_code == 304
    assert not fresh.content
    whole = send(method, url)
    for name in ["ETag", "Vary", "Cache-Control"]:
        assert fresh[name] == whole[name]
    assert send(method, url, If_None_Match='"0"').status_code == 200


def test_a_get_with_a_false_if_match_is_refused(account):
    assert send("GET", f"/accounts/{account.pk}/", If_Match='"0"').status_code == 412


def test_no_two_representations_share_a_tag(account, settings):
    settings.LANGUAGES = [("en", "English"), ("de", "German")]
    url = f"/variants/{account.pk}/"
    clients = [APIClient(), APIClient()]
    clients[1].force_authenticate(UserFactory())
    tags = [
        clients[0].get(url)["ETag"],
        clients[0].get(url, headers={"Accept-Language": "de"})["ETag"],
        clients[0].get(url, {"fields": "owner"})["ETag"],
        clients[0].get(url, headers={"Accept": "text/html"})["ETag"],
        clients[1].get(url)["ETag"],
    ]
    assert len(set(tags)) == len(tags)
    for tag in tags:
        assert send("PATCH", url, {}, If_Match=tag).status_code == 200
        tags[0] = None
        Account.objects.filter(pk=account.pk).update(version=1)


def test_a_cache_never_serves_a_tag_that_is_over(account, settings):
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    url = f"/accounts/{account.pk}/"
    for count in range(1, 4):
        tag = send("GET", url)["ETag"]
        assert tag == f'"{count}"'
        assert send("PATCH", url, {}, If_Match=tag).status_code == 200


def test_a_view_that_says_how_it_is_cached_is_believed(account):
    class Cached(Accounts):
        def retrieve(self, request, *args, **kwargs):
            answer = super().retrieve(request, *args, **kwargs)
            answer["Cache-Control"] = "private, max-age=5"
            return answer

    view = Cached.as_view({"get": "retrieve"})
    answer = view(APIRequestFactory().get("/"), pk=account.pk)
    assert answer["Cache-Control"] == "private, max-age=5"
    assert answer["ETag"] == '"1"'
    assert answer["Vary"] == "Accept, Accept-Language, Cookie"


def test_a_list_has_no_tag_of_a_row(account):
    assert "ETag" not in send("GET", "/accounts/")


# --- races ---------------------------------------------------------------


@racing
@pytest.mark.parametrize("kind", [*KINDS, "ownhandler"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_who_writes_between_the_check_and_the_update_makes_it_412(
    kind, method, atomic_requests, account
):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send(
            method, f"/{kind}/{account.pk}/", {"owner": "mine"}, If_Match='"1"'
        )
    assert refused.status_code == 412
    problem = refused.json()
    assert problem["current_version"] == 2
    if kind == "ownhandler":
        assert "current" not in problem
    else:
        assert problem["current"]["owner"] == "theirs"
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()


@racing
def test_an_action_that_loses_leaves_nothing(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send("POST", f"/accounts/{account.pk}/close/", If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    assert "current" not in refused.json()  # there is no GET of the action
    assert not Unlocked.objects.exists()


@racing
@pytest.mark.parametrize("headers", [{}, {"If_Match": "*"}])
def test_a_race_that_no_version_was_named_for_is_409(headers, atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send("PATCH", f"/variants/{account.pk}/", {"balance": 1}, **headers)
    assert refused.status_code == 409
    assert refused.json()["current_version"] == 2
    assert not Unlocked.objects.exists()


@racing
def test_a_list_that_still_has_the_current_version_is_true(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    url = f"/accounts/{account.pk}/"
    with write_meanwhile(Account, theirs(account)):
        answer = send("PATCH", url, {"balance": 1}, If_Match='"1", "2"')
    assert answer.status_code == 200
    assert row(account) == ("theirs", 1, 3)
    assert Unlocked.objects.count() == 1


@racing
@pytest.mark.parametrize("handler", ["Memory", "Temporary"])
def test_files_are_stored_once_more_by_the_second_attempt(
    handler, atomic_requests, settings, tmp_path
):
    skip_where_nobody_can_write_meanwhile()
    settings.MEDIA_ROOT = tmp_path
    settings.FILE_UPLOAD_HANDLERS = [
        f"django.core.files.uploadhandler.{handler}FileUploadHandler"
    ]
    order = OrderFactory()
    write = Order.objects.filter(pk=order.pk)
    with write_meanwhile(Order, partial(write.update, note="theirs")):
        answer = APIClient().patch(
            f"/attachments/{order.pk}/",
            {"attachment": ContentFile(b"content", name="a.txt")},
            format="multipart",
            headers={"If-Match": '"1", "2"'},
        )
    assert answer.status_code == 200
    with Order.objects.get().attachment.open() as stored:
        assert stored.read() == b"content"


@racing
def test_an_object_deleted_meanwhile_is_404(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, Account.objects.all().delete):
        answer = send("PATCH", f"/accounts/{account.pk}/", {}, If_Match='"1"')
    assert answer.status_code == 404
    assert answer.json()["type"].endswith(":deleted")
    assert not Unlocked.objects.exists()


@racing
def test_an_object_given_away_in_the_race_is_not_shown(atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    account = AccountFactory(owner="mine")
    with write_meanwhile(Account, theirs(account)):
        answer = send("PATCH", f"/mine/{account.pk}/", {"balance": 1}, If_Match='"1"')
    assert answer.status_code == 412
    assert answer.json()["current_version"] == 2
    assert "current" not in answer.json()


@racing
@pytest.mark.parametrize("kind", ["orders", "claimed"])
def test_what_is_shown_is_never_what_was_just_rolled_back(kind, atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    line = LineFactory(quantity=1)
    order = line.order
    write = Order.objects.filter(pk=order.pk)
    body = {"note": "mine", "lines": [{"product": "Pen", "quantity": 99}]}
    with write_meanwhile(Order, partial(write.update, note="theirs")):
        refused = send("PUT", f"/{kind}/{order.pk}/", body, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current"]["note"] == "theirs"
    assert refused.json()["current"]["lines"][0]["quantity"] == 1
    assert Line.objects.get().quantity == 1


@racing
def test_a_part_that_is_lost_is_a_conflict_without_a_version(atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    line = LineFactory(quantity=1)
    body = {"note": "mine", "lines": [{"product": "Pen", "quantity": 99}]}
    with write_meanwhile(Line):
        refused = send("PUT", f"/orders/{line.order_id}/", body, If_Match='"1"')
    assert refused.status_code == 409
    assert "current_version" not in refused.json()
    assert Line.objects.get().quantity == 1


def test_an_object_that_is_claimed_first_is_raised_with_its_parts():
    line = LineFactory(quantity=1)
    body = {"note": "mine", "lines": [{"product": "Pen", "quantity": 99}]}
    changed = send("PUT", f"/claimed/{line.order_id}/", body)
    assert changed.status_code == 200
    assert Order.objects.get().version == 3
    assert changed["ETag"].startswith('"3')


@racing
def test_a_retried_update_keeps_both_and_never_retries_a_precondition(account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        answer = send("PATCH", f"/retried/{account.pk}/", {"balance": 1})
    assert answer.status_code == 200
    assert row(account) == ("theirs", 1, 3)
    other = AccountFactory()
    with write_meanwhile(Account, theirs(other)) as lost:
        answer = send("PATCH", f"/retried/{other.pk}/", {"balance": 1}, If_Match='"1"')
    assert answer.status_code == 412
    assert len(lost) == 1


@racing
@pytest.mark.parametrize("headers", [{}, {"If_Match": '"1"'}])
def test_a_version_in_if_match_is_never_merged_with_another(headers):
    skip_where_nobody_can_write_meanwhile()
    page = PageFactory()
    write = Page.objects.filter(pk=page.pk)
    with write_meanwhile(Page, partial(write.update, amount=7)):
        answer = send("PATCH", f"/pages/{page.pk}/", {"title": "mine"}, **headers)
    assert answer.status_code == (412 if headers else 200)
    assert Page.objects.get().title == ("Title" if headers else "mine")


@racing
def test_a_busy_database_is_503(atomic_requests, account, monkeypatch):
    from django.db import OperationalError

    def deadlock(self, *args, **kwargs):
        error = OperationalError("deadlock detected")
        error.__cause__ = type("Cause", (Exception,), {"sqlstate": "40P01"})()
        raise error

    monkeypatch.setattr(Account, "save", deadlock)
    answer = send("PATCH", f"/accounts/{account.pk}/", {}, If_Match='"1"')
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert not Unlocked.objects.exists()


# --- what the view does its own way --------------------------------------


def test_a_refresh_does_not_exchange_the_version_in_if_match(account):
    url = f"/refreshing/{account.pk}/"
    assert send("PATCH", url, {"balance": 1}, If_Match='"1"').status_code == 412
    assert row(account)[1] == 100
    assert send("PATCH", url, {"balance": 1}).status_code == 200


def test_an_object_that_was_found_otherwise_is_checked_before_it_is_written(account):
    url = f"/unlooked/{account.pk}/"
    assert send("PATCH", url, {"balance": 1}, If_Match='"0"').status_code == 412
    assert row(account) == ("first", 100, 1)
    assert send("PATCH", url, {"balance": 1}, If_Match='"1"').status_code == 200


def test_an_if_match_that_nobody_looked_at_is_an_error_and_nothing_is_written(account):
    with pytest.raises(ImproperlyConfigured, match="without looking at its If-Match"):
        send("PATCH", f"/careless/{account.pk}/", {"balance": 1}, If_Match='"0"')
    assert row(account) == ("first", 100, 1)


def test_a_put_may_be_answered_without_a_tag(account):
    url = f"/ownhandler/{account.pk}/"
    body = {"owner": "mine", "balance": 1}
    assert "ETag" not in send("PUT", url, body)
    assert "ETag" in send("PATCH", url, body)


def test_who_may_write_and_not_read_gets_the_number_only(account):
    refused = send("PATCH", f"/hidden/{account.pk}/", {}, If_Match='"0"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 1
    assert "current" not in refused.json()


def test_a_change_is_read_from_the_database_that_is_written(account, settings):
    settings.DATABASE_ROUTERS = [ReadsElsewhere("other", Account)]
    # A replica that has nothing of it: the row wouldn't be found there at all.
    url = f"/accounts/{account.pk}/"
    changed = send("PATCH", url, {"owner": "mine"}, If_Match='"1"')
    assert changed.status_code == 200


# --- the version in the body ---------------------------------------------


def body(account, **values):
    return {"owner": "mine", "balance": 1, "version": 1, **values}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_the_version_in_the_body_is_compared(method, account):
    url = f"/bodyversions/{account.pk}/"
    changed = send(method, url, body(account))
    assert changed.status_code == 200
    assert changed.json()["version"] == 2
    assert changed.json()["etag"] == '"2"'
    refused = send(method, url, body(account, owner="again"))
    assert refused.status_code == 409
    assert refused.json()["current_version"] == 2
    assert refused.json()["current"]["owner"] == "mine"
    assert row(account) == ("mine", 1, 2)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("version", ["x", None, True, 1.5, ..., {}, ""])
def test_a_body_without_a_readable_version_is_refused(method, version, account):
    sent = body(account, version=version)
    if version is ...:
        del sent["version"]
    refused = send(method, f"/bodyversions/{account.pk}/", sent)
    assert refused.status_code == 400
    assert list(refused.json()) == ["version"]
    assert row(account) == ("first", 100, 1)


def test_the_version_is_compared_beside_what_else_is_validated(account):
    seen = []

    class Validated(BodySerializer):
        class Meta(BodySerializer.Meta):
            validators = (seen.append,)

    assert Validated(account, data=body(account)).is_valid()
    with pytest.raises(VersionMismatch):
        Validated(account, data=body(account, version=0)).is_valid()
    assert [attrs["owner"] for attrs in seen] == ["mine"] * 2


def test_zero_is_a_version_like_any_other(account):
    url = f"/bodyversions/{account.pk}/"
    assert send("PUT", url, body(account, version=0)).status_code == 409


def test_a_create_does_not_look_at_the_version():
    made = send("POST", "/bodyversions/", {"owner": "me", "balance": 1, "version": 77})
    assert made.status_code == 201
    assert made.json()["version"] == 1
    made = send("POST", "/bodyversions/", {"owner": "me", "balance": 1})
    assert made.status_code == 201


def test_if_match_stands_in_for_the_version_in_the_body(account):
    url = f"/bodyversions/{account.pk}/"
    sent = {"owner": "mine", "balance": 1}
    assert send("PUT", url, sent, If_Match='"0"').status_code == 412
    assert send("PUT", url, sent, If_Match='"1"').status_code == 200


@pytest.mark.parametrize(
    ("header", "version", "status"),
    [('"1"', 1, 200), ('"1"', 0, 409), ('"0"', 1, 412), ('"0"', 0, 412)],
)
def test_header_and_body_both_have_to_hold(header, version, status, account):
    url = f"/bodyversions/{account.pk}/"
    answer = send("PUT", url, body(account, version=version), If_Match=header)
    assert answer.status_code == status


def test_an_invalid_body_comes_before_its_stale_version(account):
    sent = body(account, version=0, balance="wrong")
    refused = send("PUT", f"/bodyversions/{account.pk}/", sent)
    assert refused.status_code == 400


def test_a_delete_cannot_bring_a_version_in_its_body(account):
    assert send("DELETE", f"/bodyversions/{account.pk}/").status_code == 428


@racing
def test_a_race_after_the_body_was_compared_is_409(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send("PUT", f"/bodyversions/{account.pk}/", body(account))
    assert refused.status_code == 409
    assert refused.json()["current"]["owner"] == "theirs"


def test_each_item_of_a_list_has_its_tag():
    AccountFactory.create_batch(2)
    listed = send("GET", "/bodyversions/").json()
    assert [(item["version"], item["etag"]) for item in listed] == [(1, '"1"')] * 2


def test_an_object_in_another_has_a_tag_without_the_epoch_of_the_view(account):
    class Around(serializers.Serializer):
        inside = BodySerializer(source="*")
        etag = rest_framework.ETagField()

    class Nested(Epochs):
        serializer_class = Around

    shown = Nested.as_view({"get": "retrieve"})(
        APIRequestFactory().get("/"), pk=account.pk
    )
    assert shown.data["etag"] == shown["ETag"] != '"1"'
    assert shown.data["inside"]["etag"] == '"1"'


def test_a_list_of_changes_is_written_whole_or_not_at_all(atomic_requests):
    accounts = AccountFactory.create_batch(3)
    items = [{"id": a.pk, "owner": "x", "balance": 7, "version": 1} for a in accounts]
    assert send("PUT", "/many/", items).status_code == 200
    Unlocked.objects.all().delete()
    items[0]["version"] = 2
    refused = send("PUT", "/many/", items)
    assert refused.status_code == 409
    assert refused.json()["conflicts"] == [
        {"pk": account.pk, "expected": 1, "current": 2} for account in accounts[1:]
    ]
    assert {account.balance for account in Account.objects.all()} == {7}
    assert {account.version for account in Account.objects.all()} == {2}
    assert not Unlocked.objects.exists()


# --- people at the browsable API -----------------------------------------


def test_the_browsable_api_shows_its_forms(account):
    html = {"Accept": "text/html"}
    page = send("GET", f"/bodyversions/{account.pk}/", **html)
    assert page.status_code == 200
    assert 'name="version"' in page.content.decode()
    changed = APIClient().put(
        f"/bodyversions/{account.pk}/",
        {"owner": "mine", "balance": "1", "version": "1"},
        format="multipart",
        headers=html,
    )
    assert changed.status_code == 200
    assert row(account) == ("mine", 1, 2)


def test_a_refused_form_shows_the_page_with_the_reason(account):
    page = send(
        "PATCH", f"/accounts/{account.pk}/", {}, If_Match='"0"', Accept="text/html"
    )
    assert page.status_code == 412
    assert page["Content-Type"].startswith("text/html")
    assert "urn:optilock:problem:stale" in page.content.decode()


# --- views without the mixin ---------------------------------------------


@pytest.fixture
def handler(monkeypatch):
    monkeypatch.setattr(
        api_settings, "EXCEPTION_HANDLER", rest_framework.exception_handler
    )


def test_the_handler_answers_for_any_view(handler, account):
    url = f"/plain/{account.pk}/"
    refused = send("PATCH", url, {"balance": 1}, If_Match='"0"')
    assert refused.status_code == 412
    assert refused["Content-Type"] == JSON
    assert refused["ETag"] == '"1"'
    assert "current" not in refused.json()
    assert send("PATCH", url, {"balance": 1}, If_Match='"1"').status_code == 200


def test_the_handler_hands_on_what_it_does_not_know(handler, account):
    with pytest.raises(LookupError):
        send("POST", f"/plain/{account.pk}/", {})
    assert send("PUT", f"/plain/{account.pk}/", {}).status_code == 405


@racing
def test_the_handler_rolls_the_request_back(handler, account, monkeypatch):
    skip_where_nobody_can_write_meanwhile()
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with write_meanwhile(Account, theirs(account)):
        refused = send("PATCH", f"/plain/{account.pk}/", {"balance": 1}, If_Match='"1"')
    assert refused.status_code == 412
    assert not Unlocked.objects.exists()


def test_a_handler_with_a_form_of_its_own_is_left_alone(account, monkeypatch):
    def own(exc, context):
        from rest_framework.response import Response

        errors = [{"status": str(exc.status_code), "code": exc.get_codes()}]
        return Response({"errors": errors}, status=exc.status_code)

    monkeypatch.setattr(api_settings, "EXCEPTION_HANDLER", own)
    refused = send("PATCH", f"/accounts/{account.pk}/", {}, If_Match='"0"')
    assert refused.status_code == 412
    assert refused.json() == {"errors": [{"status": "412", "code": "stale"}]}
    assert refused["ETag"] == '"1"'


# --- what it costs -------------------------------------------------------


def test_a_precondition_costs_no_query(account):
    def queries(**headers):
        with CaptureQueriesContext(connection) as captured:
            answer = send("PATCH", f"/pages/{page.pk}/", {"title": "x"}, **headers)
        assert answer.status_code == 200
        return [query["sql"].split()[0] for query in captured]

    page = PageFactory()
    without = queries()
    assert queries(If_Match='"2"') == without
    assert without.count("SELECT") == without.count("UPDATE") == 1
    assert OrderFactory() is not None
