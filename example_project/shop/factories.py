"""Rows for the demo, the tests and the pages: factory_boy's factories."""

from __future__ import annotations

import factory
import unlocked.models
from factory.django import DjangoModelFactory

from shop import models

NOTES = [
    "",
    "Leave it with the neighbours.",
    "Not before the 24th.",
    "Call at the gate.",
]
COMMENTS = ["", "", "signed, please", "hardback if there is one", "a second-hand one"]


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


class OrderFactory(DjangoModelFactory):
    class Meta:
        model = models.Order

    number = factory.Sequence(lambda n: str(1001 + n))
    customer = factory.Faker("name")
    gift = factory.Faker("boolean", chance_of_getting_true=25)
    amount = factory.Faker("pydecimal", min_value=10, max_value=90, right_digits=2)
    note = factory.Faker("random_element", elements=NOTES)


class LineFactory(DjangoModelFactory):
    class Meta:
        model = models.Line

    order = factory.SubFactory(OrderFactory)
    book = factory.SubFactory(BookFactory)
    quantity = factory.Faker("random_int", min=1, max=3)
    comment = factory.Faker("random_element", elements=COMMENTS)


class ArticleFactory(DjangoModelFactory):
    class Meta:
        model = models.Article

    title = factory.Sequence(lambda n: f"Article {n}")
    slug = factory.Sequence(lambda n: f"article-{n}")
    text = factory.Faker("text", max_nb_chars=1000)


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
