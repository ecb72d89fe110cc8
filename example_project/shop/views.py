"""A page per story, on which two browser tabs can get in each other's way.

Each action comes with two buttons. The plain one saves with the version that
the page was made from, so that whoever looked at an old page gets a conflict.
The other one uses the story's way with ``retry_on_conflict``.
"""

from __future__ import annotations

from itertools import permutations

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from optilock import RecordModifiedError
from shop.forms import BuyForm, PressForm, ReportForm, TransferForm
from shop.models import Book, Contestant, Payment, Player, Wallet
from shop.stories import STORIES, bot, stock, votes, wallet

EUROS = 30


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/index.html", {"stories": STORIES})


@require_GET
def stock_page(request: HttpRequest) -> HttpResponse:
    books = [(book, BuyForm.shown(book)) for book in Book.objects.order_by("pk")]
    return render(request, "shop/stock.html", {"story": stock.STORY, "books": books})


@require_POST
def buy(request: HttpRequest) -> HttpResponse:
    form = BuyForm(request.POST)
    if not form.is_valid():
        return _refuse(request, form)
    book = get_object_or_404(Book, pk=form.cleaned_data["book"])
    if "retry" in request.POST:
        bought = stock.lock_with_retry(book.pk)
    else:
        bought = book.stock > 0
        # Not the row's version but the page's: this is what the save will check.
        book.version = form.cleaned_data["version"]
        book.stock -= 1
        try:
            if bought:
                book.save()
        except RecordModifiedError:
            book.refresh_from_db()
            return _conflict(
                request,
                f"Your copy of “{book}” has not been bought: somebody bought one, or "
                f"changed the book, after you had opened the page.",
                [("Copies in stock", form.cleaned_data["seen"], book.stock)],
                BuyForm.shown(book),
                "Buy one of those left" if book.stock > 0 else "",
            )
    if bought:
        messages.success(request, f"A copy of “{book}” is yours.")
    else:
        messages.error(request, f"“{book}” is sold out.")
    return redirect("stock")


@require_GET
def wallet_page(request: HttpRequest) -> HttpResponse:
    wallets = Wallet.objects.order_by("pk")[:2]
    transfers = [
        (source, target, TransferForm.shown(source, target))
        for source, target in permutations(wallets, 2)
    ]
    context = {"story": wallet.STORY, "transfers": transfers, "euros": EUROS}
    return render(request, "shop/wallet.html", context)


@require_POST
def transfer(request: HttpRequest) -> HttpResponse:
    form = TransferForm(request.POST)
    if not form.is_valid():
        return _refuse(request, form)
    shown = form.cleaned_data
    source = get_object_or_404(Wallet, pk=shown["source"])
    target = get_object_or_404(Wallet, pk=shown["target"])
    if "retry" in request.POST:
        sent = wallet.lock_with_retry(source.pk, target.pk, EUROS)
    else:
        sent = source.balance >= EUROS
        source.version = shown["source_version"]
        target.version = shown["target_version"]
        source.balance -= EUROS
        target.balance += EUROS
        try:
            with transaction.atomic():
                if sent:
                    source.save()
                    target.save()
        except RecordModifiedError:
            source.refresh_from_db()
            target.refresh_from_db()
            return _conflict(
                request,
                f"{source} has not sent {EUROS} € to {target}: one of the two wallets "
                f"changed after you had opened the page. No money has moved.",
                [
                    (f"{source} has", shown["source_seen"], source.balance),
                    (f"{target} has", shown["target_seen"], target.balance),
                ],
                TransferForm.shown(source, target),
                f"Send {EUROS} € all the same",
            )
    if sent:
        messages.success(request, f"{source} has sent {EUROS} € to {target}.")
    else:
        messages.error(request, f"{source} doesn't have {EUROS} €.")
    return redirect("wallet")


@require_GET
def votes_page(request: HttpRequest) -> HttpResponse:
    contestants = Contestant.objects.order_by("pk").prefetch_related("payments")
    paid = [
        (
            contestant,
            [
                (payment, ReportForm.shown(payment))
                for payment in contestant.payments.all()
            ],
        )
        for contestant in contestants
    ]
    return render(request, "shop/votes.html", {"story": votes.STORY, "paid": paid})


@require_POST
def report(request: HttpRequest) -> HttpResponse:
    """The payment service's callback, with a button in its place."""
    form = ReportForm(request.POST)
    if not form.is_valid():
        return _refuse(request, form)
    shown = form.cleaned_data
    payments = Payment.objects.select_related("contestant")
    payment = get_object_or_404(payments, pk=shown["payment"])
    contestant = payment.contestant
    if "retry" in request.POST:
        counted = votes.lock_with_retry(payment.reference)
    else:
        counted = not payment.verified
        payment.version = shown["payment_version"]
        contestant.version = shown["contestant_version"]
        payment.verified = True
        contestant.votes += 1
        try:
            with transaction.atomic():
                if counted:
                    payment.save()
                    contestant.save()
        except RecordModifiedError:
            payment = payments.get(pk=payment.pk)
            return _conflict(
                request,
                f"This vote for {contestant} has not been counted: another one was, "
                f"after you had opened the page. The payment isn't marked either, so "
                f"it can be reported again.",
                [("Votes", shown["seen"], payment.contestant.votes)],
                ReportForm.shown(payment),
                "Count this vote too",
            )
    if counted:
        messages.success(request, f"One vote for {contestant}.")
    else:
        messages.info(request, "That payment was counted before; nothing to do.")
    return redirect("votes")


@require_GET
async def bot_page(request: HttpRequest) -> HttpResponse:
    players = [
        (player, PressForm.shown(player))
        async for player in Player.objects.order_by("pk")
    ]
    context = {"story": bot.STORY, "players": players}
    return await sync_to_async(render)(request, "shop/bot.html", context)


@require_POST
async def press(request: HttpRequest) -> HttpResponse:
    form = PressForm(request.POST)
    if not form.is_valid():
        return await sync_to_async(_refuse)(request, form)
    player = await aget_object_or_404(Player, pk=form.cleaned_data["player"])
    if "retry" in request.POST:
        await bot.lock_with_retry(player.pk)
    else:
        player.version = form.cleaned_data["version"]
        player.coins += 1
        try:
            await player.asave()
        except RecordModifiedError:
            await player.arefresh_from_db()
            return await sync_to_async(_conflict)(
                request,
                f"{player}'s coin has not been added: the balance changed after you "
                f"had opened the page.",
                [("Coins", form.cleaned_data["seen"], player.coins)],
                PressForm.shown(player),
                "Add it to what is there now",
            )
    messages.success(request, f"One coin for {player}.")
    return redirect("bot")


def _conflict(
    request: HttpRequest,
    message: str,
    changes: list[tuple[str, int, int]],
    form: forms.Form,
    again: str,
) -> HttpResponse:
    """Say what happened, and offer to do it on what is there now.

    Args:
        message: what has not been done, and why.
        changes: of each number its name, what the page showed, what it is now.
        form: the form as the page would show it now.
        again: the label of its button; empty if it can't be done any more.
    """
    context = {"message": message, "changes": changes, "form": form, "again": again}
    return render(request, "shop/conflict.html", context, status=409)


def _refuse(request: HttpRequest, form: forms.Form) -> HttpResponse:
    return render(request, "shop/refused.html", {"form": form}, status=400)
