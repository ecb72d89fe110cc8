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
    # An open form says who else has it open, and who has saved it.
    optilock_presence = True
    # Ask first if one of the chosen orders was changed since the list was shown.
    optilock_actions = ("mark_as_shipped",)
    # Whose values somebody has overwritten is told so on the next page.
    optilock_tell_overwritten = True

    @admin.action(description="Mark as shipped", permissions=["change"])
    def mark_as_shipped(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        for order in queryset:
            order.status = Order.Status.SHIPPED
            order.save()
            # The history is what tells others who it was.
            self.log_change(request, order, [{"changed": {"fields": ["Status"]}}])
        numbers = ", ".join(order.number for order in queryset)
        self.message_user(request, f"Marked as shipped: {numbers}.")


@admin.register(Article)
class ArticleAdmin(VersionedModelAdmin):
    list_display = ["title", "published", "version"]
    prepopulated_fields = {"slug": ["title"]}
    # A title of mine over an address of theirs would not fit.
    optilock_merge_together = [("title", "slug")]
    optilock_presence = True


admin.site.register(
    [Book, Wallet, Contestant, Payment, Player],
    VersionedModelAdmin,
    list_display=["__str__", "version"],
)
