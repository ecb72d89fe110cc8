"""What the example's stories are about; every row is locked by its version."""

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
