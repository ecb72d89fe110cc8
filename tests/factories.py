"""Rows for the tests."""

from __future__ import annotations

import factory
from factory.django import DjangoModelFactory
from testapp import models


class AccountFactory(DjangoModelFactory):
    class Meta:
        model = models.Account

    owner = factory.Faker("name")
    balance = 100


class AuthorFactory(DjangoModelFactory):
    class Meta:
        model = models.Author

    name = factory.Faker("name")


class BookFactory(DjangoModelFactory):
    class Meta:
        model = models.Book

    title = factory.Faker("sentence", nb_words=3)
    author = factory.SubFactory(AuthorFactory)
    stock = 3


class EverythingFactory(DjangoModelFactory):
    class Meta:
        model = models.Everything


class PageFactory(DjangoModelFactory):
    class Meta:
        model = models.Page


class BoardFactory(DjangoModelFactory):
    class Meta:
        model = models.Board
