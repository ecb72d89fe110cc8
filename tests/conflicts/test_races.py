"""Eight threads, one row, a field each."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.db import connections
from factories import BoardFactory
from testapp.models import Board

from optilock import RecordModifiedError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

FIELDS = "abcdefgh"
ROUNDS = 25


def race(work):
    """Run ``work(field)`` in a thread for each field, all at once."""
    barrier = Barrier(len(FIELDS))
    errors = []

    def run(field):
        try:
            barrier.wait()
            work(field)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(field,)) for field in FIELDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_with_the_merge_policy_nobody_sees_a_conflict():
    pk = BoardFactory().pk

    def work(field):
        board = Board.objects.get(pk=pk)
        for number in range(ROUNDS):
            setattr(board, field, number + 1)
            board.save(on_conflict="merge")
            assert getattr(board, field) == number + 1

    race(work)
    board = Board.objects.get(pk=pk)
    assert [getattr(board, field) for field in FIELDS] == [ROUNDS] * len(FIELDS)
    assert board.version == 1 + ROUNDS * len(FIELDS)


def test_without_it_there_are_conflicts_and_nothing_is_lost():
    pk = BoardFactory().pk
    conflicts = []

    def work(field):
        board = Board.objects.get(pk=pk)
        for number in range(ROUNDS):
            while True:
                setattr(board, field, number + 1)
                try:
                    board.save()
                except RecordModifiedError as error:
                    conflicts.append(error)
                    board.refresh_from_db()
                else:
                    break

    race(work)
    board = Board.objects.get(pk=pk)
    assert conflicts
    assert [getattr(board, field) for field in FIELDS] == [ROUNDS] * len(FIELDS)
    assert board.version == 1 + ROUNDS * len(FIELDS)


def test_increments_of_one_field_overlap_and_none_is_lost():
    """The policy merges fields, never two changes of one."""
    pk = BoardFactory().pk
    saved, refused = [], []

    def work(field):
        for _ in range(ROUNDS):
            board = Board.objects.get(pk=pk)
            board.a += 1
            try:
                board.save(on_conflict="merge")
            except RecordModifiedError as error:
                refused.append(error.__cause__.fields)
            else:
                saved.append(field)

    race(work)
    board = Board.objects.get(pk=pk)
    assert board.a == len(saved)
    assert refused == [["a"]] * (ROUNDS * len(FIELDS) - len(saved))
    assert board.version == 1 + len(saved)
