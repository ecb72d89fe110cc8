"""Votes that are paid for; the payment service may report a payment many times.

A vote counts once for each payment, however often and however simultaneously
the callback arrives. Each way returns whether this callback counted a vote.
"""

from __future__ import annotations

from collections.abc import Sequence

import unlocked.models as unlocked
from django.db import transaction
from django.db.models import F

from optilock import retry_on_conflict
from shop.factories import (
    ContestantFactory,
    PaymentFactory,
    UnlockedContestantFactory,
    UnlockedPaymentFactory,
)
from shop.models import Contestant, Payment
from shop.story import Round, Story, Way

#: How often the payment service reports each payment.
REPORTS = 2


def naive(reference: str) -> bool:
    """WRONG: votes of different payments overwrite each other."""
    payment = unlocked.Payment.objects.get(reference=reference)
    contestant = unlocked.Contestant.objects.get(pk=payment.contestant_id)
    if payment.verified:
        return False
    payment.verified = True
    payment.save()
    contestant.votes += 1
    contestant.save()
    return True


def flag_in_python(reference: str) -> bool:
    """WRONG: no vote is overwritten, but each report of a payment adds one."""
    payment = unlocked.Payment.objects.get(reference=reference)
    if payment.verified:
        return False
    payment.verified = True
    payment.save()
    contestant = unlocked.Contestant.objects.filter(pk=payment.contestant_id)
    contestant.update(votes=F("votes") + 1)
    return True


@transaction.atomic
def select_for_update(reference: str) -> bool:
    """Right: the second report waits for the first, and sees the flag."""
    payment = Payment.objects.select_for_update().get(reference=reference)
    if payment.verified:
        return False
    payment.verified = True
    payment.save()
    contestant = Contestant.objects.select_for_update().get(pk=payment.contestant_id)
    contestant.votes += 1
    contestant.save()
    return True


@transaction.atomic
def flag_with_guard(reference: str) -> bool:
    """Right: only one UPDATE can turn the flag, and only that one goes on to count."""
    unverified = Payment.objects.filter(reference=reference, verified=False)
    if not unverified.update(verified=True):
        return False
    contestant = Contestant.objects.filter(payments__reference=reference)
    contestant.update(votes=F("votes") + 1)
    return True


@retry_on_conflict
def lock_with_retry(reference: str) -> bool:
    """Right: the flag and the count are both under the lock, in one transaction."""
    payment = Payment.objects.get(reference=reference)
    contestant = Contestant.objects.get(pk=payment.contestant_id)
    if payment.verified:
        return False
    payment.verified = True
    payment.save()
    contestant.votes += 1
    contestant.save()
    return True


def new_round(way: Way, workers: int) -> Round:
    """One contestant, and payments that are reported twice each."""
    payments = max(1, workers // REPORTS)
    if way.right:
        contestant, payment_factory = ContestantFactory(), PaymentFactory
    else:
        contestant, payment_factory = (
            UnlockedContestantFactory(),
            UnlockedPaymentFactory,
        )
    paid = payment_factory.create_batch(payments, contestant=contestant)
    requests = [(paid[number % payments].reference,) for number in range(workers)]

    def counted() -> int:
        contestant.refresh_from_db()
        return contestant.votes

    def confirmed(answers: Sequence[int]) -> int:
        said_yes = zip(requests, answers, strict=True)
        return len({request for request, answer in said_yes if answer})

    return Round(
        way.function,
        requests,
        asked=payments,
        possible=payments,
        stored=counted,
        confirmed=confirmed,
    )


STORY = Story(
    title="Votes: each paid one, once",
    ways=[
        Way("read, check the flag, save", naive, right=False),
        Way("flag in Python, F() for votes", flag_in_python, right=False),
        Way("select_for_update()", select_for_update),
        Way("F() and a guard on the flag", flag_with_guard),
        Way("the lock, retry_on_conflict", lock_with_retry),
    ],
    new_round=new_round,
)
