"""What the shop's buttons send.

Each form carries the version of the rows it was shown with. It comes back with
the answer, and is what the save then checks. ``seen`` is only for telling the
person what has changed.
"""

from __future__ import annotations

from django import forms

from shop.models import Book, Payment, Player, Wallet


class Hidden(forms.IntegerField):
    widget = forms.HiddenInput


class BuyForm(forms.Form):
    book = Hidden()
    version = Hidden()
    seen = Hidden()

    @classmethod
    def shown(cls, book: Book) -> BuyForm:
        seen = {"book": book.pk, "version": book.version, "seen": book.stock}
        return cls(initial=seen, auto_id=False)


class TransferForm(forms.Form):
    source = Hidden()
    source_version = Hidden()
    source_seen = Hidden()
    target = Hidden()
    target_version = Hidden()
    target_seen = Hidden()

    @classmethod
    def shown(cls, source: Wallet, target: Wallet) -> TransferForm:
        seen = {
            "source": source.pk,
            "source_version": source.version,
            "source_seen": source.balance,
            "target": target.pk,
            "target_version": target.version,
            "target_seen": target.balance,
        }
        return cls(initial=seen, auto_id=False)

    def clean(self) -> None:
        if self.cleaned_data.get("source") == self.cleaned_data.get("target"):
            raise forms.ValidationError("Choose two different wallets.")


class ReportForm(forms.Form):
    payment = Hidden()
    payment_version = Hidden()
    contestant_version = Hidden()
    seen = Hidden()

    @classmethod
    def shown(cls, payment: Payment) -> ReportForm:
        seen = {
            "payment": payment.pk,
            "payment_version": payment.version,
            "contestant_version": payment.contestant.version,
            "seen": payment.contestant.votes,
        }
        return cls(initial=seen, auto_id=False)


class PressForm(forms.Form):
    player = Hidden()
    version = Hidden()
    seen = Hidden()

    @classmethod
    def shown(cls, player: Player) -> PressForm:
        seen = {"player": player.pk, "version": player.version, "seen": player.coins}
        return cls(initial=seen, auto_id=False)
