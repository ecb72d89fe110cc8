"""GraphQL: the version comes with the object, and goes back with the change."""

from typing import Annotated

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import RequestFactory
from factories import AccountFactory
from testapp.models import Account, Unlocked

pytest.importorskip("strawberry_django", reason="needs strawberry-graphql-django")

import strawberry
import strawberry_django
from strawberry_django import mutations

from optilock.contrib.strawberry import Conflict, ConflictExtension, ConflictResult

pytestmark = pytest.mark.django_db


@strawberry_django.type(Account)
class AccountType:
    id: strawberry.auto
    owner: strawberry.auto
    version: strawberry.auto


@strawberry_django.partial(Account)
class AccountChange:
    id: strawberry.ID
    owner: strawberry.auto
    version: int  # required: without it nothing would be compared


Changed = Annotated[AccountType | Conflict, strawberry.union("Changed")]


def rename(pk, version, owner):
    Unlocked.objects.create(name="written before")
    account = Account.objects.get(pk=pk)
    account.version = version
    account.owner = owner
    account.save()
    return account


@strawberry.type
class Query:
    accounts: list[AccountType] = strawberry_django.field()


@strawberry.type
class Mutation:
    change: AccountType = mutations.update(AccountChange)

    @strawberry.mutation(extensions=[ConflictResult()])
    def rename(self, pk: int, version: int, owner: str) -> Changed:
        return rename(pk, version, owner)

    @strawberry.mutation(extensions=[ConflictResult()])
    async def arename(self, pk: int, version: int, owner: str) -> Changed:
        return await sync_to_async(rename)(pk, version, owner)

    @strawberry.mutation
    def save_deleted(self, pk: int) -> int:
        account = Account.objects.get(pk=pk)
        Account.objects.filter(pk=pk).delete()
        account.save()
        return 0

    @strawberry.mutation
    def fail(self) -> int:
        raise LookupError


schema = strawberry.Schema(Query, Mutation, extensions=[ConflictExtension])


def execute(query, **variables):
    context = {"request": RequestFactory().post("/")}
    return schema.execute_sync(query, variable_values=variables, context_value=context)


def change(account, version):
    return execute(
        """mutation ($id: ID!, $version: Int!) {
            change(data: {id: $id, version: $version, owner: "mine"}) { version }
        }""",
        id=account.pk,
        version=version,
    )


def test_the_version_is_an_integer_of_the_type():
    AccountFactory()
    result = execute("{ accounts { version } }")
    assert result.errors is None
    assert result.data == {"accounts": [{"version": 1}]}


def test_a_change_is_checked_against_the_version_it_brings():
    account = AccountFactory()
    assert change(account, 1).data == {"change": {"version": 2}}
    refused = change(account, 1)
    assert refused.errors[0].extensions == {"code": "CONFLICT", "current_version": 2}
    assert Account.objects.get().version == 2


def test_a_change_without_a_version_is_not_understood():
    result = execute('mutation { change(data: {id: 1, owner: "mine"}) { version } }')
    assert "version" in result.errors[0].message


def test_a_row_that_is_gone_has_a_code_of_its_own():
    account = AccountFactory()
    result = execute("mutation ($pk: Int!) { saveDeleted(pk: $pk) }", pk=account.pk)
    assert result.errors[0].extensions == {"code": "DELETED", "current_version": None}


def test_other_errors_are_left_alone():
    result = execute("mutation { fail }")
    assert not result.errors[0].extensions


RENAME = """mutation ($pk: Int!, $version: Int!) {
    %s(pk: $pk, version: $version, owner: "mine") {
        __typename
        ... on AccountType { owner version }
        ... on Conflict { code message currentVersion }
    }
}"""


def test_a_conflict_can_be_a_result_and_leaves_nothing():
    account = AccountFactory()
    done = execute(RENAME % "rename", pk=account.pk, version=1)
    assert done.data["rename"] == {
        "__typename": "AccountType",
        "owner": "mine",
        "version": 2,
    }
    refused = execute(RENAME % "rename", pk=account.pk, version=1)
    assert refused.errors is None
    message = refused.data["rename"].pop("message")
    assert "found 2" in message
    assert refused.data["rename"] == {
        "__typename": "Conflict",
        "code": "CONFLICT",
        "currentVersion": 2,
    }
    assert Unlocked.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_async_conflict_can_be_a_result():
    account = AccountFactory()
    context = {"request": RequestFactory().post("/")}
    refused = async_to_sync(schema.execute)(
        RENAME % "arename",
        variable_values={"pk": account.pk, "version": 0},
        context_value=context,
    )
    assert refused.data["arename"]["code"] == "CONFLICT"
    account.refresh_from_db()
    assert account.version == 1
