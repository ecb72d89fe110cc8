"""The shop in Django's admin: all it takes is to derive from optilock's classes."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from optilock.admin import VersionedModelAdmin, VersionedTabularInline
from shop.models import Article, Book, Contestant, Line, Order, Payment, Player, Wallet


class LineInline(VersionedTabularInline):
    model = Line
    extra = 1


@admin.register(Order)
class OrderAdmin(VersionedModelAdmin):
    inlines = [LineInline]
    list_display = ["number", "customer", "status", "gift", "amount", "currency"]
    list_editable = ["status", "gift"]
    list_filter = ["status"]
    search_fields = ["number", "customer"]
    ordering = ["-number"]
    actions = ["mark_as_shipped"]
    # Ask first if one of the chosen orders was changed since the list was shown.
    optilock_actions = ("mark_as_shipped",)

    @admin.action(description="Mark as shipped", permissions=["change"])
    def mark_as_shipped(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        for order in queryset:
            order.status = Order.Status.SHIPPED
            order.save()
            # The history is what tells others who it was.
            self.log_change(request, order, [{"changed": {"fields": ["Status"]}}])
        self.message_user(request, "The orders are marked as shipped.")


@admin.register(Article)
class ArticleAdmin(VersionedModelAdmin):
    list_display = ["title", "published", "version"]
    prepopulated_fields = {"slug": ["title"]}
    # A title of mine over an address of theirs would not fit.
    optilock_groups = [("title", "slug")]
    # An open form says so when somebody else saves; it asks every 15 seconds.
    optilock_poll = 15


@admin.register(Book)
class BookAdmin(VersionedModelAdmin):
    list_display = ["title", "author", "price", "stock", "version"]
    list_editable = ["price", "stock"]
    search_fields = ["title", "author"]


@admin.register(Wallet)
class WalletAdmin(VersionedModelAdmin):
    list_display = ["owner", "balance", "version"]


@admin.register(Contestant)
class ContestantAdmin(VersionedModelAdmin):
    list_display = ["name", "votes", "version"]


@admin.register(Payment)
class PaymentAdmin(VersionedModelAdmin):
    list_display = ["reference", "contestant", "verified", "version"]
    list_filter = ["verified", "contestant"]
    list_select_related = ["contestant"]


@admin.register(Player)
class PlayerAdmin(VersionedModelAdmin):
    list_display = ["name", "coins", "version"]
