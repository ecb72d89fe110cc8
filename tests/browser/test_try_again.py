"""The page that is shown when others were faster each time."""

from __future__ import annotations

import pytest
from testapp.admin import OrderAdmin
from testapp.models import Order
from windows import DARK, PHONE, windows, with_and_without_scripts


@pytest.fixture
def busy(monkeypatch):
    """As long as there is something in it, others are faster."""
    busy, original = [True], OrderAdmin.save_model

    def save_model(self, request, obj, form, change):
        original(self, request, obj, form, change)
        if busy:
            stale = Order.objects.get(pk=obj.pk)
            obj.save()
            stale.save()

    monkeypatch.setattr(OrderAdmin, "save_model", save_model)
    return busy


@with_and_without_scripts
def test_reloading_the_page_sends_again_what_was_typed(ann, order, busy):
    ann.open(order)
    ann.fill(note="mine")
    ann.save()
    assert "Nothing was saved." in ann.page.inner_text("main")
    assert Order.objects.get().note == "old"
    busy.clear()
    ann.page.reload()
    assert Order.objects.get().note == "mine"


@with_and_without_scripts
def test_going_back_leads_to_what_was_typed(ann, order, busy):
    ann.open(order)
    ann.fill(note="mine")
    ann.save()
    busy.clear()
    ann.page.go_back()
    assert ann.page.locator('[name="note"]').input_value() == "mine"
    ann.save()
    assert Order.objects.get().note == "mine"


@windows(desktop={}, phone=PHONE, dark=DARK)
def test_it_can_be_read(ann, order, busy, request):
    ann.open(order)
    ann.fill(note="mine")
    ann.save()
    ann.look(f"try-again-{request.node.callspec.id}")
    assert ann.violations() == set()
    assert ann.is_wide_enough()
