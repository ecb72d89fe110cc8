from __future__ import annotations

from pathlib import Path

import pytest
from factories import LineFactory

from contracts import packages

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    items = [item for item in items if HERE in item.path.parents]
    # Other packages may use what Django deprecates.
    ignored = ("DeprecationWarning", "PendingDeprecationWarning")
    marks = [pytest.mark.filterwarnings(f"ignore::{name}") for name in ignored]
    if reason := packages.why_skipped():
        marks.append(pytest.mark.skip(reason))
    own = packages.CHOSEN.own if packages.CHOSEN else ()
    for item in items:
        for mark in marks:
            item.add_marker(mark)
        if own and item.path.stem not in own:
            item.add_marker(pytest.mark.skip(f"{packages.NAME} isn't for the admin"))


@pytest.fixture
def order(order):
    LineFactory(order=order, product="Pen", quantity=1)
    LineFactory(order=order, product="Ink", quantity=1)
    return order
