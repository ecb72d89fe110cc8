"""Many buyers want the last copies of a book, at the same moment.

Each way returns whether the buyer gets a copy.
"""

from __future__ import annotations

import unlocked.models as unlocked
from django.db import transaction
from django.db.models import F

from optilock import retry_on_conflict
from shop.factories import BookFactory, UnlockedBookFactory
from shop.models import Book
from shop.story import Round, Story, Way


def naive(book_id: int) -> bool:
    """WRONG: whoever saves last overwrites the others' sales."""
    book = unlocked.Book.objects.get(pk=book_id)
    if book.stock < 1:
        return False
    book.stock -= 1
    book.save()
    return True


def compare_in_python(book_id: int) -> bool:
    """WRONG: the row can change between the comparison and the save."""
    book = unlocked.Book.objects.get(pk=book_id)
    if book.stock < 1:
        return False
    if unlocked.Book.objects.get(pk=book_id).version != book.version:
        return compare_in_python(book_id)
    book.stock -= 1
    book.version += 1
    book.save()
    return True


@transaction.atomic
def select_for_update(book_id: int) -> bool:
    """Right: nobody else reads the row to change it until this is committed."""
    book = Book.objects.select_for_update().get(pk=book_id)
    if book.stock < 1:
        return False
    book.stock -= 1
    book.save()
    return True


def f_with_guard(book_id: int) -> bool:
    """Right: condition and subtraction are one statement in the database."""
    copies = Book.objects.filter(pk=book_id, stock__gte=1)
    return copies.update(stock=F("stock") - 1) == 1


def lock_alone(book_id: int) -> bool:
    """Right: whoever was slower gets RecordModifiedError, and has to ask again."""
    book = Book.objects.get(pk=book_id)
    if book.stock < 1:
        return False
    book.stock -= 1
    book.save()
    return True


@retry_on_conflict
def lock_with_retry(book_id: int) -> bool:
    """Right: whoever was slower reads again, and buys if there is a copy left."""
    book = Book.objects.get(pk=book_id)
    if book.stock < 1:
        return False
    book.stock -= 1
    book.save()
    return True


def new_round(way: Way, workers: int) -> Round:
    """Half as many copies as there are buyers."""
    copies = max(1, workers // 2)
    factory = BookFactory if way.right else UnlockedBookFactory
    book = factory(stock=copies)

    def sold() -> int:
        book.refresh_from_db()
        return copies - book.stock

    return Round(
        way.function,
        requests=[(book.pk,)] * workers,
        asked=workers,
        possible=copies,
        stored=sold,
    )


STORY = Story(
    title="Stock: many buyers, few copies",
    ways=[
        Way("read, subtract, save", naive, right=False),
        Way("compare versions, then save", compare_in_python, right=False),
        Way("select_for_update()", select_for_update),
        Way("F() with a guard", f_with_guard),
        Way("the lock: the loser is told", lock_alone),
        Way("the lock, retry_on_conflict", lock_with_retry),
    ],
    new_round=new_round,
)
