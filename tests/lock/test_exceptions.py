"""What the error says, and how it travels."""

from __future__ import annotations

import copy
import pickle

import django
import pytest
from django.core import exceptions
from django.db import DatabaseError
from testapp.models import Account, CompositeKey

from optilock import RecordDeletedError, RecordModifiedError

pytestmark = pytest.mark.django_db


def refused(current_version=3, error=RecordModifiedError):
    account = Account(pk=7, owner="secret", balance=987654, version=2)
    return error(
        instance=account,
        using="default",
        expected_version=2,
        current_version=current_version,
    )


def deleted():
    return refused(None, RecordDeletedError)


DUPLICATES = [
    pytest.param(lambda error: pickle.loads(pickle.dumps(error)), id="pickle"),  # noqa: S301
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
]


def test_attributes():
    error = refused()
    assert error.model is Account
    assert error.instance.owner == "secret"
    assert (error.pk, error.using) == (7, "default")
    assert (error.expected_version, error.current_version) == (2, 3)


def test_deleted_is_a_kind_of_modified():
    assert issubclass(RecordDeletedError, RecordModifiedError)
    assert issubclass(RecordModifiedError, DatabaseError)
    assert deleted().current_version is None


@pytest.mark.parametrize(
    ("build", "facts"),
    [
        (refused, ["expected version 2", "found 3", "Reload it and apply"]),
        (
            deleted,
            [
                "there is no such row",
                "version 2 was expected",
                "save(force_insert=True)",
            ],
        ),
        (
            lambda: refused(2),
            ["matched no row", "at the expected version 2", "trigger"],
        ),
    ],
)
def test_message_tells_what_happened_to_whom_and_what_to_do(build, facts):
    message = str(build())
    assert message.startswith("testapp.Account with pk 7 was not written: ")
    for fact in facts:
        assert fact in message


@pytest.mark.parametrize("build", [refused, deleted, lambda: refused(2)])
def test_no_field_value_is_in_the_message(build):
    for text in (str(build()), repr(build())):
        assert "secret" not in text
        assert "987654" not in text


def test_composite_key_is_named_in_full():
    CompositeKey.objects.create(tenant=1, number=2, name="a")
    stale = CompositeKey.objects.get()
    CompositeKey.objects.get().save()
    with pytest.raises(RecordModifiedError, match=r"with pk \(1, 2\)") as caught:
        stale.save()
    assert caught.value.pk == (1, 2)


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("build", [refused, deleted])
def test_error_survives_duplication(build, duplicate):
    error = build()
    twin = duplicate(error)
    assert isinstance(twin, RecordModifiedError)
    assert isinstance(twin, RecordDeletedError) is isinstance(error, RecordDeletedError)
    assert str(twin) == str(error)
    assert (twin.instance, twin.using) == (error.instance, error.using)
    assert twin.expected_version == error.expected_version
    assert twin.current_version == error.current_version


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_what_a_handler_noted_survives_duplication(duplicate):
    error = refused()
    error.seen = "by a handler"
    assert duplicate(error).seen == "by a handler"


@pytest.mark.parametrize("build", [refused, deleted])
def test_error_is_named_as_it_is_imported(build):
    error = build()
    assert type(error).__name__ in ("RecordModifiedError", "RecordDeletedError")
    assert type(error).__module__ == "optilock.exceptions"


@pytest.mark.skipif(django.VERSION < (6, 0), reason="NotUpdated came with Django 6.0")
@pytest.mark.parametrize("build", [refused, deleted])
def test_handlers_of_django_s_own_error_catch_it(build):
    assert isinstance(build(), Account.NotUpdated)
    assert isinstance(build(), exceptions.ObjectNotUpdated)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="NotUpdated came with Django 6.0")
def test_stale_save_is_caught_as_not_updated_of_its_model():
    account = Account.objects.create()
    stale = Account.objects.get()
    account.save()
    with pytest.raises(Account.NotUpdated):
        stale.save(force_update=True)


@pytest.mark.parametrize("build", [refused, deleted])
def test_each_refused_write_raises_the_same_class(build):
    assert type(build()) is type(build())


@pytest.mark.parametrize("build", [refused, deleted])
@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_duplicate_is_of_the_same_class(build, duplicate):
    error = build()
    assert type(duplicate(error)) is type(error)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="NotUpdated came with Django 6.0")
def test_each_model_has_its_own_class():
    account = RecordModifiedError(
        instance=Account(), using="default", expected_version=1, current_version=2
    )
    other = type(account)(
        instance=CompositeKey(), using="default", expected_version=1, current_version=2
    )
    assert isinstance(other, CompositeKey.NotUpdated)
    assert not isinstance(other, Account.NotUpdated)
    assert not isinstance(account, CompositeKey.NotUpdated)


def test_subclass_of_ones_own_keeps_its_class():
    class MyError(RecordModifiedError):
        pass

    errors = [
        MyError(
            instance=Account(), using="default", expected_version=1, current_version=2
        )
        for _ in range(2)
    ]
    assert isinstance(errors[0], MyError)
    assert type(errors[0]) is type(errors[1])
