from __future__ import annotations

import pytest
from django import forms
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from factories import LineFactory, OrderFactory
from testapp.models import Account, Colour, Line, Order, StringKey, Unlocked

from optilock import RecordModifiedError
from optilock.conflicts import FieldState
from optilock.forms import (
    VersionedFormMixin,
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
    versioned_form,
)

pytestmark = pytest.mark.django_db


class OrderForm(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["status", "amount", "currency", "note", "tags"]


@pytest.fixture
def order():
    return OrderFactory(note="old", amount=10)


def values(form):
    """What a browser sends back for a form nobody touched."""
    data = {}
    for bound in form:
        value = bound.value()
        if isinstance(value, list):
            value = [one.pk for one in value]
        data[bound.html_name] = "" if value is None else value
    return data


def fresh(order):
    return Order.objects.get(pk=order.pk)


def opened(order, form=OrderForm):
    return values(form(instance=fresh(order)))


def send(order, data, form=OrderForm, **changes):
    return form({**data, **changes}, instance=fresh(order))


def save(order, data, **changes):
    form = send(order, data, **changes)
    assert form.is_valid(), form.errors
    return form.save()


def test_the_token_is_a_hidden_field_whatever_fields_says(order):
    assert "optilock_token" in [
        f.name for f in OrderForm(instance=order).hidden_fields()
    ]
    assert "optilock_token" not in OrderForm.base_fields


def test_a_form_for_a_new_object_has_no_token():
    assert "optilock_token" not in OrderForm().fields


def test_a_form_for_a_model_without_a_version_is_djangos():
    form = modelform_factory(Unlocked, form=VersionedModelForm, fields="__all__")
    instance = Unlocked.objects.create(name="n")
    assert "optilock_token" not in form(instance=instance).fields


def test_a_plain_model_form_behaves_as_in_django(order):
    plain = modelform_factory(Order, fields=["note"])
    Order.objects.update(note="theirs")
    form = plain({"note": "mine"}, instance=fresh(order))
    assert form.save().note == "mine"


def test_what_does_not_overlap_is_merged(order):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, status="paid")
    assert form.is_valid()
    assert form.conflict.merged == ["note"]
    assert form.changed_data == ["status"]
    assert form.cleaned_data["note"] == "theirs"
    assert form.save().note == "theirs"


def test_a_collision_is_an_error_with_a_code(order):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, note="mine")
    assert not form.is_valid()
    assert form.has_error("__all__", "conflict")
    assert form.conflict["note"].state is FieldState.COLLIDING
    assert form.conflict.undecided == ["note"]
    assert form["note"].value() == "mine"


def test_nobody_elses_change_is_no_conflict(order):
    form = send(order, opened(order), note="mine")
    assert form.is_valid()
    assert form.conflict is None


@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_a_decision_is_applied(order, choice):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, note="mine")
    assert not form.is_valid()
    again = send(order, values(form), optilock_choice_note=choice)
    assert again.is_valid(), again.errors
    assert again.save().note == choice


@pytest.mark.parametrize("choice", ["base", "x", ""])
def test_another_word_is_no_decision(order, choice):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, note="mine")
    assert not form.is_valid()
    assert not send(order, values(form), optilock_choice_note=choice).is_valid()


def test_a_decision_before_the_question_does_not_count(order):
    data = opened(order)
    save(order, data, note="theirs")
    assert not send(order, data, note="mine", optilock_choice_note="mine").is_valid()
    assert not send(order, data, note="mine", optilock_choice_for_all="mine").is_valid()


def test_editing_to_their_value_settles_the_question(order):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, note="mine")
    assert not form.is_valid()
    assert send(order, values(form), note="theirs").is_valid()


def test_an_invalid_value_collides_with_theirs(order):
    data = opened(order)
    save(order, data, amount="20")
    form = send(order, data, amount="x")
    assert form.has_error("__all__", "conflict")
    assert form.has_error("amount", "invalid")
    again = send(order, values(form), optilock_choice_amount="theirs")
    assert again.is_valid(), again.errors
    assert again.save().amount == 20


def test_groups_are_the_forms_or_the_models(order):
    class Grouped(OrderForm):
        conflict_groups = [("amount", "currency")]

    data = opened(order)
    save(order, data, amount="20")
    assert send(order, data, currency="USD").is_valid()
    assert not send(order, data, Grouped, currency="USD").is_valid()


def test_a_clean_that_forgets_super_does_not_switch_it_off(order):
    class Forgetful(OrderForm):
        def clean(self):
            return None

    data = opened(order)
    save(order, data, note="theirs")
    assert not send(order, data, Forgetful, note="mine").is_valid()


def test_disabled_fields_keep_what_is_saved(order):
    class Disabled(OrderForm):
        note = forms.CharField(disabled=True, required=False)

    data = opened(order, Disabled)
    save(order, opened(order), note="theirs")
    form = send(order, data, Disabled, status="paid")
    assert form.save().note == "theirs"
    assert "old" not in str(form.conflict)


def test_a_field_that_is_not_the_models_is_left_alone(order):
    class Extra(OrderForm):
        reason = forms.CharField()

    data = opened(order, Extra)
    save(order, opened(order), note="theirs")
    form = send(order, data, Extra, reason="because")
    assert form.is_valid()
    assert form.cleaned_data["reason"] == "because"


def test_a_prefix_is_honoured(order):
    data = values(OrderForm(instance=fresh(order), prefix="p"))
    save(order, opened(order), note="theirs")
    data["p-note"] = "mine"
    form = OrderForm(data, instance=fresh(order), prefix="p")
    assert not form.is_valid()
    data = {**values(form), "p-optilock_choice_note": "mine"}
    assert OrderForm(data, instance=fresh(order), prefix="p").is_valid()


def test_a_row_deleted_meanwhile_is_an_error(order):
    data, instance = opened(order), fresh(order)
    Order.objects.all().delete()
    form = OrderForm(data, instance=instance)
    assert not form.is_valid()
    assert form.has_error("__all__", "deleted")
    assert form.conflict.deleted


def test_an_instance_read_before_anothers_commit_is_brought_up_to_date(order):
    data, instance = opened(order), fresh(order)
    save(order, data, note="theirs", status="paid")
    form = OrderForm({**data, "amount": "20"}, instance=instance)
    assert form.is_valid()
    form.save()
    saved = fresh(order)
    assert (saved.note, saved.status, saved.amount) == ("theirs", "paid", 20)


def test_a_race_after_validation_is_refused_by_the_lock(order):
    form = send(order, opened(order), note="mine")
    assert form.is_valid()
    Order.objects.update(note="theirs")
    with pytest.raises(RecordModifiedError):
        form.save()


def test_long_texts_are_compared_by_their_digests(order):
    Order.objects.update(note="x\n" * 5000)
    data = opened(order)
    assert len(data["optilock_token"]) < 1000
    Order.objects.update(note="theirs")
    data["note"] = data["note"].replace("\n", "\r\n")
    assert send(order, data, status="paid").is_valid()
    assert not send(order, data, note=data["note"] + "y").is_valid()


@pytest.mark.parametrize("lines", [2, 5000])
def test_what_another_form_did_to_a_text_is_not_a_change(order, lines):
    Order.objects.update(note="x\n" * lines)
    data = opened(order)
    # Only the status was changed; browsers end lines as the standard says.
    Order.objects.update(note="\r\n".join(["x"] * lines), status="paid")
    save(order, data, note="mine")
    assert (fresh(order).note, fresh(order).status) == ("mine", "paid")


def test_a_text_that_no_form_has_stripped_is_a_change(order):
    class Exact(OrderForm):
        note = forms.CharField(strip=False)

    Order.objects.update(note="theirs ")
    data = opened(order, Exact)
    Order.objects.update(note="theirs")
    form = send(order, data, Exact, status="paid")
    assert form.is_valid()
    assert form.save().note == "theirs"


def test_validation_costs_one_query(order, django_assert_num_queries):
    form = send(order, {**opened(order), "tags": []}, note="mine")
    with django_assert_num_queries(1):
        assert form.is_valid()


def test_many_to_many_rows_added_without_a_version_are_seen(order):
    tag = Colour.objects.create(name="red")
    data = opened(order)
    order.tags.add(tag)
    form = send(order, data, note="mine")
    assert form.is_valid()
    form.save()
    assert list(order.tags.all()) == [tag]


def rows(formset):
    data = values(formset.management_form)
    for form in formset:
        data |= values(form)
    return data


def test_a_formset_notices_rows_somebody_changed(order):
    LineFactory.create_batch(2, order=order)
    formset_class = modelformset_factory(
        Line, fields=["quantity"], formset=VersionedModelFormSet, extra=0
    )
    lines = Line.objects.order_by("pk")
    data = rows(formset_class(queryset=lines))
    Line.objects.filter(pk=lines[0].pk).update(quantity=5)
    formset = formset_class({**data, "form-1-quantity": 7}, queryset=lines.all())
    assert formset.is_valid(), formset.errors
    formset.save()
    assert list(lines.values_list("quantity", flat=True)) == [5, 7]
    formset = formset_class({**data, "form-0-quantity": 7}, queryset=lines.all())
    assert not formset.is_valid()
    assert formset.non_form_errors().as_data()[0].code == "conflict"
    data = {**rows(formset), "form-0-optilock_choice_quantity": "mine"}
    formset = formset_class(data, queryset=lines.all())
    assert formset.is_valid(), formset.errors
    formset.save()
    assert Line.objects.order_by("pk")[0].quantity == 7


def test_an_inline_formset_notices_rows_somebody_deleted(order):
    LineFactory.create_batch(2, order=order, product="Pen")
    formset_class = inlineformset_factory(
        Order, Line, fields=["quantity"], formset=VersionedInlineFormSet, extra=0
    )
    data = rows(formset_class(instance=order))
    Line.objects.first().delete()
    formset = formset_class({**data, "lines-0-quantity": 7}, instance=order)
    assert not formset.is_valid()
    assert [c.question for c in formset.conflicts] == ["deleted"]


def test_a_formsets_forms_become_versioned():
    formset_class = modelformset_factory(
        Account, fields=["owner"], formset=VersionedModelFormSet
    )
    assert issubclass(formset_class.form, VersionedFormMixin)


def test_a_key_cannot_be_changed():
    form_class = modelform_factory(StringKey, form=VersionedModelForm, fields="__all__")
    instance = StringKey.objects.create(code="a", name="n")
    data = {**values(form_class(instance=instance)), "code": "b"}
    form = form_class(data, instance=StringKey.objects.get())
    assert not form.is_valid()
    assert form.has_error("code", "key_changed")
    assert form.instance.pk == "a"


def test_versioned_form_keeps_the_fields_of_the_finished_class():
    plain = modelform_factory(Order, fields=["note"])
    plain.base_fields["note"].label = "Changed afterwards"
    assert versioned_form(plain).base_fields["note"].label == "Changed afterwards"


def test_the_ends_of_lines_alone_are_no_change(order):
    Order.objects.update(note="a\nb")
    form = send(order, opened(order), note="a\r\nb")
    assert form.is_valid()
    assert form.changed_data == []
