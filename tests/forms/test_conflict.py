"""What a form says of a conflict: plain values, and methods that work."""

import datetime
from decimal import Decimal

import pytest
from django import forms
from django.forms import inlineformset_factory
from factories import LineFactory, OrderFactory
from pages import values
from testapp.models import Colour, Customer, Line, Order

from optilock import Conflict, FieldState, MergeConflict
from optilock.conflicts import UNKNOWN
from optilock.forms import (
    VersionedFormMixin,
    VersionedFormSetMixin,
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
    tokens,
)

pytestmark = pytest.mark.django_db


class OrderForm(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["status", "amount", "customer", "note", "tags"]


def conflict_of(order, form_class=OrderForm, *, theirs, **mine):
    """Return the conflict of a form that was opened before theirs was saved."""
    data = values(form_class(instance=Order.objects.get(pk=order.pk)))
    tags = theirs.pop("tags", None)
    Order.objects.filter(pk=order.pk).update(**theirs)
    if tags is not None:
        order.tags.set(tags)
    form = form_class({**data, **mine}, instance=Order.objects.get(pk=order.pk))
    form.is_valid()
    return form.conflict


def sides(change):
    return change.base, change.mine, change.theirs


@pytest.fixture
def order():
    return OrderFactory(note="old", amount=10)


def test_base_mine_and_theirs_are_the_values_themselves(order):
    theirs = {"note": "theirs", "amount": Decimal("12.50"), "status": "paid"}
    conflict = conflict_of(order, theirs=theirs, note=" mine ", amount="11")
    assert sides(conflict["note"]) == ("old", "mine", "theirs")
    assert sides(conflict["amount"]) == (10, Decimal("11"), Decimal("12.50"))
    assert conflict["status"].theirs == "paid"
    assert conflict["note"].state is FieldState.COLLIDING


def test_an_object_stands_for_its_key(order):
    before, mine, theirs = (Customer.objects.create(name=name) for name in "abc")
    Order.objects.update(customer=before)
    conflict = conflict_of(order, theirs={"customer": theirs}, customer=mine.pk)
    assert sides(conflict["customer"]) == (before.pk, mine.pk, theirs.pk)


def test_of_many_objects_there_is_a_list_of_keys(order):
    a, b, c = (Colour.objects.create(name=name) for name in "abc")
    order.tags.set([a])
    conflict = conflict_of(order, theirs={"tags": [b]}, tags=[c.pk])
    assert sides(conflict["tags"]) == ([a.pk], [c.pk], [b.pk])
    assert conflict["tags"].state is FieldState.MERGED
    assert conflict.collisions == []


def test_a_value_that_is_no_value_is_what_was_posted(order):
    conflict = conflict_of(order, theirs={"amount": 12}, amount="a lot")
    assert sides(conflict["amount"]) == (10, "a lot", 12)


@pytest.fixture
def no_room(monkeypatch):
    """Let tokens have no room for long texts."""
    monkeypatch.setattr(tokens, "MOST", 10)


@pytest.mark.usefixtures("no_room")
def test_of_a_text_too_long_for_the_token_only_the_base_is_unknown(order):
    Order.objects.update(note="old" * 1000)
    conflict = conflict_of(order, theirs={"note": "theirs"}, note="mine")
    assert sides(conflict["note"]) == (UNKNOWN, "mine", "theirs")
    assert not conflict["note"].knows_base
    assert conflict["note"].collides
    assert conflict.digested == {"note"}


@pytest.mark.usefixtures("no_room")
def test_a_long_text_that_i_left_alone_is_theirs_although_its_base_is_unknown(order):
    Order.objects.update(note="old\n" * 1000)
    conflict = conflict_of(order, theirs={"note": "theirs"}, status="paid")
    assert conflict["note"].base is UNKNOWN
    assert conflict.names(FieldState.THEIRS) == ["note"]


def test_of_a_row_that_is_deleted_theirs_is_unknown(order):
    form = OrderForm(instance=order)
    data = values(form)
    Order.objects.all().delete()
    form = OrderForm({**data, "note": "mine"}, instance=order)
    assert not form.is_valid()
    assert form.conflict.deleted
    assert sides(form.conflict["note"]) == ("old", "mine", UNKNOWN)
    with pytest.raises(MergeConflict):
        form.conflict.compared.resolve()


def test_it_is_a_mapping_of_the_fields_of_the_form(order):
    conflict = conflict_of(order, theirs={"note": "theirs"}, note="mine")
    assert list(conflict) == ["status", "amount", "customer", "note", "tags"]
    assert len(conflict) == 5
    assert bool(conflict)
    assert {change.state for change in conflict.values()} == {
        FieldState.UNCHANGED,
        FieldState.COLLIDING,
    }


def test_it_describes_itself_with_the_values(order):
    theirs = {"note": "theirs", "status": "paid"}
    told = conflict_of(order, theirs=theirs, note="mine").describe()
    assert "note (changed by both differently):" in told
    assert "  base:   old\n  mine:   mine\n  theirs: theirs" in told
    assert "Opened" not in told
    assert "Typed" not in told


def test_its_text_names_the_row_and_the_fields_and_no_value(order):
    conflict = conflict_of(order, theirs={"note": "theirs"}, note="mine")
    assert str(conflict) == f"testapp.Order with pk {order.pk}: colliding: note"
    assert repr(conflict) == f"<FormConflict {conflict}>"


def test_what_it_has_compared_is_a_conflict_that_can_be_resolved(order):
    theirs = {"note": "theirs", "status": "paid"}
    conflict = conflict_of(order, theirs=theirs, note="mine", amount="11")
    assert type(conflict.compared) is Conflict
    with pytest.raises(MergeConflict):
        conflict.compared.resolve()
    merged = conflict.compared.resolve({"note": "mine"})
    assert merged["note"] == "mine"
    assert merged["status"] == "paid"
    assert merged["amount"] == 11
    assert conflict.compared.resolve({"note": lambda n: n.mine + n.theirs})["note"] == (
        "minetheirs"
    )


def test_there_is_no_instance_to_merge_into_but_the_forms_own(order):
    conflict = conflict_of(order, theirs={"note": "theirs"}, note="mine")
    with pytest.raises(TypeError, match="resolve"):
        conflict.compared.merge({"note": "mine"})


def test_it_knows_both_versions(order):
    before = Order.objects.get().version
    conflict = conflict_of(order, theirs={"note": "theirs"}, note="mine")
    assert conflict.expected_version == before
    assert conflict.current_version == before + 1


def test_fields_of_the_form_alone_are_in_it_with_their_values(order):
    class Placed(OrderForm):
        day = forms.DateField(required=False)
        after = forms.ModelChoiceField(Order.objects.all(), required=False)
        found = datetime.date(2024, 1, 1)

        def __init__(self, *args, **kwargs):
            initial = {"day": type(self).found, "after": order}
            super().__init__(*args, initial=initial, **kwargs)

    data = values(Placed(instance=order)) | {"after": OrderFactory().pk}
    Placed.found = datetime.date(2024, 2, 2)
    form = Placed(
        {**data, "day": "2024-03-03"}, instance=Order.objects.get(pk=order.pk)
    )
    assert not form.is_valid()
    assert form.conflict.collisions == ["day"]
    assert sides(form.conflict["after"]) == (order.pk, data["after"], order.pk)
    assert form.conflict["day"].mine == datetime.date(2024, 3, 3)
    assert form.conflict["day"].theirs == datetime.date(2024, 2, 2)
    assert "2024-02-02" in form.conflict.describe()


def test_the_conflict_of_a_row_has_plain_values_too(order):
    line = LineFactory(order=order, quantity=1)
    lines = inlineformset_factory(
        Order, Line, fields=["quantity"], extra=0, formset=VersionedInlineFormSet
    )
    formset = lines(instance=order)
    data = values(formset.management_form)
    for form in formset:
        data |= values(form)
    Line.objects.update(quantity=2)
    formset = lines({**data, "lines-0-quantity": "3"}, instance=order)
    assert not formset.is_valid()
    [conflict] = formset.conflicts
    assert conflict.instance == line
    assert conflict.formset is formset
    assert sides(conflict["quantity"]) == (1, 3, 2)


# --- names -------------------------------------------------------------------


def names_added(mixin, django):
    added = {name for name in dir(mixin) if not hasattr(django, name)}
    return {name for name in added if not name.startswith("_")}


def test_a_form_gains_no_names_but_the_documented_ones(order):
    documented = {
        "ask_always",
        "compare_also",
        "can_recreate",
        "conflict",
        "merge_decisions",
        "merge_together",
        "secret_fields",
    }
    assert names_added(VersionedModelForm, forms.ModelForm) == documented
    plain = forms.modelform_factory(Order, fields=["note"])(instance=order)
    form = OrderForm(instance=order)
    assert vars(form).keys() - vars(plain).keys() == {"_optilock"}
    assert issubclass(VersionedModelForm, VersionedFormMixin)


def test_a_formset_gains_no_names_but_the_documented_ones():
    documented = {"added", "can_recreate", "conflicts"}
    assert names_added(VersionedModelFormSet, forms.BaseModelFormSet) == documented
    assert names_added(VersionedInlineFormSet, forms.BaseInlineFormSet) == documented
    assert issubclass(VersionedModelFormSet, VersionedFormSetMixin)
