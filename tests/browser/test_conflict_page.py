"""What people do with a conflict page, and with forms that have grown stale."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from factories import CustomerFactory, LineFactory, MemoFactory
from pages import admin_url
from testapp.admin import OrderAdmin
from testapp.models import Customer, Order, Parcel
from windows import NO_SCRIPTS, PHONE, windows, with_and_without_scripts

CHOICE = "optilock_decision_note"


@pytest.fixture
def conflict(ann, bob, order):
    """Ann has to decide about a note that bob has changed."""
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    assert ann.asked
    return order


def saved(order):
    order.refresh_from_db()
    return order.note


def test_enter_on_the_panel_does_nothing(ann, conflict):
    ann.page.keyboard.press("Enter")
    assert ann.asked
    assert saved(conflict) == "bob's"


@pytest.mark.parametrize("name", ["number", CHOICE])
def test_enter_asks_again(ann, conflict, name):
    ann.page.locator(f'[name="{name}"]').first.focus()
    with ann.page.expect_navigation():
        ann.page.keyboard.press("Enter")
    assert ann.asked
    assert ann.page.locator(f'[name="{CHOICE}"]:checked').count() == 0
    assert saved(conflict) == "bob's"


@pytest.mark.parametrize("button", ["_continue", "_addanother"])
def test_buttons_keep_their_meaning(ann, bob, button):
    memo = MemoFactory(body="old")
    ann.open(memo)
    ann.page.get_by_text("More", exact=True).click()
    bob.open(memo)
    bob.page.get_by_text("More", exact=True).click()
    bob.fill(body="bob's")
    bob.save()
    ann.fill(body="ann's")
    ann.save(button)
    ann.keep("mine", "optilock_decision_body")
    ann.save(button)
    view = {"_continue": ("change", memo.pk), "_addanother": ("add",)}[button]
    assert ann.page.url == ann.url + admin_url(memo, *view)
    memo.refresh_from_db()
    assert memo.body == "ann's"


def test_a_double_click_is_no_conflict_with_oneself(ann, order):
    ann.open(order)
    ann.fill(note="ann's")
    ann.page.locator("[name=_save]").dblclick()
    ann.page.locator(".messagelist, .optilock-conflict").wait_for()
    assert not ann.asked
    assert saved(order) == "ann's"
    changed = [entry.get_change_message() for entry in LogEntry.objects.all()]
    assert changed.count("Changed Note.") == 1


def test_after_going_back_what_was_saved_meanwhile_is_not_overwritten(ann, bob, order):
    ann.open(order)
    ann.fill(note="ann's")
    ann.save()
    bob.change(order, note="bob's")
    ann.page.go_back()
    shown = ann.field("note").input_value()
    ann.fill(note="ann's again")
    ann.save()
    assert ann.asked == (shown != "bob's")
    if ann.asked:  # the browser has put back what was typed
        assert saved(order) == "bob's"
        ann.keep("mine", CHOICE)
        ann.save()
    assert saved(order) == "ann's again"


def test_two_windows_of_one_person_are_told_apart(ann, order):
    ann.open(order)
    first, ann.page = ann.page, ann.context.new_page()
    ann.change(order, note="second")
    ann.page = first
    ann.fill(note="first")
    ann.save()
    assert "You saved this order in another window" in ann.panel.inner_text()
    assert "omebody else" not in ann.page.locator("#content").inner_text()
    assert saved(order) == "second"
    ann.keep("mine", CHOICE)
    ann.save()
    assert saved(order) == "first"


def test_saving_as_new_from_a_stale_page_asks_nothing(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(number="18", note="ann's")
    ann.save("_saveasnew")
    assert not ann.asked
    assert saved(order) == "bob's"
    assert Order.objects.get(number="18").note == "ann's"


def test_a_file_that_nobody_touched_stays(ann, bob, order):
    order.attachment.save("plan.txt", ContentFile(b"plan"))
    ann.open(order)
    bob.change(order, note="bob's")
    ann.fill(note="ann's")
    ann.save()
    ann.keep("mine", CHOICE)
    ann.save()
    assert saved(order) == "ann's"
    with order.attachment.open() as file:
        assert file.read() == b"plan"


def test_a_raw_id_is_asked_about_by_its_name(ann, bob):
    for code in ("P1", "P2"):
        Parcel.objects.create(code=code)
    memo = MemoFactory()
    ann.open(memo)
    bob.change(memo, parcel="P1")
    ann.fill(parcel="P2")
    ann.save()
    ann.keep("mine", "optilock_decision_parcel")
    ann.save()
    memo.refresh_from_db()
    assert memo.parcel_id == "P2"


def test_what_is_picked_in_a_lookup_window_is_asked_about(ann, bob):
    for code in ("P1", "P2"):
        Parcel.objects.create(code=code)
    memo = MemoFactory()
    ann.open(memo)
    bob.change(memo, parcel="P1")
    with ann.page.expect_popup() as lookup:
        ann.page.locator("#lookup_id_parcel").click()
    with lookup.value.expect_event("close"):
        lookup.value.get_by_role("link", name="P2", exact=True).click()
    ann.save()
    assert ann.asked
    assert ann.field("parcel").input_value() == "P2"
    ann.keep("mine", "optilock_decision_parcel")
    ann.save()
    memo.refresh_from_db()
    assert memo.parcel_id == "P2"


def test_what_was_chosen_from_suggestions_is_asked_about(ann, bob, order, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "autocomplete_fields", ["customer"])
    smith, jones = CustomerFactory(name="Smith"), CustomerFactory(name="Jones")
    for person, name in ((ann, "Smith"), (bob, "Jones")):
        person.open(order)
        person.page.locator(".field-customer .select2-selection").click()
        person.page.locator(".select2-search__field").fill(name[:3])
        person.page.locator(".select2-results__option", has_text=name).click()
    bob.save()
    ann.save()
    assert ann.asked
    assert ann.page.inner_text(".field-customer .select2-selection").endswith("Smith")
    ann.keep("theirs", "optilock_decision_customer")
    ann.save()
    order.refresh_from_db()
    assert order.customer == jones
    ann.open(order)
    assert ann.field("customer").input_value() == str(jones.pk)
    assert smith.order_set.count() == 0


def test_who_may_only_look_is_asked_nothing(sign_in, bob, order):
    eve = sign_in("eve", permissions=["view_order"])
    eve.open(order)
    assert eve.page.locator("[name=optilock_token]").count() == 0
    assert eve.page.locator("[name=_save]").count() == 0
    assert "old" in eve.page.inner_text(".field-note")


# --- popups --------------------------------------------------------------------


@pytest.fixture
def opener(ann, order):
    """Ann's form of an order with a customer."""
    order.customer = CustomerFactory(name="Smith")
    order.save()
    ann.open(order)
    return ann.page


def test_a_conflict_in_a_popup_is_resolved_there(ann, bob, order, opener):
    with opener.expect_popup() as popup:
        opener.locator("#change_id_customer").click()
    ann.page = popup.value
    ann.page.wait_for_load_state()
    bob.change(order.customer, name="Smyth")
    ann.fill(name="Smithe")
    ann.save()
    assert ann.asked
    ann.look("popup")
    ann.keep("mine", "optilock_decision_name")
    with ann.page.expect_event("close"):
        ann.panel.get_by_role("button", name="Save my choices").click()
    chosen = opener.locator("#id_customer option:checked")
    assert chosen.inner_text() == "Smithe"
    assert Customer.objects.get().name == "Smithe"


def test_a_popup_that_adds_is_as_in_django(ann, opener):
    with opener.expect_popup() as popup:
        opener.locator("#add_id_customer").click()
    ann.page = popup.value
    ann.page.wait_for_load_state()
    ann.fill(name="Jones")
    with ann.page.expect_event("close"):
        ann.page.locator("[name=_save]").click()
    assert opener.locator("#id_customer option:checked").inner_text() == "Jones"


# --- without a mouse, and in every light ---------------------------------------


def focused(page):
    """Return what has the focus: its id, else its name."""
    return page.evaluate(
        "document.activeElement.id || document.activeElement.name || 'body'"
    )


def test_the_page_can_be_used_with_the_keyboard_alone(ann, conflict):
    page = ann.page
    assert focused(page) == "optilock-conflict"
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate("document.activeElement.name || 'link'")
        stops.append(where)
        if where == CHOICE and stops.count(CHOICE) == 1:
            page.keyboard.press("Space")
            page.keyboard.press("ArrowDown")
        if where == "_save":
            break
    assert stops == ["link", CHOICE, "optilock_edited_note", "_save"]
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert not ann.asked
    assert saved(conflict) == "ann's"


@with_and_without_scripts
def test_what_was_not_chosen_is_asked_for_there_and_has_the_focus(ann, bob, order):
    ann.open(order)
    bob.change(order, number="18", note="bob's", status="paid")
    ann.fill(number="19", note="ann's", status="shipped")
    ann.save()
    ann.keep("theirs", "optilock_decision_number")
    with ann.page.expect_navigation():
        ann.panel.get_by_role("button", name="Save my choices").click()
    missed = ann.panel.locator("fieldset", has_text="Choose one of these")
    assert [one.locator("legend").inner_text() for one in missed.all()] == [
        "Status",
        "Note",
    ]
    assert focused(ann.page) == "optilock_decision_status"
    assert ann.page.locator("input:focus").bounding_box()["y"] > 0
    kept = ann.panel.locator("[name=optilock_decision_number]:checked")
    assert kept.get_attribute("value") == "theirs"
    assert saved(order) == "bob's"


@windows(phone=PHONE, phone_without_scripts=PHONE | NO_SCRIPTS)
def test_on_a_phone_the_button_stays_in_view(ann, bob, order):
    lines = [LineFactory(order=order, product=f"Pen {n}") for n in range(6)]
    ann.open(order)
    bob.open(order)
    for person, quantity in ((bob, "5"), (ann, "7")):
        person.fill(**{f"lines-{n}-quantity": quantity for n in range(len(lines))})
        person.save()
    button = ann.panel.get_by_role("button", name="Save my choices")
    for question in ann.panel.locator("fieldset.optilock-question").all():
        question.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 740
    ann.look("phone-sticky")
    ann.keep("mine", "optilock_decision_for_all")
    for n in range(len(lines)):  # each has to be chosen where there are no scripts
        ann.keep("mine", f"lines-{n}-optilock_decision_quantity")
    with ann.page.expect_navigation():
        button.click()
    assert set(order.lines.values_list("quantity", flat=True)) == {7}


@pytest.mark.parametrize("locale", ["de-DE", "ar", "he"])
def test_the_page_fits_a_phone_in_every_direction(sign_in, bob, order, locale):
    ann = sign_in("ann", locale=locale, **PHONE)
    ann.open(order)
    bob.change(order, note=LONG * 2, status="paid", currency="USD")
    ann.fill(note=LONG, status="shipped", amount="11")
    ann.save()
    ann.look(f"phone-{locale}")
    assert ann.is_wide_enough()
    assert ann.violations("#optilock-conflict") == set()


def test_choosing_for_everything_is_choosing_for_each(ann, bob, order):
    ann.open(order)
    bob.change(order, note="bob's", status="paid")
    ann.fill(note="ann's", status="shipped")
    ann.save()
    ann.keep("mine", "optilock_decision_for_all")
    chosen = ann.panel.locator(".optilock-options input:checked")
    assert [one.get_attribute("value") for one in chosen.all()] == ["mine"] * 2
    ann.keep("theirs", CHOICE)
    for_all = ann.panel.locator('[name="optilock_decision_for_all"]:checked')
    assert for_all.count() == 0
    ann.save()
    order.refresh_from_db()
    assert (order.note, order.status) == ("bob's", "shipped")


LONG = "So long a note that it has to be wrapped somewhere, even on a desk. " * 3

WINDOWS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "360 px": {"viewport": {"width": 360, "height": 740}},
    "forced colours": {"forced_colors": "active"},
}


@pytest.mark.parametrize("window", WINDOWS)
def test_everybody_can_read_and_use_the_page(sign_in, bob, order, window):
    ann = sign_in("ann", **WINDOWS[window])
    line = LineFactory(order=order, product="Pen")
    order.note = LONG
    order.save()
    ann.open(order)
    ann.fill(**{"status": "shipped", "amount": "0", "lines-0-quantity": ""})
    ann.save()  # the same page with errors of Django's own, to compare with
    djangos = ann.violations()
    bob.open(order)
    bob.fill(note=f"{LONG}Bob's end.", status="paid", currency="USD")
    bob.fill(**{"lines-0-quantity": "2"})
    bob.save()
    ann.fill(note=f"Ann's beginning. {LONG}", amount="10")
    ann.fill(**{"lines-0-quantity": "3"})
    ann.save()
    assert ann.asked
    ann.look(f"page in {window}")
    assert ann.violations("#optilock-conflict") == set()
    if window != "forced colours":  # those aren't known to axe-core
        assert ann.violations() - djangos == set()
    assert ann.is_wide_enough()
    ann.keep("theirs", CHOICE)
    ann.keep("mine", "optilock_decision_status")
    ann.keep("mine", "lines-0-optilock_decision_quantity")
    ann.save()
    assert not ann.asked
    line.refresh_from_db()
    order.refresh_from_db()
    assert (order.status, order.currency, line.quantity) == ("shipped", "USD", 3)
    assert order.note.endswith("Bob's end.")
