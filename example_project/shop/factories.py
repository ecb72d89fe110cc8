"""Rows for the demo, the tests and the pages: factory_boy's factories."""

from __future__ import annotations

from typing import Any

import unlocked.models as unlocked
from factory import Faker, SubFactory, make_factory
from factory.django import DjangoModelFactory

from shop import models


def both(name: str, /, **fields: Any) -> list[Any]:
    """Return a factory of the model with the lock, and one of that without."""
    return [
        make_factory(getattr(module, name), FACTORY_CLASS=DjangoModelFactory, **fields)
        for module in (models, unlocked)
    ]


BookFactory, UnlockedBookFactory = both(
    "Book",
    title=Faker("sentence", nb_words=3),
    author=Faker("name"),
    price=Faker("pydecimal", min_value=5, max_value=60, right_digits=2),
    stock=3,
)
WalletFactory, UnlockedWalletFactory = both("Wallet", owner=Faker("name"), balance=100)
PlayerFactory, UnlockedPlayerFactory = both("Player", name=Faker("first_name"))
ContestantFactory, UnlockedContestantFactory = both("Contestant", name=Faker("name"))
PaymentFactory, _ = both(
    "Payment", reference=Faker("uuid4"), contestant=SubFactory(ContestantFactory)
)
_, UnlockedPaymentFactory = both(
    "Payment",
    reference=Faker("uuid4"),
    contestant=SubFactory(UnlockedContestantFactory),
)
