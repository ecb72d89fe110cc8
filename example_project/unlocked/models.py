"""The shop's tables as most projects write them: through models without a lock.

They are here for the ways that lose updates.
"""

from __future__ import annotations

from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=100)
    author = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=6, decimal_places=2)
    stock = models.IntegerField(default=0)
    # A number kept by hand. It locks nothing, as the stock story shows.
    version = models.IntegerField(default=1)

    class Meta:
        managed = False
        db_table = "shop_book"

    def __str__(self) -> str:
        return self.title


class Wallet(models.Model):
    owner = models.CharField(max_length=100)
    balance = models.IntegerField("balance in euros", default=0)

    class Meta:
        managed = False
        db_table = "shop_wallet"

    def __str__(self) -> str:
        return self.owner


class Contestant(models.Model):
    name = models.CharField(max_length=100)
    votes = models.IntegerField(default=0)

    class Meta:
        managed = False
        db_table = "shop_contestant"

    def __str__(self) -> str:
        return self.name


class Payment(models.Model):
    contestant = models.ForeignKey(Contestant, models.CASCADE, related_name="payments")
    reference = models.CharField(max_length=36, unique=True)
    verified = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "shop_payment"

    def __str__(self) -> str:
        return self.reference


class Player(models.Model):
    name = models.CharField(max_length=100)
    coins = models.IntegerField(default=0)

    class Meta:
        managed = False
        db_table = "shop_player"

    def __str__(self) -> str:
        return self.name
