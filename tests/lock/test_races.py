"""Threads race for a few rows: every increment that reported success is there.

OPTILOCK_TEST_WITHOUT_ROLLBACK=1 switches off, for this module, what puts the
numbers back after a rollback. The race must then lose increments: that is how
to see that it is worth anything.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress
from threading import Barrier, Thread

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import F, Value
from testapp.models import (
    Account,
    Author,
    Book,
    GuardedPage,
    Label,
    Remark,
    Remarked,
    Restaurant,
)
from threads import SomebodyElse

from optilock import RecordModifiedError, rollback

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

SECONDS = 3
THREADS = 8


class RollBackError(Exception):
    pass


def undo():
    raise RollBackError


# A writer raises the counter of the instance it is given by one and returns how
# many increments were committed. It may raise a conflict: then nothing was.


def plain_save(instance, counter):
    add(instance, counter)
    instance.save()
    return 1


def update_fields(instance, counter):
    add(instance, counter)
    instance.save(update_fields=[counter])
    return 1


def in_a_transaction(instance, counter):
    with transaction.atomic():
        add(instance, counter)
        instance.save()
    return 1


def twice_in_a_transaction(instance, counter):
    with transaction.atomic():
        add(instance, counter)
        instance.save()
        with transaction.atomic():
            add(instance, counter)
            instance.save(update_fields=[counter])
    return 2


def rolled_back_and_repeated(instance, counter):
    add(instance, counter)
    try:
        with transaction.atomic():
            instance.save()
            undo()
    except RollBackError:
        pass
    time.sleep(random.random() / 500)  # somebody else takes the number
    instance.save()
    return 1


def savepoint_rolled_back_and_repeated(instance, counter):
    add(instance, counter)
    with transaction.atomic():
        try:
            with transaction.atomic():
                instance.save()
                undo()
        except RollBackError:
            pass
    time.sleep(random.random() / 500)
    instance.save()
    return 1


def set_rollback_and_repeated(instance, counter):
    add(instance, counter)
    with transaction.atomic():
        instance.save()
        transaction.set_rollback(True)
    time.sleep(random.random() / 500)
    with transaction.atomic():
        instance.save()
    return 1


def update(instance, counter):
    return rows_of(instance).filter(pk=instance.pk).update(**{counter: F(counter) + 1})


def update_or_create(instance, counter):
    rows_of(instance).update_or_create(
        pk=instance.pk, defaults={counter: F(counter) + 1}
    )
    return 1


def bulk_update(instance, counter):
    add(instance, counter)
    return rows_of(instance).bulk_update([instance], [counter])


def bulk_update_in_djangos_way(instance, counter):
    add(instance, counter)
    setattr(instance, counter, Value(getattr(instance, counter)))
    return rows_of(instance).bulk_update([instance], [counter])


def bulk_update_rolled_back_and_repeated(instance, counter):
    add(instance, counter)
    with transaction.atomic():
        rows_of(instance).bulk_update([instance], [counter])
        transaction.set_rollback(True)
    time.sleep(random.random() / 500)
    return rows_of(instance).bulk_update([instance], [counter])


def raw_sql(instance, counter):
    quote = connection.ops.quote_name
    table, column = quote(instance._meta.db_table), quote(counter)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = {column} + 1 WHERE id = %s", [instance.pk]
        )
        return cursor.rowcount


def rows_of(instance):
    return type(instance).objects.all()


def add(instance, counter):
    setattr(instance, counter, getattr(instance, counter) + 1)


WRITERS = [
    plain_save,
    update_fields,
    in_a_transaction,
    twice_in_a_transaction,
    rolled_back_and_repeated,
    savepoint_rolled_back_and_repeated,
    set_rollback_and_repeated,
    update,
    update_or_create,
    bulk_update,
    bulk_update_in_djangos_way,
    bulk_update_rolled_back_and_repeated,
]


def race(rows, writers):
    """Let threads write; return reported increments by row, and conflicts.

    On a slow machine they go on until each row has seen some increments.
    """
    # Threads append to lists: adding to a common Counter would be a race of ours.
    reported, conflicts, unexpected = [], [], []
    begin = time.monotonic()

    def is_over():
        elapsed = time.monotonic() - begin
        seen = Counter(row for row, _ in reported)
        enough = conflicts and all(seen[model, key] > 20 for model, key, _ in rows)
        return unexpected or elapsed > (SECONDS if enough else 20 * SECONDS)

    def work(seed):
        dice = random.Random(seed)
        try:
            while not is_over():
                model, key, counter = dice.choice(rows)
                writer = dice.choice(writers)
                try:
                    written = writer(model.objects.get(pk=key), counter)
                    reported.append(((model, key), written))
                except RecordModifiedError:
                    conflicts.append(writer.__name__)
                except OperationalError as error:
                    if not gave_way(error):
                        raise
        except Exception as error:
            unexpected.append(error)
        finally:
            connections.close_all()

    run_all(Thread(target=work, args=[seed]) for seed in range(THREADS))
    assert unexpected == []
    total = Counter()
    for row, written in reported:
        total[row] += written
    return total, conflicts


def run_all(threads):
    threads = [*threads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def gave_way(error):
    """Whether the database chose this transaction to end a deadlock."""
    if connection.vendor == "postgresql":
        return getattr(error.__cause__, "sqlstate", None) == "40P01"
    return connection.vendor == "mysql" and error.args[0] in (1020, 1205, 1213)


def test_every_increment_that_reported_success_is_in_the_row(monkeypatch):
    if os.environ.get("OPTILOCK_TEST_WITHOUT_ROLLBACK"):
        monkeypatch.setattr(rollback, "remember", lambda *args: None)
    account, restaurant = Account.objects.create(), Restaurant.objects.create()
    rows = [(Account, account.pk, "balance"), (Restaurant, restaurant.pk, "stars")]

    reported, conflicts = race(rows, WRITERS)

    in_the_rows = {
        (Account, account.pk): Account.objects.get().balance,
        (Restaurant, restaurant.pk): Restaurant.objects.get().stars,
    }
    lost = sum(reported.values()) - sum(in_the_rows.values())
    assert in_the_rows == dict(reported), (
        f"{lost} of {sum(reported.values())} reported increments are lost"
    )
    # A race nobody lost, or with a writer that never won, has shown nothing.
    assert min(reported.values()) > 10
    assert conflicts


def test_the_trigger_lets_nothing_be_lost_to_raw_sql():
    page = GuardedPage.objects.create()

    reported, conflicts = race([(GuardedPage, page.pk, "number")], [*WRITERS, raw_sql])

    page.refresh_from_db()
    assert page.number == reported[GuardedPage, page.pk] > 10
    assert conflicts


# What becomes of an author, and of the books that would go along, is one of these.


def deleting(author):
    author.delete()
    return "deleted"


def deleting_in_a_block(author):
    with transaction.atomic():
        try:
            author.delete()
        except RecordModifiedError:
            Label.objects.create(name="The block goes on.")
            return "refused"
    return "deleted"


def changing(author):
    author.name = "changed"
    author.save()
    return "changed"


def changing_and_going_back(author):
    with suppress(RollBackError), transaction.atomic():
        changing(author)
        undo()
    return "refused"


def outcomes_of(ways, key):
    """Let each way have its try at the same author, all at once."""
    start, outcomes, unexpected = Barrier(len(ways)), [], []

    def work(way):
        try:
            author = Author.objects.get(pk=key)
            start.wait()
            try:
                outcomes.append(way(author))
            except RecordModifiedError:
                outcomes.append("refused")
        except OperationalError as error:
            if not gave_way(error):
                unexpected.append(error)
        except Exception as error:
            unexpected.append(error)
        finally:
            connections.close_all()

    run_all(Thread(target=work, args=[way]) for way in ways)
    assert unexpected == []
    return [outcome for outcome in outcomes if outcome != "refused"]


def test_a_row_is_changed_or_goes_with_all_that_goes_along():
    ways = [deleting, deleting_in_a_block, changing, changing_and_going_back]
    seen = Counter()
    for number in range(60):
        author = Author.objects.create()
        books = [Book.objects.create(author=author) for _ in range(number % 3)]

        [outcome] = outcomes_of(ways, author.pk)

        names = [*Author.objects.filter(pk=author.pk).values_list("name", flat=True)]
        left = Book.objects.filter(author_id=author.pk).count()
        expected = {"changed": (["changed"], len(books)), "deleted": ([], 0)}
        assert (names, left) == expected[outcome]
        seen[outcome] += 1
    assert min(seen["changed"], seen["deleted"]) > 0


def test_delete_waits_for_whoever_is_changing_the_row():
    author = Author.objects.create()
    Book.objects.create(author=author)
    stale = Author.objects.get()
    somebody_else = SomebodyElse(stale.delete)
    with transaction.atomic():
        author.save()
        somebody_else.start()
        time.sleep(0.3)
    with pytest.raises(RecordModifiedError):
        somebody_else.join()
    assert Author.objects.get().version == 2
    assert Book.objects.exists()


def move_away(author):
    book = Book.objects.get()
    book.author = Author.objects.create(name="other")
    book.save()


def add_book(author):
    Book.objects.create(author=author)


def remark(about):
    Remark.objects.create(about=about)


@pytest.mark.parametrize(
    ("create", "change", "left"),
    [
        (Author.objects.create, move_away, {"other": 1}),
        (Author.objects.create, add_book, {}),
        (Remarked.objects.create, remark, {}),
    ],
)
def test_delete_finds_what_goes_along_as_whoever_held_the_row_left_it(
    create, change, left
):
    row = create()
    (add_book if isinstance(row, Author) else remark)(row)
    somebody_else = SomebodyElse(row.delete)
    with transaction.atomic():
        list(type(row).objects.select_for_update())
        somebody_else.start()
        time.sleep(0.3)
        change(row)
    somebody_else.join()
    assert not type(row).objects.filter(pk=row.pk).exists()
    assert Counter(Book.objects.values_list("author__name", flat=True)) == left
    assert not Remark.objects.exists()
