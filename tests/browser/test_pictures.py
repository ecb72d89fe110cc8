"""A conflict as it happens; the pictures of the documentation are taken here."""

from __future__ import annotations

import pytest
from factories import CustomerFactory, LineFactory, OrderFactory

NOTE = (
    "Deliver to the back door, between 9 and 12. The bell is broken, so please call "
    "Mrs Okafor when you arrive. She needs two people to carry the boxes upstairs, "
    "and the lift is too small for the long one. "
)
END = "If nobody is there, leave everything with the neighbour on the left."

# High enough for the whole page: the button would cover what is below the screen.
DESKTOP = {"viewport": {"width": 1200, "height": 1400}}
WINDOWS = {
    "desktop": DESKTOP,
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 2000}},
    "german": {**DESKTOP, "locale": "de-DE"},
    "arabic": {**DESKTOP, "locale": "ar"},
    "forced": {**DESKTOP, "forced_colors": "active"},
}


def meet(ann, bob, order):
    """Let both change the order, bob being faster."""
    ann.open(order)
    bob.open(order)
    bob.fill(
        status="shipped",
        amount="129.00",
        note=NOTE.replace("between 9 and 12", "between 14 and 16") + END,
    )
    bob.fill(**{"lines-0-quantity": "20"})
    bob.field("lines-1-DELETE").check()
    bob.field("customer").select_option(label="Miller & Daughters")
    bob.save()
    ann.fill(
        status="paid",
        note=NOTE + "If nobody is there, take everything back with you.",
    )
    ann.fill(**{"lines-0-quantity": "12", "lines-1-quantity": "2"})
    ann.save()


@pytest.fixture
def order(transactional_db):
    order = OrderFactory(
        number="2024-117",
        customer=CustomerFactory(name="Miller & Sons"),
        amount=118,
        note=NOTE + END,
    )
    CustomerFactory(name="Miller & Daughters")
    LineFactory(order=order, product="Boxes", quantity=10)
    LineFactory(order=order, product="Lamp")
    return order


def photograph(person, name):
    """Take the panel, and as much of the form as says what it belongs to."""
    box = person.panel.bounding_box()
    width = person.page.viewport_size["width"]
    scrolled = person.page.evaluate("() => window.scrollY")
    height = scrolled + box["y"] + box["height"] + 120
    person.look(name, clip={"x": 0, "y": 0, "width": width, "height": height})


@pytest.mark.parametrize("window", WINDOWS)
def test_a_conflict_is_photographed(sign_in, bob, order, window):
    ann = sign_in("ann", **WINDOWS[window])
    meet(ann, bob, order)
    assert "bob" in ann.panel.inner_text()
    for text in ("Status", "Note", "Customer", "Quantity"):  # not translated
        assert text in ann.panel.text_content()
    photograph(ann, f"conflict-{window}")


def test_a_conflict_in_chinese_is_photographed(sign_in, bob, order):
    ann = sign_in("ann", locale="zh-CN", **DESKTOP)
    meet(ann, bob, order)
    assert ann.page.locator("html").get_attribute("lang") == "zh-hans"
    assert "faster" not in ann.panel.inner_text()
    photograph(ann, "conflict-zh-hans")
