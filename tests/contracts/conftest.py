from __future__ import annotations

from pathlib import Path

import pytest
from factories import LineFactory, OrderFactory, UserFactory

from contracts import packages

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    items = [item for item in items if HERE in item.path.parents]
    # Other packages may use what Django deprecates.
    ignored = ("DeprecationWarning", "PendingDeprecationWarning")
    marks = [pytest.mark.filterwarnings(f"ignore::{name}") for name in ignored]
    if reason := packages.why_skipped():
        marks.append(pytest.mark.skip(reason))
    for item in items:
        for mark in marks:
            item.add_marker(mark)


@pytest.fixture
def order():
    order = OrderFactory(number="17", note="old", amount=10)
    LineFactory(order=order, product="Pen", quantity=1)
    LineFactory(order=order, product="Ink", quantity=1)
    return order


@pytest.fixture
def ann():
    return UserFactory(username="ann")


@pytest.fixture
def bob():
    return UserFactory(username="bob")
