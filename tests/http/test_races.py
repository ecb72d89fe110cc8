"""Somebody commits between the check of a precondition and the write."""

from __future__ import annotations

import pytest
from clients import (
    ASYNC,
    SYNC,
    created_meanwhile,
    row,
    send,
    skip_where_nobody_can_write_meanwhile,
    theirs,
)
from django.db import IntegrityError
from django.test import Client, RequestFactory
from factories import AccountFactory, BookFactory
from testapp.models import Account, Author, Unlocked

from optilock import RecordDeletedError, RecordModifiedError
from optilock.http import PreconditionError, check_preconditions, refusal_of
from optilock.retry.errors import is_conflict
from optilock.testing import write_meanwhile

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("testapp.http"),
    pytest.mark.usefixtures("middleware"),
]


@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_who_writes_between_the_check_and_the_update_makes_it_412(
    name, method, atomic_requests, account
):
    is_open = atomic_requests or name.startswith(("decorated", "own"))
    if is_open:
        skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send(name, method, account.pk, {"balance": 1}, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    assert refused.json()["current"] == {"owner": "theirs", "balance": 100}
    assert refused["ETag"] == '"2"'
    assert row(account) == ("theirs", 100, 2)
    if is_open:
        assert not Unlocked.objects.exists()  # what was written before


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_async_view_that_loses_is_412_and_leaves_nothing(name, method, account):
    if method == "PATCH":
        skip_where_nobody_can_write_meanwhile()

    with write_meanwhile(Account, theirs(account)):
        refused = send(name, method, account.pk, {"balance": 1}, If_Match='"1"')
    assert refused.status_code == 412
    assert refused.json()["current"] == {"owner": "theirs", "balance": 100}
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()


@pytest.mark.parametrize("headers", [{}, {"If_Match": "*"}])
def test_a_race_that_no_version_was_named_for_is_409(headers, atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        refused = send("optional", "PATCH", account.pk, {"balance": 1}, **headers)
    assert refused.status_code == 409
    assert refused.json()["current_version"] == 2
    assert refused.json()["current"]["owner"] == "theirs"
    assert not Unlocked.objects.exists()


def test_a_list_that_still_has_the_current_version_is_true(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        answer = send(
            "decorated", "PATCH", account.pk, {"balance": 1}, If_Match='"1", "2"'
        )
    assert answer.status_code == 200
    assert row(account) == ("theirs", 1, 3)
    assert Unlocked.objects.count() == 1


def test_a_list_that_loses_twice_is_a_conflict_and_not_412(account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account), times=2):
        answer = send(
            "decorated", "PATCH", account.pk, {"balance": 1}, If_Match='"1", "2", "3"'
        )
    assert answer.status_code == 409
    assert row(account) == ("theirs", 100, 3)
    assert not Unlocked.objects.exists()


@pytest.mark.parametrize("headers", [{}, {"If_Match": '"1"'}])
def test_a_row_deleted_meanwhile_is_404(headers, atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, Account.objects.all().delete):
        answer = send("optional", "PATCH", account.pk, {"balance": 1}, **headers)
    assert answer.status_code == 404
    assert answer.json()["type"].endswith(":deleted")
    assert not Unlocked.objects.exists()


def test_a_conflict_over_another_row_is_409_without_a_version(atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    book = BookFactory(author__name="first")
    with write_meanwhile(Author):
        refused = Client().patch(f"/book/{book.pk}/", headers={"If-Match": '"1"'})
    assert refused.status_code == 409
    assert "current_version" not in refused.json()
    assert "ETag" not in refused
    assert Author.objects.get().name == "first"


def test_a_child_that_is_gone_is_a_conflict_and_not_404():
    book = BookFactory()
    request = RequestFactory().patch("/")
    check_preconditions(request, book)
    error = RecordDeletedError(
        instance=book.author, using="default", expected_version=1, current_version=None
    )
    assert refusal_of(error, request).status == 409
    assert refusal_of(error, RequestFactory().patch("/")).status == 404


def test_a_bulk_write_names_all_that_stood_in_the_way():
    skip_where_nobody_can_write_meanwhile()
    accounts = AccountFactory.create_batch(2)
    with write_meanwhile(Account):
        refused = Client().post("/many/")
    assert refused.status_code == 409
    assert refused.json()["conflicts"] == [
        {"pk": account.pk, "expected": 1, "current": 2} for account in accounts
    ]


def test_a_retried_view_retries_the_race_and_not_the_precondition(account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        answer = send("retried", "PATCH", account.pk, {"balance": 1})
    assert answer.status_code == 200
    assert row(account) == ("theirs", 1, 3)
    # Another row: this one is known to be hot, and is locked at once.
    other = AccountFactory()
    with write_meanwhile(Account, theirs(other)) as lost:
        answer = send("retried", "PATCH", other.pk, {"balance": 2}, If_Match='"1"')
    assert answer.status_code == 412
    assert answer.json()["current_version"] == 2
    assert len(lost) == 1
    assert Unlocked.objects.count() == 1


def test_no_precondition_error_is_a_conflict_to_retry(account):
    request = RequestFactory().patch("/", headers={"If-Match": '"0"'})
    for required, headers in [(True, {}), (False, {"If-Match": '"0"'})]:
        request = RequestFactory().patch("/", headers=headers)
        with pytest.raises(PreconditionError) as caught:
            check_preconditions(request, account, required=required)
        assert not is_conflict(caught.value)
        assert not isinstance(caught.value, RecordModifiedError)


@pytest.mark.parametrize(
    ("headers", "status"), [({"If_None_Match": "*"}, 412), ({}, 409)]
)
def test_who_loses_the_race_to_create_is_told(headers, status, atomic_requests):
    skip_where_nobody_can_write_meanwhile()
    with created_meanwhile(pk=5, owner="theirs"):
        answer = send("decorated", "PUT", 5, {"owner": "mine"}, **headers)
    assert answer.status_code == status
    assert answer.json()["type"].endswith(":exists")
    assert answer.json()["current"] == {"owner": "theirs", "balance": 0}
    assert Account.objects.get().owner == "theirs"
    assert not Unlocked.objects.exists()


def test_another_duplicate_is_nobodys_precondition():
    request = RequestFactory().put("/", headers={"If-None-Match": "*"})
    check_preconditions(request, Account(pk=5))
    assert refusal_of(IntegrityError(), request) is None


def test_a_duplicate_is_told_of_what_was_to_be_created_beside_a_change(account):
    request = RequestFactory().put("/")
    check_preconditions(request, account)
    check_preconditions(request, Account(pk=account.pk + 1))
    assert refusal_of(IntegrityError(), request) is None
    Account.objects.create(pk=account.pk + 1)
    refusal = refusal_of(IntegrityError(), request)
    assert (refusal.slug, refusal.current_version) == ("exists", 1)


def test_an_answer_the_view_makes_itself_leaves_nothing(atomic_requests, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account)):
        answer = send("by-itself", "PATCH", account.pk, {"balance": 1})
    assert answer.status_code == 409
    assert not Unlocked.objects.exists()
    assert send("by-itself", "PATCH", account.pk, {"balance": 1}).status_code == 200
    assert Unlocked.objects.exists()


@pytest.mark.parametrize("headers", [{}, {"If_Match": "*"}])
def test_without_a_version_a_view_may_merge(headers, account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account, balance=7)):
        answer = send("merging", "PATCH", account.pk, **headers)
    assert answer.status_code == 200
    assert row(account)[:2] == ("mine", 7)


def test_a_version_in_if_match_is_never_merged_with_another(account):
    skip_where_nobody_can_write_meanwhile()
    with write_meanwhile(Account, theirs(account, balance=7)):
        answer = send("merging", "PATCH", account.pk, If_Match='"1"')
    assert answer.status_code == 412
    assert row(account) == ("first", 7, 2)
