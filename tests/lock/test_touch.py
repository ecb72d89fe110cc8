"""``VersionedModel``: what it adds to the field."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models.signals import post_save
from factories import AccountFactory
from testapp.models import Account, Bistro, CompositeKey, Place

from optilock import RecordDeletedError, RecordModifiedError

pytestmark = pytest.mark.django_db


def test_touch_bumps_the_version_and_nothing_else(django_assert_num_queries):
    account = AccountFactory()
    account.owner = "not to be saved"
    with django_assert_num_queries(1):
        account.touch()
    found = Account.objects.get()
    assert (account.version, found.version) == (2, 2)
    assert found.owner != account.owner
    assert found.modified == account.modified


def test_touch_makes_others_stale():
    account = AccountFactory()
    stale = Account.objects.get()
    account.touch()
    with pytest.raises(RecordModifiedError):
        stale.save()


def test_touch_of_a_stale_instance_is_refused():
    account = AccountFactory()
    stale = Account.objects.get()
    account.touch()
    with pytest.raises(RecordModifiedError):
        stale.touch()
    assert (stale.version, Account.objects.get().version) == (1, 2)


def test_touch_of_a_row_that_is_gone_is_refused():
    account = AccountFactory()
    Account.objects.all().delete()
    with pytest.raises(RecordDeletedError):
        account.touch()


def test_touch_of_an_unsaved_object_is_refused():
    with pytest.raises(ValueError, match="Save it first"):
        Account(pk=1).touch()


def test_touch_of_a_child_raises_the_parents_version():
    bistro = Bistro.objects.create(name="a")
    bistro.touch()
    assert Place.objects.get().version == bistro.version == 2


def test_touch_with_a_composite_key():
    row = CompositeKey.objects.create(tenant=1, number=2)
    CompositeKey.objects.create(tenant=1, number=3)
    row.touch()
    found = CompositeKey.objects.order_by("number").values_list("version", flat=True)
    assert list(found) == [2, 1]


def test_touch_sends_no_signals():
    account, sent = AccountFactory(), []

    def receiver(**kwargs):
        sent.append(kwargs)

    post_save.connect(receiver, sender=Account)
    try:
        account.touch()
    finally:
        post_save.disconnect(receiver, sender=Account)
    assert sent == []


def test_a_rolled_back_touch_takes_the_version_back():
    account = AccountFactory()
    with transaction.atomic():
        account.touch()
        transaction.set_rollback(True)
    assert account.version == 1


def test_async_touch():
    account = AccountFactory()
    async_to_sync(account.atouch)()
    assert account.version == 2
