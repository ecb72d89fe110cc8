from __future__ import annotations

import pytest
from factories import AccountFactory
from testapp.models import Account, Bistro, ConcurrentModel, Place, Unlocked
from threads import elsewhere

from optilock import RecordModifiedError
from optilock.retry.call import skipped_waits
from optilock.testing import no_waiting, provoke_conflicts, write_meanwhile

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
    account = AccountFactory()
    with provoke_conflicts(Account) as lost:
        elsewhere(account.save)
        assert lost == []
        with pytest.raises(RecordModifiedError):
            account.save()
    assert account.version == 2


def test_waits_are_waited_again_after_the_block():
    with no_waiting() as waits:
        assert skipped_waits.get() is waits
    assert skipped_waits.get() is None


# --- on a second connection ---------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["save", "delete", "touch"])
def test_somebody_else_is_faster_than_each_kind_of_write(name):
    account = AccountFactory()
    with (
        write_meanwhile(Account) as lost,
        pytest.raises(RecordModifiedError) as caught,
    ):
        getattr(account, name)()
    assert len(lost) == 1
    assert caught.value.current_version == 2
    assert Account.objects.get().version == 2


@pytest.mark.django_db(transaction=True)
def test_what_somebody_else_wrote_stays_when_this_transaction_is_rolled_back():
    from django.db import connection, transaction

    if connection.vendor == "sqlite":
        pytest.skip("in a transaction, SQLite lets nobody else write")
    account = AccountFactory(owner="first")
    write = Account.objects.filter(pk=account.pk)
    with (
        write_meanwhile(Account, lambda: write.update(owner="theirs")),
        pytest.raises(RecordModifiedError),
        transaction.atomic(),
    ):
        account.save()
    assert Account.objects.get().owner == "theirs"


@pytest.mark.django_db(transaction=True)
def test_as_many_writes_are_overtaken_as_were_asked_for():
    AccountFactory()
    with write_meanwhile(Account, times=2) as lost:
        for _ in range(2):
            with pytest.raises(RecordModifiedError):
                Account.objects.get().save()
        Account.objects.get().save()
    assert len(lost) == 2


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_ever_for_a_row_that_is_locked(monkeypatch):
    from django.db import connection, transaction

    from optilock import testing

    monkeypatch.setattr(testing, "_PATIENCE", 0.2)
    if connection.vendor == "sqlite":
        pytest.skip("a writer that waits for SQLite's lock outlives the test")
    account = AccountFactory()

    def lock_and_save():
        with write_meanwhile(Account), transaction.atomic():
            Account.objects.select_for_update().get()
            account.save()

    with pytest.raises(AssertionError, match="has locked the row"):
        lock_and_save()


@pytest.mark.django_db(transaction=True)
def test_what_somebody_else_fails_with_is_raised():
    account = AccountFactory()

    def fail():
        raise LookupError

    with pytest.raises(LookupError), write_meanwhile(Account, fail):
        account.save()


@pytest.mark.django_db(transaction=True)
def test_a_block_in_which_nobody_is_overtaken_fails():
    message = r"no row of testapp\.Account was updated"
    with pytest.raises(AssertionError, match=message), write_meanwhile(Account):
        AccountFactory()


def test_a_second_connection_needs_rows_that_are_committed():
    with (
        pytest.raises(AssertionError, match="runs in a transaction"),
        write_meanwhile(Account),
    ):
        pass
    with pytest.raises(TypeError, match="no version"), write_meanwhile(Unlocked):
        pass
