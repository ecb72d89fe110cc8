from __future__ import annotations

import threading

import pytest
from factories import AccountFactory
from testapp.models import Account, Bistro, ConcurrentModel, Place

from optilock import RecordModifiedError
from optilock.retry import skipped_waits
from optilock.testing import no_waiting, provoke_conflicts

pytestmark = pytest.mark.django_db


def test_a_provoked_conflict_is_a_real_one():
    account = AccountFactory()
    with (
        provoke_conflicts(Account) as lost,
        pytest.raises(RecordModifiedError) as caught,
    ):
        account.save()
    assert lost == [account]
    assert caught.value.expected_version == 1
    assert caught.value.current_version == 2


def test_only_as_many_saves_lose_as_were_asked_for():
    with provoke_conflicts(Account, times=2) as lost:
        for _ in range(2):
            with pytest.raises(RecordModifiedError):
                Account.objects.get_or_create(pk=1)[0].save()
        Account.objects.get(pk=1).save()
    assert len(lost) == 2


def test_a_model_with_the_field_alone_will_do():
    instance = ConcurrentModel.objects.create(name="one")
    with provoke_conflicts(ConcurrentModel), pytest.raises(RecordModifiedError):
        instance.save(update_fields=["name"])


@pytest.mark.parametrize("model", [Place, Bistro])
def test_a_childs_save_loses_as_its_parents(model):
    bistro = Bistro.objects.create(name="Chez Henri")
    with provoke_conflicts(model), pytest.raises(RecordModifiedError):
        bistro.save()


def test_other_models_and_inserts_are_left_alone():
    place = Place.objects.create(name="here")
    account = AccountFactory()
    with provoke_conflicts(Account) as lost:
        place.save()
        AccountFactory()
        assert lost == []
        with pytest.raises(RecordModifiedError):
            account.save()


def test_a_block_that_provokes_nothing_fails():
    message = r"no existing testapp\.Account was saved"
    with pytest.raises(AssertionError, match=message), provoke_conflicts(Account):
        AccountFactory()


def test_an_error_in_the_block_is_not_hidden():
    with pytest.raises(LookupError), provoke_conflicts(Account):
        raise LookupError


def test_nothing_is_provoked_after_the_block():
    account = AccountFactory()
    with pytest.raises(LookupError), provoke_conflicts(Account):
        raise LookupError
    account.save()


@pytest.mark.django_db(transaction=True)
def test_other_threads_are_left_alone():
    from django.db import connection

    account = AccountFactory()

    def save():
        account.save()
        connection.close()

    with provoke_conflicts(Account) as lost:
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()
        assert lost == []
        with pytest.raises(RecordModifiedError):
            account.save()
    assert account.version == 2


def test_waits_are_waited_again_after_the_block():
    with no_waiting() as waits:
        assert skipped_waits.get() is waits
    assert skipped_waits.get() is None
