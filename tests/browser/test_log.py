"""The page that shows where people are in each other's way."""

from __future__ import annotations

import datetime
from operator import add

import pytest
from django.utils import timezone
from windows import DARK, PHONE, windows

from optilock.log.models import EditConflict

DESKTOP = {"viewport": {"width": 1200, "height": 900}}
ARABIC = {"locale": "ar", **DESKTOP}


@pytest.fixture
def entries(ann, bob, sign_in):
    people = [ann.user, bob.user, sign_in("carol").user]
    now = timezone.now()
    for n in range(40):
        entry = EditConflict.objects.create(
            model="testapp.line" if n % 7 == 0 else "testapp.order",
            object_id=str(100 + n % 5),
            found_in="formset" if n % 7 == 0 else "form",
            colliding=["quantity"] if n % 7 == 0 else ["note", "status"][: n % 3],
            merged=["amount"] if n % 3 == 0 else [],
            user=people[n % 3],
            author=people[(n % 2 + 1) % 3],
            when=now - datetime.timedelta(days=3 * (n**2 % 23)),
        )
    return entry


@windows(desktop=DESKTOP, dark={**DESKTOP, **DARK}, phone=PHONE, arabic=ARABIC)
def test_it_can_be_read_by_everybody(ann, entries, request):
    ann.go("/admin/optilock_log/editconflict/")
    charts = ann.page.locator(".optilock-chart")
    assert charts.count() == 4
    assert charts.first.locator("tbody tr").count() == 2
    assert charts.first.locator("svg rect").first.bounding_box()["width"] > 50
    assert not ann.violations(".optilock-charts")
    wide = ann.page.evaluate("document.querySelector('.optilock-charts').scrollWidth")
    assert wide <= ann.page.viewport_size["width"]
    if ann.page.viewport_size["width"] > 1000:
        assert ann.page.evaluate(
            "(list => list.scrollWidth <= list.clientWidth)"
            "(document.querySelector('#changelist .results'))"
        )
    box = ann.page.locator(".optilock-charts").bounding_box()
    clip = dict(zip(box, map(add, box.values(), (-16, -16, 32, 32)), strict=True))
    ann.look(f"log-{request.node.callspec.id}", clip=clip)
