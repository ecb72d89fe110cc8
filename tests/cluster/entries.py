"""Writers who know what became of each entry they have written, or that nobody does."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress

from django.db import Error, connection, connections, transaction
from django.db.models import Value
from django.db.models.functions import Concat
from testapp.models import Ledger
from threads import going_on

from cluster.aliases import race
from optilock import retry_on_conflict
from optilock.retry.errors import is_conflict


class Undo(Exception):  # noqa: N818 -- nothing went wrong
    pass


def add(pk, entry):
    ledger = Ledger.objects.get(pk=pk)
    ledger.entries += f"{entry} "
    return ledger


def plain(pk, entry):
    ledger = add(pk, entry)
    yield ledger
    ledger.save()


def block(pk, entry):
    ledger = add(pk, entry)
    yield ledger
    with transaction.atomic():
        ledger.save(update_fields=["entries"])
        with suppress(Undo), transaction.atomic():
            ledger.save()
            raise Undo
        ledger.save()


def bulk(pk, entry):
    ledger = add(pk, entry)
    yield ledger
    Ledger.objects.bulk_update([ledger], ["entries"])


def rolled_back_and_repeated(pk, entry):
    ledger = add(pk, entry)
    yield ledger
    with transaction.atomic():
        ledger.save()
        transaction.set_rollback(True)
    ledger.save()


def expression(pk, entry):
    yield None
    added = Concat("entries", Value(f"{entry} "))
    Ledger.objects.filter(pk=pk).update(entries=added)


@retry_on_conflict
def retry(pk, entry):
    add(pk, entry).save()


def retried(pk, entry):
    yield None
    retry(pk, entry)


WAYS = [plain, block, bulk, expression, rolled_back_and_repeated, retried]


class Entries:
    """What the writers have heard, and whether it is so.

    An error that doesn't say that it may have been done is taken at its word: it
    wasn't.
    """

    def __init__(self, pk):
        self.pk = pk
        # Threads append to lists: adding to a Counter would be a race.
        self.reported, self.refused, self.unknown = [], [], []
        self.conflicts, self.lost, self.raised = [], [], []
        self.is_over = False

    def write(self, entry, dice):
        """Write one entry in any way, and note what is heard of it."""
        ledger, version = None, None
        try:
            way = dice.choice(WAYS)(self.pk, entry)
            ledger = next(way)
            version = ledger and ledger.version
            next(way, None)
        except Error as error:
            known = not getattr(error, "may_be_committed", False)
            (self.refused if known else self.unknown).append(entry)
            if ledger and ledger.version != version:
                self.raised.append(entry)  # the error came after the COMMIT
            if is_conflict(error):
                self.conflicts.append(error)
            else:
                self.lost.append(error)
                with suppress(Error):
                    connection.close()
                time.sleep(0.02)
        else:
            self.reported.append(entry)

    def work(self, number):
        """Write until it is over."""
        dice, count = random.Random(number), 0
        while not self.is_over:
            count += 1
            self.write(f"{number}-{count}", dice)

    def race(self, writers, meanwhile, work=None):
        """Let threads write while something happens."""

        def happen():
            try:
                meanwhile()
                for _ in going_on(0, self._are_enough):
                    time.sleep(0.1)
            finally:
                self.is_over = True

        race(writers, work or self.work, happen)

    def _are_enough(self):
        return self.conflicts and len(self.reported) > 20

    def audit(self, using="default"):
        """Compare with what is there."""
        connections.close_all()  # which may be lost, too
        text = Ledger.objects.using(using).get(pk=self.pk).entries
        stored = Counter(text.split())
        assert set(self.reported) - set(stored) == set()  # lost
        assert set(self.refused) & set(stored) == set()  # twice, if it is tried again
        assert set(stored) <= {*self.reported, *self.unknown}
        assert set(stored.values()) == {1}
        # No instance holds a number that the database never kept.
        assert set(self.raised) <= set(stored) & set(self.unknown)
        assert self._are_enough()
