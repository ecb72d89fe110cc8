from concurrency.admin import (
    ConcurrencyActionMixin,
    ConcurrencyListEditableMixin,
    ConcurrentModelAdmin,
)
from concurrency.forms import ConcurrentForm
from django.contrib import admin

from shop.models import Line, Order, Sheet


class OrderForm(ConcurrentForm):
    class Meta:
        model = Order
        fields = ["number", "note", "version"]


@admin.register(Order)
class OrderAdmin(ConcurrentModelAdmin):
    form = OrderForm
    fields = ("number", "version")
    list_editable_policy = 2


@admin.register(Line)
class LineAdmin(ConcurrencyActionMixin, ConcurrencyListEditableMixin, admin.ModelAdmin):
    list_display = ["id", "quantity"]
    list_editable = ["quantity"]
    fieldsets = [(None, {"fields": [("quantity", "lock")]})]


admin.site.register(Sheet, ConcurrentModelAdmin)
