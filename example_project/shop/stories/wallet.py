"""Money goes from one wallet to another if there is enough: both rows, or none.

Each way returns whether the money was sent.
"""

from __future__ import annotations

import unlocked.models as unlocked
from django.db import transaction
from django.db.models import F

from optilock import retry_on_conflict
from shop.factories import UnlockedWalletFactory, WalletFactory
from shop.models import Wallet
from shop.story import Round, Story, Way

AMOUNT = 10


def naive(source_id: int, target_id: int, amount: int) -> bool:
    """WRONG: many pass the same check, and the last to save decides."""
    source = unlocked.Wallet.objects.get(pk=source_id)
    target = unlocked.Wallet.objects.get(pk=target_id)
    if source.balance < amount:
        return False
    source.balance -= amount
    target.balance += amount
    source.save()
    target.save()
    return True


@transaction.atomic
def select_for_update(source_id: int, target_id: int, amount: int) -> bool:
    """Right: locked in order of key, so that opposite transfers can't deadlock."""
    rows = Wallet.objects.select_for_update().order_by("pk")
    wallets = {
        wallet.pk: wallet for wallet in rows.filter(pk__in=[source_id, target_id])
    }
    source, target = wallets[source_id], wallets[target_id]
    if source.balance < amount:
        return False
    source.balance -= amount
    target.balance += amount
    source.save()
    target.save()
    return True


@retry_on_conflict
def f_with_guard(source_id: int, target_id: int, amount: int) -> bool:
    """Right: one transaction, repeated should opposite transfers deadlock."""
    enough = Wallet.objects.filter(pk=source_id, balance__gte=amount)
    if not enough.update(balance=F("balance") - amount):
        return False
    Wallet.objects.filter(pk=target_id).update(balance=F("balance") + amount)
    return True


@retry_on_conflict
def lock_with_retry(source_id: int, target_id: int, amount: int) -> bool:
    """Right: if either wallet was changed, nothing is written and all is read again."""
    source = Wallet.objects.get(pk=source_id)
    target = Wallet.objects.get(pk=target_id)
    if source.balance < amount:
        return False
    source.balance -= amount
    target.balance += amount
    for wallet in sorted([source, target], key=lambda wallet: wallet.pk):
        wallet.save()  # in a fixed order: opposite transfers don't deadlock
    return True


def new_round(way: Way, workers: int) -> Round:
    """Enough money for half of the transfers."""
    factory = WalletFactory if way.right else UnlockedWalletFactory
    possible = max(1, workers // 2)
    start = possible * AMOUNT
    source, target = factory(balance=start), factory(balance=0)

    def sent() -> int:
        source.refresh_from_db()
        target.refresh_from_db()
        # Money that left and didn't arrive is lost, and so is the other way round.
        return min(start - source.balance, target.balance) // AMOUNT

    return Round(
        way.function,
        requests=[(source.pk, target.pk, AMOUNT)] * workers,
        asked=workers,
        possible=possible,
        stored=sent,
    )


STORY = Story(
    title="Wallet: transfers, if enough",
    ways=[
        Way("read, check, save both", naive, right=False),
        Way("select_for_update(), in order", select_for_update),
        Way("F() with a guard", f_with_guard),
        Way("the lock, retry_on_conflict", lock_with_retry),
    ],
    new_round=new_round,
)
