"""manage.py prepare: a database to look around in."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, transaction

from shop import factories
from shop.hints import command
from shop.models import Article, Book, Order

PASSWORD = "optilock"  # noqa: S105 -- printed below, for a server on one's own machine
CUSTOMERS = ["Ana Silva", "Chen Wei", "Omar Haddad", "Vera Sokolova"]
NOTES = ["", "Leave it with the neighbours.", "Not before the 24th."]
TEXTS = Path(__file__).parent.parent.parent / "texts"


class Command(BaseCommand):
    help = "Make the tables, fill the shop and add two users, alice and bob."

    def handle(self, **options: Any) -> None:
        try:
            call_command("migrate", verbosity=0, interactive=False)
            _fill()
        except OperationalError as error:
            raise CommandError(
                f"The database can't be used: {error}\n"
                f"It is what DATABASE_URL says. Start its server and make the "
                f"database, or unset DATABASE_URL to use SQLite."
            ) from error
        login = f"users alice and bob, password {PASSWORD}"
        if not settings.DEBUG:
            login = "with users of your own: DEBUG is off"
        same = " (with the same DATABASE_URL)" * ("DATABASE_URL" in os.environ)
        self.stdout.write(
            f"To provoke conflicts in the browser{same}:\n"
            f"  {command('runserver')}\n"
            f"  http://127.0.0.1:8000/        the shop, a page per story\n"
            f"  http://127.0.0.1:8000/admin/  {login}"
        )


@transaction.atomic
def _fill() -> None:
    """Add what isn't there. What somebody has changed since the last time stays."""
    for model, add in (Book, _stories), (Order, _orders), (Article, _articles):
        if not model.objects.exists():
            add()
    if settings.DEBUG:  # everybody knows their password
        _users()


def _stories() -> None:
    for title, author, price, stock in [
        ("The Left Hand of Darkness", "Ursula K. Le Guin", "12.90", 3),
        ("Invisible Cities", "Italo Calvino", "11.50", 1),
        ("The Master and Margarita", "Mikhail Bulgakov", "14.00", 5),
        ("Middlemarch", "George Eliot", "9.80", 12),
    ]:
        factories.BookFactory(title=title, author=author, price=price, stock=stock)
    for owner in ("Alice", "Bob"):
        factories.WalletFactory(owner=owner, balance=100)
    for name in ("The Night Trams", "Paper Lanterns"):
        contestant = factories.ContestantFactory(name=name)
        factories.PaymentFactory.create_batch(3, contestant=contestant)
    factories.PlayerFactory(name="Robin", coins=20)


def _orders() -> None:
    books = list(Book.objects.all())
    new, paid, shipped, _ = Order.Status
    for number, status in enumerate(4 * [shipped] + 4 * [paid] + 4 * [new], 1001):
        order = Order.objects.create(
            number=str(number),
            customer=random.choice(CUSTOMERS),
            status=status,
            gift=random.random() < 0.25,
            note=random.choice(NOTES),
        )
        for book in random.sample(books, min(len(books), random.randint(2, 4))):
            line = order.lines.create(book=book, quantity=random.randint(1, 3))
            order.amount += line.quantity * book.price
        order.save()


def _articles() -> None:
    for file in sorted(TEXTS.glob("*.txt")):
        title, text = file.read_text(encoding="utf-8").strip().split("\n\n", 1)
        Article.objects.create(title=title, slug=file.stem, published=True, text=text)


def _users() -> None:
    """Add two people who may edit everything in the shop, and see who collides."""
    apps = ["shop", "optilock_log"]
    may = Permission.objects.filter(content_type__app_label__in=apps)
    for name in ("alice", "bob"):
        if not User.objects.filter(username=name).exists():
            user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
            user.user_permissions.set(may)
