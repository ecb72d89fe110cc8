from __future__ import annotations

from django.contrib import admin

from shop.models import Book, Contestant, Payment, Player, Wallet


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "price", "stock", "version"]
    search_fields = ["title", "author"]


@admin.register(Wallet)
class WalletAdmin(admin.ModelAdmin):
    list_display = ["owner", "balance", "version"]


@admin.register(Contestant)
class ContestantAdmin(admin.ModelAdmin):
    list_display = ["name", "votes", "version"]


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ["reference", "contestant", "verified", "version"]
    list_filter = ["verified", "contestant"]
    list_select_related = ["contestant"]


@admin.register(Player)
class PlayerAdmin(admin.ModelAdmin):
    list_display = ["name", "coins", "version"]
