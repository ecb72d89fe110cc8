"""manage.py prepare: a database to look around in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction

from shop import factories
from shop.models import Book

PASSWORD = "optilock"  # noqa: S105 -- printed below, for a server on one's own machine


class Command(BaseCommand):
    help = "Make the tables, fill the shop and add two users, alice and bob."

    def handle(self, **options: Any) -> None:
        try:
            with _all_or_no_file():
                call_command("migrate", verbosity=0, interactive=False)
                # What somebody has changed since the last time stays.
                if not Book.objects.exists():
                    _fill()
        except OperationalError as error:
            raise CommandError(
                f"The database can't be used: {error}\n"
                f"It is what DATABASE_URL says. Start its server and make the "
                f"database, or unset DATABASE_URL to use SQLite."
            ) from error
        self.stdout.write(
            f"To provoke conflicts in the browser:\n"
            f"  python example_project/manage.py runserver\n"
            f"  http://127.0.0.1:8000/        the shop, a page per story\n"
            f"  http://127.0.0.1:8000/admin/  users alice and bob, password "
            f"{PASSWORD}"
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
    users = get_user_model().objects
    for name in ("alice", "bob"):
        if not users.filter(username=name).exists():
            users.create_superuser(name, password=PASSWORD)
