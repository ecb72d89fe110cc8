"""manage.py prepare: a database to look around in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction

from shop import factories
from shop.models import Article, Book, Order

PASSWORD = "optilock"  # noqa: S105 -- printed below, for a server on one's own machine
TEXTS = Path(__file__).parent.parent.parent / "texts"


class Command(BaseCommand):
    help = "Make the tables, fill the shop and add two users, alice and bob."

    def handle(self, **options: Any) -> None:
        try:
            with _all_or_no_file():
                call_command("migrate", verbosity=0, interactive=False)
                _fill()
        except OperationalError as error:
            raise CommandError(
                f"The database can't be used: {error}\n"
                f"It is what DATABASE_URL says. Start its server and make the "
                f"database, or unset DATABASE_URL to use SQLite."
            ) from error
        login = f"users alice and bob, password {PASSWORD}"
        self.stdout.write(
            f"To provoke conflicts in the browser:\n"
            f"  python example_project/manage.py runserver\n"
            f"  http://127.0.0.1:8000/        the shop, a page per story\n"
            f"  http://127.0.0.1:8000/admin/  "
            f"{login if settings.DEBUG else 'with users of your own: DEBUG is off'}"
        )


@contextmanager
def _all_or_no_file() -> Iterator[None]:
    """Remove SQLite's file if it is new and Ctrl-C leaves it unfinished."""
    file = Path(connection.settings_dict["NAME"])
    is_new = connection.vendor == "sqlite" and not file.exists()
    try:
        yield
    except KeyboardInterrupt:
        if is_new:
            connection.close()
            file.unlink(missing_ok=True)
        raise


@transaction.atomic
def _fill() -> None:
    """Add what isn't there. What somebody has changed since the last time stays."""
    if not Book.objects.exists():
        _fill_stories()
    if not Order.objects.exists():
        _fill_orders()
    if not Article.objects.exists():
        _fill_articles()
    if settings.DEBUG:  # everybody knows their password
        _add_users()


def _fill_stories() -> None:
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


def _fill_orders() -> None:
    books = list(Book.objects.all())
    new, paid, shipped, _ = Order.Status
    for number, status in enumerate(4 * [shipped] + 4 * [paid] + 4 * [new], 1001):
        order = factories.OrderFactory(number=str(number), status=status)
        lines = [
            factories.LineFactory(order=order, book=book)
            for book in random.sample(books, min(len(books), random.randint(2, 4)))
        ]
        order.amount = sum(line.quantity * line.book.price for line in lines)
        order.save()


def _fill_articles() -> None:
    for file in sorted(TEXTS.glob("*.txt")):
        title, text = file.read_text(encoding="utf-8").strip().split("\n\n", 1)
        factories.ArticleFactory(title=title, slug=file.stem, published=True, text=text)


def _add_users() -> None:
    """Add two people who may edit everything in the shop, and nothing else."""
    may = Permission.objects.filter(content_type__app_label="shop")
    for name in ("alice", "bob"):
        if not User.objects.filter(username=name).exists():
            user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
            user.user_permissions.set(may)
