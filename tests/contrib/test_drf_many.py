"""Lists of Django REST framework: their tags, and changes of many objects at once."""

from __future__ import annotations

import pytest
from clients import skip_where_nobody_can_write_meanwhile
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from factories import AccountFactory
from testapp.models import Account, Unlocked

from optilock import RecordModifiedError
from optilock.testing import write_meanwhile

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from api_clients import send
from rest_framework import serializers
from testapp.api import VersionedItemSerializer

from optilock.contrib.rest_framework import VersionedListSerializer, VersionField
from optilock.http.refusals import refusal_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("testapp.api")]
racing = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[False, True], ids=["autocommit", "atomic_requests"])
def atomic_requests(request, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", request.param)


# --- tags of lists ---------------------------------------------------------


@pytest.mark.parametrize("url", ["/listed/", "/paged/"])
def test_a_list_is_not_sent_again_until_one_of_its_rows_changes(url):
    account = AccountFactory()
    tag = send("GET", url)["ETag"]
    fresh = send("GET", url, If_None_Match=tag)
    assert fresh.status_code == 304
    assert not fresh.content
    assert fresh["ETag"] == tag
    assert fresh["Cache-Control"] == "private, no-cache"
    account.save()
    assert send("GET", url, If_None_Match=tag).status_code == 200
    assert send("HEAD", url)["ETag"] == send("GET", url)["ETag"] != tag


def test_a_list_differs_when_rows_come_and_go():
    accounts = AccountFactory.create_batch(2)
    tags = [send("GET", "/listed/")["ETag"]]
    for change in (AccountFactory, accounts[0].delete):
        change()
        tags.append(send("GET", "/listed/")["ETag"])
    assert len(set(tags)) == 3


def test_a_page_differs_when_another_page_grows():
    AccountFactory.create_batch(2)
    tag = send("GET", "/paged/")["ETag"]
    AccountFactory()
    assert send("GET", "/paged/", If_None_Match=tag).status_code == 200
    first, second = send("GET", "/paged/"), send("GET", "/paged/?page=2")
    assert first["ETag"] != second["ETag"]


@pytest.mark.parametrize(("url", "queries"), [("/listed/", 1), ("/paged/", 2)])
def test_a_lists_tag_costs_no_query(url, queries):
    AccountFactory()
    for header in ('"x"', send("GET", url)["ETag"]):
        with CaptureQueriesContext(connection) as captured:
            send("GET", url, If_None_Match=header)
        assert len(captured) == queries


def test_a_lists_tag_is_no_rows():
    account = AccountFactory()
    tag = send("GET", "/listed/")["ETag"]
    refused = send("PATCH", f"/listed/{account.pk}/", {"owner": "x"}, If_Match=tag)
    assert refused.status_code == 412
    assert refused.json()["type"].endswith(":foreign-etag")


def test_a_get_of_a_list_with_a_false_if_match_is_refused():
    tag = send("GET", "/listed/")["ETag"]
    assert send("GET", "/listed/", If_Match=tag).status_code == 200
    AccountFactory()
    assert send("GET", "/listed/", If_Match=tag).status_code == 412
    assert send("GET", "/variants/", If_Match='"1"').status_code == 412
    assert send("GET", "/variants/", If_None_Match="1").status_code == 400


@pytest.mark.parametrize("url", ["/listed/", "/paged/"])
def test_a_post_with_the_lists_tag_is_done_while_nobody_else_changed_the_list(url):
    tag = send("GET", url)["ETag"]
    body = {"owner": "mine", "balance": 1}
    assert send("POST", url, body, If_Match=tag).status_code == 201
    refused = send("POST", url, body, If_Match=tag)
    assert refused.status_code == 412
    assert refused.json()["type"].endswith(":stale")
    assert send("POST", url, body, If_None_Match="*").status_code == 412
    assert Account.objects.count() == 1


# --- many changes at once --------------------------------------------------


def items(accounts, **values):
    return [
        {"id": a.pk, "owner": "mine", "balance": 7, "version": a.version, **values}
        for a in accounts
    ]


def stored():
    return list(Account.objects.order_by("pk").values_list("balance", "version"))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_each_object_is_changed_at_the_version_it_brings(method, atomic_requests):
    accounts = AccountFactory.create_batch(3)
    answer = send(method, "/versionedmany/", items(reversed(accounts[1:])))
    assert answer.status_code == 200
    assert [item["id"] for item in answer.json()] == [accounts[2].pk, accounts[1].pk]
    assert {item["version"] for item in answer.json()} == {2}
    assert stored() == [(100, 1), (7, 2), (7, 2)]


@pytest.mark.parametrize("wrong", [{"id": "x"}, {}, "x"])
def test_an_item_without_a_key_is_refused_and_so_are_the_others(wrong):
    [account] = AccountFactory.create_batch(1)
    [item] = items([account])
    if isinstance(wrong, dict):
        wrong = {"owner": "mine", "balance": 7, "version": 1, **wrong}
    answer = send("PUT", "/versionedmany/", [item, wrong])
    assert answer.status_code == 400
    assert stored() == [(100, 1)]


def test_only_the_objects_that_are_named_are_read():
    accounts = AccountFactory.create_batch(3)
    with CaptureQueriesContext(connection) as captured:
        send("PATCH", "/versionedmany/", items(accounts[:1]))
    reads = [q["sql"] for q in captured if q["sql"].startswith("SELECT")]
    assert len(reads) == 1
    assert " IN " in reads[0]


def test_all_that_stood_in_the_way_are_named_and_none_is_written(atomic_requests):
    accounts = AccountFactory.create_batch(4)
    sent = items(accounts)
    accounts[1].save()
    accounts[2].delete()
    refused = send("PUT", "/versionedmany/", sent)
    assert refused.status_code == 409
    problem = refused.json()
    assert "current_version" not in problem
    assert problem["conflicts"] == [
        {"pk": sent[1]["id"], "expected": 1, "current": 2},
        {"pk": sent[2]["id"], "expected": 1, "current": None},
    ]
    assert stored() == [(100, 1), (100, 2), (100, 1)]
    assert not Unlocked.objects.exists()


@racing
def test_all_that_are_lost_in_a_race_are_named_too(atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    accounts = AccountFactory.create_batch(3)
    raised = Account.objects.filter(pk__in=[a.pk for a in accounts[:2]])
    with write_meanwhile(Account, lambda: [a.save() for a in raised]):
        refused = send("PUT", "/versionedmany/", items(accounts))
    assert refused.status_code == 409
    assert refused.json()["conflicts"] == [
        {"pk": account.pk, "expected": 1, "current": 2} for account in accounts[:2]
    ]
    assert stored() == [(100, 2), (100, 2), (100, 1)]
    assert not Unlocked.objects.exists()


@racing
def test_one_that_is_lost_in_a_race_takes_the_others_back(atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    accounts = AccountFactory.create_batch(2)
    raised = Account.objects.get(pk=accounts[1].pk)
    with write_meanwhile(Account, raised.save):
        refused = send("PUT", "/versionedmany/", items(accounts))
    assert refused.status_code == 409
    assert refused.json()["type"].endswith(":conflict")
    assert refused.json()["conflicts"] == [
        {"pk": raised.pk, "expected": 1, "current": 2}
    ]
    assert stored() == [(100, 1), (100, 2)]
    assert not Unlocked.objects.exists()


@racing
@pytest.mark.parametrize("number", [1, 2])
def test_those_that_are_deleted_in_a_race_are_named(number, atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    sent = items(AccountFactory.create_batch(2))
    keys = [item["id"] for item in sent[:number]]
    deleted = Account.objects.filter(pk__in=keys)
    with write_meanwhile(Account, deleted.delete):
        refused = send("PUT", "/versionedmany/", sent)
    assert refused.status_code == 409
    assert refused.json()["conflicts"] == [
        {"pk": key, "expected": 1, "current": None} for key in keys
    ]
    assert Account.objects.count() == 2 - number


class WithHouse(VersionedItemSerializer):
    """Writes another object with each."""

    house = None

    def update(self, instance, attrs):
        self.house.save()
        return super().update(instance, attrs)


@pytest.mark.parametrize("rows", [list, Account.objects.filter])
def test_a_list_of_objects_may_be_changed_as_well_as_a_queryset(rows):
    accounts = AccountFactory.create_batch(2)
    given = accounts if rows is list else rows(pk__in=[a.pk for a in accounts])
    serializer = VersionedItemSerializer(given, data=items(accounts), many=True)
    assert serializer.is_valid()
    changed = serializer.save()
    assert stored() == [(7, 2), (7, 2)]
    assert [one is mine for one, mine in zip(changed, accounts, strict=True)] == [
        rows is list
    ] * 2


def test_another_object_that_is_lost_is_not_taken_for_one_of_the_list():
    accounts, house = AccountFactory.create_batch(2), AccountFactory()
    Account.objects.get(pk=house.pk).save()
    serializer = WithHouse(accounts, data=items(accounts), many=True)
    serializer.child.house = house
    assert serializer.is_valid()
    with pytest.raises(RecordModifiedError) as caught, transaction.atomic():
        serializer.save()
    assert caught.value.instance is house
    assert [conflict.instance for conflict in caught.value.conflicts] == [house]
    problem = refusal_of(caught.value, RequestFactory().put("/")).problem()
    assert "conflicts" not in problem  # whoever sent the list may not see it
    assert stored() == [(100, 1), (100, 1), (100, 2)]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("version", ["x", None, True, ..., {}])
@pytest.mark.parametrize("headers", [{}, {"If_Match": "*"}])
def test_an_item_without_a_readable_version_is_refused(
    method, version, headers, atomic_requests
):
    sent = items(AccountFactory.create_batch(2))
    sent[1]["version"] = version
    if version is ...:
        del sent[1]["version"]
    refused = send(method, "/versionedmany/", sent, **headers)
    assert refused.status_code == 400
    assert stored() == [(100, 1)] * 2


@pytest.mark.parametrize("pk", ["x", None, ...])
def test_an_item_that_does_not_say_which_object_it_is_about_is_refused(pk):
    sent = items(AccountFactory.create_batch(2), id=pk)
    if pk is ...:
        for item in sent:
            del item["id"]
    assert send("PUT", "/versionedmany/", sent).status_code == 400
    assert stored() == [(100, 1)] * 2


@pytest.mark.parametrize("sent", [{}, [1], ["x", {}], None, [[]]])
def test_what_is_no_list_of_objects_is_refused(sent):
    assert send("PUT", "/versionedmany/", sent).status_code == 400


def test_an_object_is_in_the_list_once():
    refused = send("PUT", "/versionedmany/", items([AccountFactory()] * 2))
    assert refused.status_code == 400
    assert stored() == [(100, 1)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"1"'}, 412),
        ({"If_Match": "*"}, 200),
        ({"If_Match": "1"}, 400),
        ({"If_None_Match": "*"}, 412),
    ],
)
def test_a_precondition_of_many_is_about_the_collection(headers, status):
    sent = items([AccountFactory()])
    assert send("PUT", "/versionedmany/", sent, **headers).status_code == status
    assert stored() == [(7, 2) if status == 200 else (100, 1)]
    assert Unlocked.objects.exists() is (status == 200)


class NoKeySerializer(serializers.ModelSerializer):
    version = VersionField()

    class Meta:
        model = Account
        fields = ["id", "version"]
        list_serializer_class = VersionedListSerializer


def test_a_serializer_that_cannot_tell_the_objects_is_an_error():
    serializer = NoKeySerializer(Account.objects.all(), data=[{}], many=True)
    with pytest.raises(ImproperlyConfigured, match="field for the primary key"):
        serializer.is_valid()


def test_many_can_be_created_as_ever():
    class Items(serializers.ModelSerializer):
        version = VersionField()

        class Meta:
            model = Account
            fields = ["owner", "version"]
            list_serializer_class = VersionedListSerializer

    serializer = Items(data=[{"owner": "a"}, {"owner": "b"}], many=True)
    assert serializer.is_valid()
    serializer.save()
    assert stored() == [(0, 1)] * 2
