"""What the example sells, counts and writes; every row is locked by its version."""

from __future__ import annotations

from django.db import models

from optilock import VersionedModel


class Book(VersionedModel):
    title = models.CharField(max_length=100)
    author = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=6, decimal_places=2)
    stock = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.title


class Wallet(VersionedModel):
    owner = models.CharField(max_length=100)
    balance = models.IntegerField("balance in euros", default=0)

    def __str__(self) -> str:
        return self.owner


class Contestant(VersionedModel):
    name = models.CharField(max_length=100)
    votes = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Payment(VersionedModel):
    """One paid vote. The payment service reports it once, or several times."""

    contestant = models.ForeignKey(Contestant, models.CASCADE, related_name="payments")
    reference = models.CharField(max_length=36, unique=True)
    verified = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.reference


class Player(VersionedModel):
    """Somebody who plays with a chat bot."""

    name = models.CharField(max_length=100)
    coins = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Order(VersionedModel):
    class Status(models.TextChoices):
        NEW = "new", "New"
        PAID = "paid", "Paid"
        SHIPPED = "shipped", "Shipped"
        CANCELLED = "cancelled", "Cancelled"

    class Currency(models.TextChoices):
        EUR = "EUR", "Euro"
        USD = "USD", "US dollar"

    # 30 of mine and dollars of theirs is a price that nobody meant.
    merge_together = [("amount", "currency")]

    number = models.CharField(max_length=20, unique=True)
    customer = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW)
    gift = models.BooleanField(default=False)
    amount = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    currency = models.CharField(max_length=3, choices=Currency, default=Currency.EUR)
    note = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.number


class Line(VersionedModel):
    """One line of an order, with a version of its own."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    book = models.ForeignKey(Book, models.PROTECT, related_name="lines")
    quantity = models.PositiveIntegerField(default=1)
    comment = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return str(self.book)


class Article(VersionedModel):
    """A long text, on which several people work."""

    # Whoever saves a stale article in a program keeps what others wrote elsewhere.
    on_conflict = "merge"

    title = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    published = models.BooleanField(default=False)
    text = models.TextField()

    def __str__(self) -> str:
        return self.title
