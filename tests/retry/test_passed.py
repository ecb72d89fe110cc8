from __future__ import annotations

import threading

import pytest
from django.db.models import F
from factories import AccountFactory
from testapp.models import Account

from optilock.retry.passed import Passed

pytestmark = pytest.mark.django_db


def test_an_expression_is_put_back_as_it_was(account):
    account.balance = F("balance") + 1
    passed = Passed([account])
    expression, account.balance = account.balance, 7
    passed.put_back()
    assert account.balance is expression


def test_a_value_that_can_t_be_copied_is_put_back_itself(account):
    account.owner = lock = threading.Lock()
    passed = Passed([account])
    account.owner = "Ann"
    passed.put_back()
    assert account.owner is lock


def test_an_object_that_came_since_and_was_never_saved_is_left_alone():
    accounts = [AccountFactory()]
    passed = Passed([accounts])
    accounts.append(new := Account(owner="new", balance=3))
    passed.put_back()
    assert (new.owner, new.balance) == ("new", 3)
