"""Rows for the tests."""

from __future__ import annotations

import factory
from django.contrib.auth.models import Permission, User
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


class UserFactory(DjangoModelFactory):
    """Somebody who may do everything in the admin."""

    class Meta:
        model = User

    username = factory.Sequence(lambda n: f"user{n}")
    is_staff = True
    is_superuser = True


class StaffFactory(UserFactory):
    """Somebody who may do only what is said: ``permissions=["view_order"]``."""

    class Meta:
        skip_postgeneration_save = True

    is_superuser = False

    @factory.post_generation
    def permissions(self, create, codenames, **kwargs):
        permissions = Permission.objects.filter(codename__in=codenames or ())
        self.user_permissions.set(permissions)


class CustomerFactory(DjangoModelFactory):
    class Meta:
        model = models.Customer

    name = factory.Faker("company")


class OrderFactory(DjangoModelFactory):
    class Meta:
        model = models.Order

    number = factory.Sequence(lambda n: f"No. {n}")


class LineFactory(DjangoModelFactory):
    class Meta:
        model = models.Line

    order = factory.SubFactory(OrderFactory)
    product = factory.Faker("word")


class MemoFactory(DjangoModelFactory):
    class Meta:
        model = models.Memo

    subject = factory.Faker("sentence")
