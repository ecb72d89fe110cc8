"""The stories, in the order in which they are told."""

from __future__ import annotations

from shop.stories import bot, stock, votes, wallet

STORIES = [stock.STORY, wallet.STORY, votes.STORY, bot.STORY]
