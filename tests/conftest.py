"""The people and rows that the tests of several rooms know."""

from __future__ import annotations

import pytest
from django.db import connections
from django.utils import translation
from factories import AccountFactory, OrderFactory, UserFactory


@pytest.fixture
def ann():
    """Somebody who may do everything in the admin."""
    return UserFactory(username="ann")


@pytest.fixture
def bob():
    """Somebody else who may, and is usually faster."""
    return UserFactory(username="bob")


@pytest.fixture
def order():
    return OrderFactory(number="17", note="old", amount=10)


@pytest.fixture
def account():
    return AccountFactory(owner="first")


@pytest.fixture
def english():
    """What a request has activated stays so for the next test."""
    with translation.override("en"):
        yield


@pytest.fixture(params=[False, True], ids=["autocommit", "atomic_requests"])
def atomic_requests(request, monkeypatch):
    """Run a test without ``ATOMIC_REQUESTS`` and with it; tell which."""
    settings = connections.settings["default"]
    monkeypatch.setitem(settings, "ATOMIC_REQUESTS", request.param)
    return request.param
