"""A chat bot's button is pressed many times at once, in async handlers.

Each way is an async handler that pays a player one coin and returns True.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import unlocked.models as unlocked
from asgiref.sync import async_to_sync, sync_to_async
from django.db.models import F

from optilock import RecordModifiedError, retry_on_conflict
from shop.factories import PlayerFactory, UnlockedPlayerFactory
from shop.models import Player
from shop.story import Round, Story, Way

#: How many presses each bot process handles at once.
PRESSES = 3


async def naive(player_id: int) -> bool:
    """WRONG: between the two awaits, the other handlers read the same balance."""
    player = await unlocked.Player.objects.aget(pk=player_id)
    player.coins += 1
    await player.asave()
    return True


async def f_expression(player_id: int) -> bool:
    """Right: the addition happens in the database."""
    await Player.objects.filter(pk=player_id).aupdate(coins=F("coins") + 1)
    return True


@retry_on_conflict(atomic=False)
async def lock_with_async_retry(player_id: int) -> bool:
    """Right: async all the way, for a handler that writes a single row."""
    player = await Player.objects.aget(pk=player_id)
    player.coins += 1
    await player.asave()
    return True


async def lock_with_retry(player_id: int) -> bool:
    """Right: Django's transactions aren't async, so the whole attempt is sync."""

    @sync_to_async
    @retry_on_conflict
    def pay() -> None:
        player = Player.objects.get(pk=player_id)
        player.coins += 1
        player.save()

    await pay()
    return True


def bot_process(handler: Callable[[int], Awaitable[bool]], player_id: int) -> int:
    """An event loop in which several presses arrive at once.

    Returns:
        How many handlers confirmed.
    """

    async def press() -> bool:
        try:
            return await handler(player_id)
        except RecordModifiedError:
            return False  # gave up, and said so

    async def presses() -> list[bool]:
        return await asyncio.gather(*(press() for _ in range(PRESSES)))

    return sum(async_to_sync(presses)())


def new_round(way: Way, workers: int) -> Round:
    """As many bot processes as workers."""
    player = PlayerFactory() if way.right else UnlockedPlayerFactory()

    def paid() -> int:
        player.refresh_from_db()
        return player.coins

    return Round(
        bot_process,
        requests=[(way.function, player.pk)] * workers,
        asked=workers * PRESSES,
        possible=workers * PRESSES,
        stored=paid,
    )


STORY = Story(
    title="Bot: coins, by async handlers",
    ways=[
        Way("aget(), add, asave()", naive, right=False),
        Way("F() in aupdate()", f_expression),
        Way("the lock, retry atomic=False", lock_with_async_retry),
        Way("the lock, sync_to_async(retry)", lock_with_retry),
    ],
    new_round=new_round,
)
