"""The pages of the stories: what they show, and what their buttons do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

from optilock import VersionedModel
from shop.models import Book, Contestant, Payment, Player, Wallet
from shop.stories import bot, stock, votes, wallet
from shop.story import Story

EUROS = 30
Rows = dict[str, VersionedModel]
#: A row, what to say of it, and its buttons: a label, and the rows it changes.
Card = tuple[VersionedModel, str, list[tuple[str, Rows]]]


@dataclass(frozen=True)
class Page:
    """A story's page.

    Attributes:
        cards: yields what the page shows.
        change: changes a button's rows in memory, and returns whether that can be done.
        models: of which models these rows are.
    """

    story: Story
    cards: Callable[[], Iterable[Card]]
    change: Callable[..., bool]
    models: dict[str, type[VersionedModel]]


def books() -> Iterator[Card]:
    for book in Book.objects.order_by("pk"):
        left = f"{book.stock} in stock" if book.stock > 0 else "sold out"
        yield book, f"{book.price} €, {left}", [("Buy", {"book": book})]


def buy(book: Book) -> bool:
    book.stock -= 1
    return book.stock >= 0


def wallets() -> Iterator[Card]:
    for source, target in permutations(Wallet.objects.order_by("pk")[:2], 2):
        rows: Rows = {"source": source, "target": target}
        yield source, f"{source.balance} €", [(f"Send {EUROS} € to {target}", rows)]


def transfer(source: Wallet, target: Wallet) -> bool:
    source.balance -= EUROS
    target.balance += EUROS
    return source.balance >= 0


def contestants() -> Iterator[Card]:
    for contestant in Contestant.objects.order_by("pk").prefetch_related("payments"):
        buttons: list[tuple[str, Rows]] = []
        for payment in contestant.payments.all():
            label = f"Report {payment.reference[:8]}{' again' * payment.verified}"
            buttons.append((label, {"payment": payment, "contestant": contestant}))
        yield contestant, f"votes: {contestant.votes}", buttons


def report(payment: Payment, contestant: Contestant) -> bool:
    if payment.verified or payment.contestant_id != contestant.pk:
        return False
    payment.verified = True
    contestant.votes += 1
    return True


def players() -> Iterator[Card]:
    for player in Player.objects.order_by("pk"):
        yield player, f"coins: {player.coins}", [("Add a coin", {"player": player})]


def press(player: Player) -> bool:
    player.coins += 1
    return True


PAGES = [
    Page(stock.STORY, books, buy, {"book": Book}),
    Page(wallet.STORY, wallets, transfer, {"source": Wallet, "target": Wallet}),
    Page(
        votes.STORY, contestants, report, {"payment": Payment, "contestant": Contestant}
    ),
    Page(bot.STORY, players, press, {"player": Player}),
]
