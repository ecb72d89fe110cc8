from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from factories import OrderFactory
from testapp.models import Order
from windows import DARK, PHONE, windows, with_and_without_scripts


@pytest.fixture
def orders(transactional_db):
    """Two rows; the list shows the newest first."""
    return [OrderFactory(number=n, amount=10) for n in ("1", "2")]


@pytest.fixture
def opened(ann, bob, orders):
    """Both have the list before them."""
    ann.list(Order)
    bob.list(Order)


def rows():
    return list(
        Order.objects.order_by("number").values_list("number", "status", "amount")
    )


def row(person, number):
    """The row of the list that is about an order, by what Django shows."""
    link = person.page.get_by_role("link", name=number, exact=True)
    return person.page.locator("#result_list tbody tr").filter(has=link)


def collide(ann, bob):
    """Both change an amount; what Ann did to the other row waits for her answer."""
    bob.fill(**{"form-0-amount": "20"})
    bob.save()
    ann.fill(**{"form-0-amount": "30", "form-1-amount": "40"})
    ann.save()
    assert rows() == [("1", "open", 10), ("2", "open", 20)]


@pytest.mark.usefixtures("opened")
class TestTheList:
    @with_and_without_scripts
    def test_only_rows_i_changed_are_saved(self, ann, bob):
        bob.fill(**{"form-0-amount": "20"})
        bob.save()
        ann.fill(**{"form-1-amount": "30"})
        ann.save()
        assert rows() == [("1", "open", 30), ("2", "open", 20)]
        log = LogEntry.objects.filter(user=ann.user)
        assert [str(entry.object_repr) for entry in log] == ["1"]

    def test_cells_of_one_row_are_merged(self, ann, bob):
        bob.fill(**{"form-0-amount": "20"})
        bob.save()
        ann.fill(**{"form-0-status": "paid"})
        ann.save()
        assert rows()[1] == ("2", "paid", 20)
        assert ann.messages[0].startswith("Merged: bob had changed 2: Amount")

    @with_and_without_scripts
    @pytest.mark.parametrize(("side", "amount"), [("mine", 30), ("theirs", 20)])
    def test_a_cell_both_changed_is_asked_about(self, ann, bob, side, amount):
        collide(ann, bob)
        question = row(ann, "2").locator(".optilock-cell")
        assert question.inner_text().startswith("Amount\nbob’s: 20.00\nmine: 30")
        assert row(ann, "2").locator("input[type=number]").input_value() == "30"
        assert not row(ann, "1").locator(".optilock-cell").count()
        ann.save()
        assert question.count()
        ann.keep(side, "form-0-optilock_decision_amount")
        ann.save()
        assert rows() == [("1", "open", 40), ("2", "open", amount)]

    @with_and_without_scripts
    @pytest.mark.smoke
    def test_a_row_they_deleted_and_i_changed_is_asked_about(self, ann, bob, orders):
        bob.delete(orders[1])
        bob.click("#content [type=submit]")
        ann.fill(**{"form-0-amount": "30", "form-1-amount": "40"})
        ann.save()
        ann.look("list-deleted")
        assert "bob deleted “2” a moment ago." in ann.page.inner_text("#result_list")
        assert rows() == [("1", "open", 10)]
        ann.keep("theirs", "form-0-optilock_decision_")
        ann.save()
        assert rows() == [("1", "open", 40)]

    def test_a_row_they_deleted_and_i_did_not_touch_does_not_matter(
        self, ann, bob, orders
    ):
        bob.delete(orders[1])
        bob.click("#content [type=submit]")
        ann.fill(**{"form-1-amount": "40"})
        ann.save()
        assert rows() == [("1", "open", 40)]

    @pytest.mark.smoke
    def test_a_third_writer_is_asked_about_again(self, ann, bob, sign_in):
        collide(ann, bob)
        bob.fill(**{"form-0-amount": "25"})
        bob.save()
        ann.keep("mine", "form-0-optilock_decision_amount")
        ann.save()
        question = row(ann, "2").locator(".optilock-cell")
        assert "bob’s: 25.00" in question.inner_text()
        assert rows() == [("1", "open", 10), ("2", "open", 25)]

    @windows(desktop={}, phone=PHONE, dark=DARK, dark_phone=PHONE | DARK)
    def test_the_question_can_be_seen_and_read(self, ann, bob, request):
        ann.list(Order)
        inputs = {element for _, element in ann.violations()}
        assert all(element.startswith("#id_form-") for element in inputs)
        collide(ann, bob)
        ann.look(f"list-{request.node.callspec.id}")
        for option in row(ann, "2").locator("[type=radio]").all():
            option.scroll_into_view_if_needed()
            box, width = option.bounding_box(), ann.page.viewport_size["width"]
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        # Django's inputs in a list have no labels; nothing else may be wrong.
        assert {element for _, element in ann.violations()} <= inputs

    def test_the_keyboard_is_enough(self, ann, bob):
        collide(ann, bob)
        keys = ann.page.keyboard
        keys.press("Tab")  # the focus is at the question already
        keys.press("Space")
        chosen = ann.page.locator("[name=form-0-optilock_decision_amount]:checked")
        assert chosen.get_attribute("value") == "theirs"
        keys.press("ArrowDown")
        assert chosen.get_attribute("value") == "mine"
        ann.page.locator("[name=_save]").focus()
        with ann.page.expect_navigation():
            keys.press("Enter")
        assert rows() == [("1", "open", 40), ("2", "open", 30)]


@pytest.mark.parametrize("query", ["?o=3", "?o=-3", "?status__exact=open"])
def test_values_stay_beside_their_rows_when_the_order_of_the_list_changes(
    ann, bob, orders, query
):
    Order.objects.filter(number="2").update(amount=20)
    ann.list(Order, query)
    bob.list(Order)
    bob.fill(**{"form-0-status": "paid", "form-0-amount": "5"})
    bob.save()
    ann_row = row(ann, "2").locator("input[type=number]")
    ann_row.fill("30")
    ann.save()
    assert row(ann, "2").locator(".optilock-cell").count() == 1
    assert ann_row.input_value() == "30"
    assert row(ann, "1").locator("input[type=number]").input_value() == "10.00"
    row(ann, "2").get_by_label("mine:").check()
    ann.save()
    assert rows() == [("1", "open", 10), ("2", "paid", 30)]
