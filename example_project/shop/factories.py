"""Rows for the demo, the tests and the pages: factory_boy's factories."""

from __future__ import annotations

import factory
import unlocked.models
from factory.django import DjangoModelFactory

from shop import models


class BookFactory(DjangoModelFactory):
    class Meta:
        model = models.Book

    title = factory.Faker("sentence", nb_words=3)
    author = factory.Faker("name")
    price = factory.Faker("pydecimal", min_value=5, max_value=60, right_digits=2)
    stock = 3


class WalletFactory(DjangoModelFactory):
    class Meta:
        model = models.Wallet

    owner = factory.Faker("name")
    balance = 100


class ContestantFactory(DjangoModelFactory):
    class Meta:
        model = models.Contestant

    name = factory.Faker("name")


class PaymentFactory(DjangoModelFactory):
    class Meta:
        model = models.Payment

    contestant = factory.SubFactory(ContestantFactory)
    reference = factory.Faker("uuid4")


class PlayerFactory(DjangoModelFactory):
    class Meta:
        model = models.Player

    name = factory.Faker("first_name")


class UnlockedBookFactory(BookFactory):
    class Meta:
        model = unlocked.models.Book


class UnlockedWalletFactory(WalletFactory):
    class Meta:
        model = unlocked.models.Wallet


class UnlockedContestantFactory(ContestantFactory):
    class Meta:
        model = unlocked.models.Contestant


class UnlockedPaymentFactory(PaymentFactory):
    class Meta:
        model = unlocked.models.Payment

    contestant = factory.SubFactory(UnlockedContestantFactory)


class UnlockedPlayerFactory(PlayerFactory):
    class Meta:
        model = unlocked.models.Player
