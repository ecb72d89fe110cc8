"""Tasks that lose a conflict, run by Celery itself."""

from __future__ import annotations

import pickle

import pytest
from factories import AccountFactory
from testapp.models import Account

from optilock import RecordDeletedError, RecordModifiedError, retry_on_conflict
from optilock.testing import no_waiting, provoke_conflicts

pytest.importorskip("celery", reason="needs celery")

from celery import Celery
from celery.exceptions import Retry

from optilock.contrib.celery import retry_options

pytestmark = pytest.mark.django_db

app = Celery("tests", broker="memory://", backend="cache+memory://")
calls: list[int] = []


def add(pk):
    calls.append(pk)
    account = Account.objects.get(pk=pk)
    account.balance += 1
    account.save()


@app.task(**retry_options())
def plain(pk):
    add(pk)


@app.task(**retry_options(max_retries=2))
@retry_on_conflict(attempts=2)
def both(pk):
    add(pk)


@app.task(**retry_options())
def gone(pk):
    account = Account.objects.get(pk=pk)
    Account.objects.filter(pk=pk).delete()
    calls.append(pk)
    account.save()


@pytest.fixture(autouse=True)
def counted():
    calls.clear()


def test_a_task_that_loses_is_tried_again():
    account = AccountFactory(balance=0)
    with provoke_conflicts(Account, times=2):
        assert plain.apply([account.pk]).successful()
    assert len(calls) == 3
    account.refresh_from_db()
    assert account.balance == 1


def test_it_is_for_what_the_decorator_has_given_up():
    account = AccountFactory(balance=0)
    with provoke_conflicts(Account, times=3), no_waiting():
        assert both.apply([account.pk]).successful()
    assert len(calls) == 4


def test_it_gives_up_in_the_end():
    account = AccountFactory()
    with provoke_conflicts(Account, times=6):
        result = plain.apply([account.pk])
    assert len(calls) == 6
    assert isinstance(result.result, RecordModifiedError)


def test_a_row_that_is_gone_is_not_tried_again():
    result = gone.apply([AccountFactory().pk])
    assert isinstance(result.result, RecordDeletedError)
    assert len(calls) == 1


def test_a_retry_can_be_sent():
    account = AccountFactory()
    with provoke_conflicts(Account), pytest.raises(RecordModifiedError) as caught:
        account.save()
    retry = Retry(exc=caught.value)
    assert isinstance(pickle.loads(pickle.dumps(retry)), Retry)  # noqa: S301
