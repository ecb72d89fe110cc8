from __future__ import annotations

import pytest
from django.utils.functional import SimpleLazyObject
from testapp.models import Account

from optilock.retry.hot_rows import HotRows
from optilock.retry.locking import LostRow


def row(pk):
    return LostRow("default", Account, pk)


@pytest.mark.parametrize(
    ("lost_with", "called_with", "expected"),
    [
        (((5, 1), {}), ((5, 2), {}), True),
        (((5, 1), {}), ((6, 5), {}), False),  # 5 is something else here
        (((5, 1), {}), (("5", 2), {}), True),  # out of a URL
        (((object(), 5), {}), ((object(), 5), {}), True),
        (((), {"pk": 5}), ((), {"pk": 5, "amount": 3}), True),
        (((), {"pk": 5}), ((), {"amount": 5}), False),
        (((Account(pk=5),), {}), ((Account(pk=5),), {}), True),
        (((), {}), ((), {}), True),
        ((("invoice",), {}), (("invoice",), {}), True),
        ((("invoice",), {}), (("order",), {}), False),
        (((object(),), {}), ((object(),), {}), False),
        (((True,), {}), ((True, 5), {}), False),
    ],
)
def test_a_call_is_known_by_the_argument_that_was_the_key(
    lost_with, called_with, expected
):
    hot = HotRows()
    for _ in range(2):
        hot.add([row(5)], *lost_with)
    assert hot.expected(*called_with) == ({row(5)} if expected else set())


def test_a_call_that_loses_another_row_each_time_is_not_known():
    # All who ask for the next job would queue up for one that is done.
    hot = HotRows()
    for pk in (1, 2, 3, 4):
        hot.add([row(pk)], (), {})
        assert hot.expected((), {}) == set()
    hot.add([row(4)], (), {})
    assert hot.expected((), {}) == {row(4)}


def test_who_loses_many_rows_leaves_no_hot_ones():
    hot = HotRows()
    for _ in range(2):
        hot.add([row(pk) for pk in range(2000)], ("import",), {})
    assert hot.expected(("import",), {}) == set()
    assert not hot._rows


def test_no_argument_is_remembered_with_more_than_a_few_rows():
    hot = HotRows()
    for number in range(100):
        hot.add([LostRow(f"database {number}", Account, 5)], (5,), {})
    assert len(hot.expected((5,), {})) == HotRows.most


def test_what_has_cooled_down_is_dropped(monkeypatch):
    hot = HotRows()
    now = [100.0]
    monkeypatch.setattr("optilock.retry.hot_rows.time.monotonic", lambda: now[0])
    for pk in range(100):
        hot.add([row(pk)], (pk,), {})
    now[0] += 2 * HotRows.seconds + 1
    hot.add([row(5)], (5,), {})
    assert len(hot._rows) == 1


def test_an_object_that_is_not_loaded_yet_is_not_loaded_to_be_looked_at():
    def load():
        raise AssertionError

    hot = HotRows()
    hot.add([row(5)], (5,), {})
    assert hot.expected((SimpleLazyObject(load),), {}) == set()


def test_hot_rows_cool_down(monkeypatch):
    hot = HotRows()
    now = [100.0]
    monkeypatch.setattr("optilock.retry.hot_rows.time.monotonic", lambda: now[0])
    hot.add([row(5)], (5,), {})
    now[0] += HotRows.seconds - 1
    assert hot.expected((5,), {}) == {row(5)}
    now[0] += HotRows.seconds + 2
    assert hot.expected((5,), {}) == set()
    assert hot.expected((5,), {}) == set()


def test_one_call_finds_out_for_all_whether_a_row_is_still_hot(monkeypatch):
    """Or all who want it would lose it at the same moment, every ten seconds."""
    hot = HotRows()
    now = [100.0]
    monkeypatch.setattr("optilock.retry.hot_rows.time.monotonic", lambda: now[0])
    hot.add([row(5)], (5,), {})
    now[0] += HotRows.seconds + 1
    assert hot.expected((5,), {}) == set()
    assert hot.expected((5,), {}) == {row(5)}
    hot.add([row(5)], (5,), {})  # it has lost
    now[0] += HotRows.seconds - 1
    assert hot.expected((5,), {}) == {row(5)}
    now[0] += 2
    assert hot.expected((5,), {}) == set()
    now[0] += HotRows.doubt - 0.5
    assert hot.expected((5,), {}) == {row(5)}
    now[0] += 1  # it hasn't
    assert hot.expected((5,), {}) == set()
    assert hot.expected((5,), {}) == set()


def test_the_memory_is_bounded_and_forgets_the_oldest():
    hot = HotRows()
    for pk in range(HotRows.size + 10):
        hot.add([row(pk)], (pk,), {})
    assert len(hot._rows) == HotRows.size
    assert hot.expected((9,), {}) == set()
    assert hot.expected((10,), {}) == {row(10)}
