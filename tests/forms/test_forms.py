from __future__ import annotations

import datetime
import decimal

import pytest
from django import forms
from django.db import transaction
from django.db.models import QuerySet
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from factories import CustomerFactory, LineFactory, MemoFactory, OrderFactory
from pages import values
from testapp.models import (
    Account,
    Assorted,
    Colour,
    Customer,
    Line,
    Memo,
    Order,
    Page,
    Protected,
    StringKey,
    Unlocked,
)

from optilock import RecordModifiedError, panel
from optilock.changes import FieldState
from optilock.forms import (
    VersionedFormMixin,
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
    tokens,
)
from optilock.forms.form import versioned_form
from optilock.forms.recreate import deleted_instance

pytestmark = pytest.mark.django_db

PLUS_FIVE = datetime.timezone(datetime.timedelta(hours=5))


class OrderForm(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["status", "amount", "currency", "note", "tags"]


@pytest.fixture
def order():
    return OrderFactory(note="old", amount=10)


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
    again = send(order, values(form), optilock_decision_note=choice)
    assert again.is_valid(), again.errors
    assert again.save().note == choice


@pytest.mark.parametrize("choice", ["base", "x", ""])
def test_another_word_is_no_decision(order, choice):
    data = opened(order)
    save(order, data, note="theirs")
    form = send(order, data, note="mine")
    assert not form.is_valid()
    assert not send(order, values(form), optilock_decision_note=choice).is_valid()


def test_a_decision_before_the_question_does_not_count(order):
    data = opened(order)
    save(order, data, note="theirs")
    assert not send(order, data, note="mine", optilock_decision_note="mine").is_valid()
    assert not send(
        order, data, note="mine", optilock_decision_for_all="mine"
    ).is_valid()


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
    again = send(order, values(form), optilock_decision_amount="theirs")
    assert again.is_valid(), again.errors
    assert again.save().amount == 20


def test_groups_are_the_forms_or_the_models(order):
    class Grouped(OrderForm):
        merge_together = [("amount", "currency")]

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
    data = {**values(form), "p-optilock_decision_note": "mine"}
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


def test_long_texts_are_compared_by_their_digests(order, monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 10)  # no room for them
    Order.objects.update(note="x\n" * 5000)
    data = opened(order)
    assert len(data["optilock_token"]) < 500
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
    data = {**rows(formset), "form-0-optilock_decision_quantity": "mine"}
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


# --- a saved form that is shown again -------------------------------------


def later(order, **values):
    """Save as another person, through a form of theirs."""
    return save(order, opened(order), **values)


def saved_by_hand(form):
    instance = form.save(commit=False)
    instance.save()
    form.save_m2m()


@pytest.mark.parametrize("store", [lambda form: form.save(), saved_by_hand])
def test_a_saved_form_shown_again_speaks_of_the_row_as_it_was_saved(order, store):
    form = send(order, opened(order), note="mine")
    assert form.is_valid()
    store(form)
    data = values(form)
    later(order, note="old")  # back to what it was before
    again = send(order, data, status="paid")
    assert again.is_valid(), again.errors
    again.save()
    assert (fresh(order).note, fresh(order).status) == ("old", "paid")


@pytest.mark.parametrize("store", [lambda form: form.save(), saved_by_hand])
def test_a_saved_form_shown_again_does_not_collide_with_itself(order, store):
    red, blue = (Colour.objects.create(name=name) for name in ("red", "blue"))
    form = send(order, opened(order), tags=[red.pk], amount="1.5", note=" x ")
    assert form.is_valid()
    store(form)
    again = send(order, values(form), tags=[red.pk, blue.pk], amount="2")
    assert again.is_valid(), again.errors
    assert again.conflict is None
    again.save()
    assert set(order.tags.all()) == {red, blue}


def test_a_field_that_was_not_written_is_not_told_as_saved(order):
    form = send(order, opened(order), note="mine", status="paid")
    assert form.is_valid()
    form.save(commit=False).save(update_fields=["note"])
    again = send(order, values(form))
    assert again.is_valid()
    again.save()
    assert (fresh(order).note, fresh(order).status) == ("mine", "paid")


def test_a_save_that_was_rolled_back_is_not_told_as_saved(order):
    form = send(order, opened(order), note="mine")
    with transaction.atomic():
        assert form.is_valid()
        form.save()
        transaction.set_rollback(True)
    again = send(order, values(form))
    assert again.is_valid()
    again.save()
    assert fresh(order).note == "mine"


def test_a_form_that_created_an_object_has_a_token_when_it_is_shown_again():
    customer = modelform_factory(Customer, form=VersionedModelForm, fields=["name"])
    form = customer({"name": "mine"})
    assert form.is_valid()
    created = form.save()
    data = values(form)
    again = customer({**data, "name": "new"}, instance=Customer.objects.get())
    assert again.is_valid(), again.errors
    Customer.objects.filter(pk=created.pk).update(name="theirs")
    assert not customer(
        {**data, "name": "new"}, instance=Customer.objects.get()
    ).is_valid()


def test_a_form_alone_locked_shown_again_speaks_of_the_row_as_it_was_saved():
    memo_form = modelform_factory(
        Memo, form=VersionedModelForm, fields=["subject", "body"]
    )
    memo = MemoFactory(subject="old", body="old")
    form = send_memo(memo_form, memo, subject="mine")
    form.save()
    data = values(form)
    send_memo(memo_form, memo, subject="old").save()
    again = memo_form({**data, "body": "new"}, instance=Memo.objects.get())
    assert again.is_valid(), again.errors
    assert again.save().subject == "old"


def send_memo(memo_form, memo, **changes):
    instance = Memo.objects.get(pk=memo.pk)
    form = memo_form(
        {**values(memo_form(instance=instance)), **changes}, instance=instance
    )
    assert form.is_valid(), form.errors
    return form


def test_a_saved_formset_shown_again_speaks_of_the_rows_as_they_were_saved(order):
    line = LineFactory(order=order, quantity=1, comment="old")
    formset_class = inlineformset_factory(
        Order,
        Line,
        fields=["quantity", "comment"],
        formset=VersionedInlineFormSet,
        extra=0,
    )
    data = rows(formset_class(instance=order))
    formset = formset_class({**data, "lines-0-comment": "mine"}, instance=order)
    assert formset.is_valid()
    formset.save()
    data = rows(formset)
    theirs = Line.objects.get(pk=line.pk)
    theirs.comment = "old"
    theirs.save()
    again = formset_class({**data, "lines-0-quantity": 5}, instance=order)
    assert again.is_valid(), again.errors
    again.save()
    line.refresh_from_db()
    assert (line.comment, line.quantity) == ("old", 5)


def test_rows_that_a_formset_has_added_are_not_told_as_somebody_elses(order):
    formset_class = inlineformset_factory(
        Order, Line, fields=["product"], formset=VersionedInlineFormSet, extra=1
    )
    LineFactory(order=order)
    data = rows(formset_class(instance=order))
    formset = formset_class({**data, "lines-1-product": "Pen"}, instance=order)
    assert formset.is_valid(), formset.errors
    formset.save()
    assert "lines-1-optilock_token" not in rows(formset)
    again = formset_class({**rows(formset), "lines-1-product": ""}, instance=order)
    again.is_valid()
    assert again.added == []


# --- what the view has set -------------------------------------------------


def test_what_the_view_has_set_stays_though_somebody_saved_meanwhile(order):
    data, instance = opened(order), fresh(order)
    instance.secret = "set by the view"  # noqa: S105 -- a field
    later(order, status="paid")
    form = OrderForm({**data, "note": "mine"}, instance=instance)
    assert form.is_valid(), form.errors
    form.save()
    saved = fresh(order)
    assert (saved.secret, saved.status, saved.note) == (
        "set by the view",
        "paid",
        "mine",
    )


def test_what_the_view_has_left_alone_is_theirs(order):
    data, instance = opened(order), fresh(order)
    Order.objects.update(secret="theirs")  # noqa: S106 -- a field
    form = OrderForm({**data, "note": "mine"}, instance=instance)
    assert form.is_valid()
    assert form.save().secret == "theirs"  # noqa: S105


def test_what_was_changed_without_a_version_is_not_put_back(order):
    data, instance = opened(order), fresh(order)
    behind(order, secret="theirs")  # noqa: S106 -- a field
    form = OrderForm({**data, "note": "mine"}, instance=instance)
    assert form.is_valid()
    form.save()
    assert fresh(order).secret == "theirs"  # noqa: S105


def test_what_the_view_and_somebody_else_have_set_is_refused(order):
    data, instance = opened(order), fresh(order)
    instance.secret = "set by the view"  # noqa: S105 -- a field
    Order.objects.update(secret="theirs")  # noqa: S106
    form = OrderForm({**data, "note": "mine"}, instance=instance)
    assert form.is_valid()
    with pytest.raises(RecordModifiedError):
        form.save()
    assert fresh(order).secret == "theirs"  # noqa: S105


def test_the_model_may_say_which_of_two_wins():
    page_form = modelform_factory(Page, form=VersionedModelForm, fields=["title"])
    page = Page.objects.create()
    data = values(page_form(instance=page))
    instance = Page.objects.get()
    instance.edited_by = "me"
    Page.objects.update(edited_by="them")
    form = page_form({**data, "title": "new"}, instance=instance)
    assert form.is_valid()
    form.save()
    assert Page.objects.values_list("title", "edited_by").get() == ("new", "me")


def test_where_nothing_is_remembered_what_the_view_may_have_set_is_refused():
    memo_form = modelform_factory(Memo, form=VersionedModelForm, fields=["subject"])
    memo = MemoFactory(subject="old", body="old")
    data = values(memo_form(instance=memo))
    instance = Memo.objects.get()
    instance.body = "set by the view"
    other = Memo.objects.get()
    other.subject = "theirs"
    other.save()
    form = memo_form({**data}, instance=instance)
    assert form.is_valid()
    with pytest.raises(RecordModifiedError):
        form.save()


def test_a_value_that_a_view_suggests_is_not_taken_for_a_stored_one(order):
    instance = fresh(order)
    instance.note = "suggested"
    data = values(OrderForm(instance=instance))
    assert save(order, data).note == "suggested"


# --- values count, whatever the version says -------------------------------


def behind(order, **values):
    """Change a row as something does that raises no version."""
    QuerySet(Order).filter(pk=order.pk).update(**values)


def test_a_change_without_a_version_is_not_overwritten(order):
    data = opened(order)
    behind(order, note="theirs")
    form = send(order, data, status="paid")
    assert form.is_valid(), form.errors
    form.save()
    assert (fresh(order).note, fresh(order).status) == ("theirs", "paid")


def test_a_change_without_a_version_collides(order):
    data = opened(order)
    behind(order, note="theirs")
    form = send(order, data, note="mine")
    assert form.has_error("__all__", "conflict")
    again = send(order, values(form), optilock_decision_note="mine")
    assert again.is_valid(), again.errors
    assert again.save().note == "mine"


def test_a_row_created_again_under_its_key_is_compared(order):
    data = opened(order)
    Order.objects.all().delete()
    Order.objects.create(pk=order.pk, number=order.number, note="theirs", amount=10)
    assert fresh(order).version == 1
    assert not send(order, data, note="mine").is_valid()


def test_a_row_of_a_formset_changed_without_a_version_is_not_overwritten(order):
    line = LineFactory(order=order, comment="old")
    formset_class = modelformset_factory(
        Line, fields=["quantity", "comment"], formset=VersionedModelFormSet, extra=0
    )
    data = rows(formset_class())
    QuerySet(Line).filter(pk=line.pk).update(comment="theirs")
    formset = formset_class({**data, "form-0-quantity": 7})
    assert formset.is_valid(), formset.errors
    formset.save()
    assert Line.objects.values_list("quantity", "comment").get() == (7, "theirs")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("float", 0.1),
        ("decimal", decimal.Decimal("1.50")),
        ("moment", datetime.datetime(2024, 1, 1, 1, 1, 1, 7, datetime.timezone.utc)),
        ("duration", datetime.timedelta(seconds=1, microseconds=3)),
        ("json", {"b": [1, None], "a": "é"}),
        ("text", "a\r\nb \n"),
        ("address", "::ffff:10.0.0.1"),
        ("file", "kinds/a.txt"),
    ],
)
def test_what_nobody_changed_is_no_conflict(name, value):
    form_class = modelform_factory(Assorted, form=VersionedModelForm, fields="__all__")
    Assorted.objects.create(**{name: value})
    data = values(form_class(instance=Assorted.objects.get()))
    data = {key: value for key, value in data.items() if key != "file"}
    form = form_class({**data, "line": "mine"}, instance=Assorted.objects.get())
    assert form.is_valid(), form.errors
    assert form.conflict is None
    form.save()
    again = {key: value for key, value in values(form).items() if key != "file"}
    form = form_class({**again, "line": "again"}, instance=Assorted.objects.get())
    assert form.is_valid(), form.errors
    assert form.conflict is None


# --- fields of the form that aren't the model's ------------------------------


class Placed(VersionedModelForm):
    """Finds some of its values elsewhere, as forms for trees and translations do."""

    title = forms.CharField(required=False)
    after = forms.ModelChoiceField(Order.objects.all(), required=False)
    kinds = forms.MultipleChoiceField(
        choices=[("a", "Apple"), ("b", "Banana")], required=False
    )
    day = forms.DateField(required=False)
    price = forms.DecimalField(required=False)
    moment = forms.SplitDateTimeField(required=False)
    reason = forms.CharField(required=False, initial="none")

    elsewhere = {}

    class Meta:
        model = Order
        fields = ["status", "note"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, initial=dict(self.elsewhere), **kwargs)

    def save(self, commit=True):
        self.elsewhere |= {
            name: self.cleaned_data[name]
            for name in ("title", "after", "kinds", "day", "price", "moment")
        }
        return super().save(commit)


@pytest.fixture
def placed(order):
    Placed.elsewhere = {
        "title": "old\nlines",
        "after": order,
        "kinds": ["a"],
        "day": datetime.date(2024, 1, 1),
        "price": decimal.Decimal("1.50"),
        "moment": datetime.datetime(2024, 1, 1, 12, 30, 15, 7, datetime.timezone.utc),
    }


def opened_placed(order, form=None):
    form = form or Placed(instance=fresh(order))
    data = values(form)
    moment = data.pop("moment")
    if not isinstance(moment, list):
        moment = form.fields["moment"].widget.decompress(moment)
    after = getattr(data["after"], "pk", data["after"])
    kinds = [getattr(one, "pk", one) for one in form["kinds"].value()]
    moments = {"moment_0": str(moment[0]), "moment_1": str(moment[1])}
    title = data["title"].replace("\n", "\r\n")
    return {**data, **moments, "after": after, "kinds": kinds, "title": title}


def changes_elsewhere(order):
    return {
        "title": "theirs",
        "after": OrderFactory(),
        "kinds": ["b"],
        "day": datetime.date(2024, 2, 2),
        "price": decimal.Decimal("2.50"),
        "moment": datetime.datetime(2024, 2, 2, 1, 2, 3, 0, datetime.timezone.utc),
    }


MINE = {
    "title": "mine",
    "after": "",
    "kinds": ["a", "b"],
    "day": "2024-03-03",
    "price": "9",
    "moment_0": "2024-03-03",
}
EXTRAS = ["title", "after", "kinds", "day", "price", "moment"]


@pytest.mark.parametrize("name", EXTRAS)
@pytest.mark.parametrize("bumped", [True, False])
def test_a_field_of_the_form_alone_keeps_what_others_have_saved(
    order, placed, name, bumped
):
    data = opened_placed(order)
    theirs = changes_elsewhere(order)[name]
    Placed.elsewhere[name] = theirs
    if bumped:
        Order.objects.filter(pk=order.pk).update(status="paid")
    form = send(order, data, Placed, note="mine")
    assert form.is_valid(), form.errors
    assert name in form.conflict.merged
    assert form.cleaned_data[name] == theirs
    form.save()
    assert Placed.elsewhere[name] == theirs
    assert fresh(order).note == "mine"


@pytest.mark.parametrize("name", EXTRAS)
def test_a_field_of_the_form_alone_collides(order, placed, name):
    data = opened_placed(order)
    Placed.elsewhere[name] = changes_elsewhere(order)[name]
    mine = {key: value for key, value in MINE.items() if key.startswith(name)}
    form = send(order, data, Placed, **mine)
    assert not form.is_valid()
    assert form.conflict.undecided == [name]
    assert panel.render([form.conflict], subject="it")
    token = form["optilock_token"].value()
    answer = {"optilock_token": token, f"optilock_decision_{name}": "mine"}
    again = send(order, data, Placed, **mine, **answer)
    assert again.is_valid(), again.errors
    again.save()
    assert Placed.elsewhere[name] != changes_elsewhere(order)[name]


class Size:
    """A value of a project's own, which JSON doesn't know."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text

    def __eq__(self, other):
        return isinstance(other, Size) and self.text == other.text

    __hash__ = None


class SizeField(forms.CharField):
    def to_python(self, value):
        return Size(str(value))

    def has_changed(self, initial, data):
        return self.to_python(initial) != self.to_python(data)


class Sized(VersionedModelForm):
    size = SizeField(required=False)

    class Meta:
        model = Order
        fields = ["status", "note"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, initial={"size": Size("small")}, **kwargs)


@pytest.mark.parametrize("bumped", [False, True])
@pytest.mark.parametrize("typed", ["small", "large"])
def test_where_a_value_is_not_json_the_version_tells(order, bumped, typed):
    data = values(Sized(instance=fresh(order)))
    if bumped:
        Order.objects.filter(pk=order.pk).update(status="paid")
    form = send(order, data, Sized, note="mine", size=typed)
    is_asked = bumped and typed == "large"
    assert form.is_valid() is not is_asked
    if is_asked:
        assert form.conflict.undecided == ["size"]
        assert panel.render([form.conflict], subject="it")
    else:
        assert form.cleaned_data["size"] == Size(typed)
        form.save()
        assert fresh(order).note == "mine"
        assert fresh(order).status == ("paid" if bumped else "open")


def test_fields_of_the_form_alone_that_nobody_changed_are_no_conflict(order, placed):
    data = opened_placed(order)
    Order.objects.filter(pk=order.pk).update(status="paid")
    form = send(order, data, Placed, note="mine", reason="because")
    assert form.is_valid(), form.errors
    assert form.conflict.merged == ["status"]
    form.save()
    again = send(order, opened_placed(order, form), Placed, note="again")
    assert again.is_valid(), again.errors
    assert again.conflict is None
    assert "reason" not in form._optilock.next_row().base


def test_a_form_that_has_found_its_values_too_early_is_refused(order, placed):
    data, instance = opened_placed(order), fresh(order)
    later(order, status="paid")
    form = Placed({**data, "note": "mine"}, instance=instance)
    assert form.is_valid(), form.errors
    with pytest.raises(RecordModifiedError):
        form.save()


@pytest.mark.parametrize("has_meta", [True, False])
def test_a_form_that_does_not_know_its_model_yet_becomes_versioned(order, has_meta):
    class Nobodys(forms.ModelForm):
        if has_meta:

            class Meta:
                labels = {"note": "What to know"}

    form = modelform_factory(Order, form=versioned_form(Nobodys), fields=["note"])
    data = values(form(instance=order))
    Order.objects.update(note="theirs")
    assert not send(order, data, form, note="mine").is_valid()


# --- rows that are somebody else's now -----------------------------------------


def test_a_row_that_moved_elsewhere_is_not_told_as_deleted(order):
    LineFactory(order=order, product="Pen")
    formset_class = inlineformset_factory(
        Order, Line, fields=["quantity"], formset=VersionedInlineFormSet, extra=0
    )
    data = rows(formset_class(instance=order))
    Line.objects.update(order=OrderFactory(), product="hush")
    formset = formset_class({**data, "lines-0-quantity": 7}, instance=order)
    assert not formset.is_valid()
    shown = panel.render(formset.conflicts, subject="it")
    assert panel.OUT_OF_SIGHT in shown
    assert 'value="mine"' not in shown
    assert "hush" not in shown
    assert "deleted" not in shown
    data = {**data, **rows(formset), "lines-0-optilock_decision_": "mine"}
    assert not formset_class(data, instance=order).is_valid()
    data["lines-0-optilock_decision_"] = "theirs"
    formset = formset_class(data, instance=order)
    assert formset.is_valid(), formset.errors
    formset.save()
    assert Line.objects.values_list("product", "quantity").get() == ("hush", 1)


def test_a_developer_is_told_which_input_of_a_formset_is_missing(order, settings):
    settings.DEBUG = True
    LineFactory(order=order)
    formset_class = inlineformset_factory(
        Order, Line, fields=["quantity"], formset=VersionedInlineFormSet, extra=0
    )
    data = rows(formset_class(instance=order))
    del data["lines-optilock_token"]
    formset = formset_class(data, instance=order)
    assert not formset.is_valid()
    assert "“lines-optilock_token” wasn't sent" in formset.non_form_errors()[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decimal", 0),
        ("decimal", "1.5"),
        ("integer", 5.0),
        ("date", datetime.datetime(2024, 1, 1, 10)),
        ("moment", datetime.datetime(2024, 1, 1, 10, tzinfo=PLUS_FIVE)),
        ("moment", "2024-01-01T10:00:00+05:00"),
        ("uuid", "12345678123456781234567812345678"),
        ("address", "2001:DB8::1"),
    ],
)
@pytest.mark.parametrize("secret", [False, True])
def test_what_an_object_just_created_has_is_what_its_row_has(name, value, secret):
    form = modelform_factory(Assorted, form=VersionedModelForm, fields=[name, "line"])
    form.secret_fields = [name] * secret
    created = form(instance=Assorted.objects.create(**{name: value}))
    data = values(form(instance=Assorted.objects.get()))
    data |= {"optilock_token": created["optilock_token"].value(), "line": "mine"}
    sent = form(data, instance=Assorted.objects.get())
    assert sent.is_valid(), sent.errors
    assert sent.conflict is None


def test_chosen_objects_that_come_in_another_order_are_the_same():
    class Form(VersionedModelForm):
        friends = forms.ModelMultipleChoiceField(Customer.objects.order_by("name"))

        class Meta:
            model = Order
            fields = ["note"]

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.fields["friends"].initial = Customer.objects.order_by("name")

    first, second = CustomerFactory(name="a"), CustomerFactory(name="b")
    order = OrderFactory()
    data = opened(order, Form) | {"friends": [first.pk, second.pk]}
    Customer.objects.filter(pk=first.pk).update(name="c")
    form = send(order, data, Form, note="mine")
    assert form.is_valid(), form.errors
    assert form.conflict is None


def test_a_password_is_asked_for_again_with_a_conflict_because_no_page_has_it(order):
    class Form(VersionedModelForm):
        class Meta:
            model = Order
            fields = ["note", "secret"]
            widgets = {"secret": forms.PasswordInput}

    data = opened(order, Form) | {"secret": "", "note": "mine"}
    Order.objects.update(note="theirs")
    typed = {"secret": "new"}
    assert send(order, data, Form, **typed).has_error("secret")
    assert not send(order, data, Form).has_error("secret")


class ProtectedForm(VersionedModelForm):
    class Meta:
        model = Protected
        fields = ["name", "state"]


def test_a_protected_attribute_is_brought_up_to_date_as_a_refresh_does_it():
    row = Protected.objects.create(name="old")
    form = modelform_factory(Protected, form=VersionedModelForm, fields=["name"])
    data = values(form(instance=row))
    early = Protected.objects.get()
    Protected.objects.update(state="closed")
    sent = form({**data, "name": "mine"}, instance=early)
    assert sent.is_valid(), sent.errors
    sent.save()
    found = Protected.objects.get()
    assert (found.name, found.state, early.state) == ("mine", "closed", "closed")


def test_a_deleted_row_with_a_protected_attribute_is_shown_as_it_was_opened():
    Protected.objects.create(name="old", state="closed")
    data = values(ProtectedForm(instance=Protected.objects.get()))
    Protected.objects.get().delete()
    found = deleted_instance(Protected, data["optilock_token"])
    assert (found.name, found.state) == ("old", "closed")


def test_a_metaclass_that_asks_for_the_model_of_its_meta_is_answered(order):
    class Asking(type(forms.ModelForm)):
        def __new__(cls, name, bases, attrs):
            if "Meta" in attrs:
                attrs["asked"] = attrs["Meta"].model
            return super().__new__(cls, name, bases, attrs)

    class Form(forms.ModelForm, metaclass=Asking):
        class Meta:
            model = Order
            fields = ["note"]

    form = versioned_form(Form)(instance=order)
    assert {*form.fields} == {"note", "optilock_token"}


class NoteAlso(VersionedModelForm):
    compare_also = ["note"]

    class Meta:
        model = Order
        fields = ["status", "amount"]


def test_a_field_that_counts_is_on_no_page(order):
    form = NoteAlso(instance=order)
    assert 'name="note"' not in str(form)
    assert "note" not in NoteAlso.base_fields


def test_a_change_of_a_field_that_counts_is_asked_about(order):
    data = opened(order, NoteAlso)
    Order.objects.update(note="theirs")
    form = send(order, data, NoteAlso, status="paid")
    assert not form.is_valid()
    assert form.has_error("__all__", "conflict")
    assert form.conflict.collisions == ["note"]
    change = form.conflict["note"]
    assert (change.base, change.mine, change.theirs) == ("old", "old", "theirs")
    assert 'href="#' not in panel.render([form.conflict], subject=order)


@pytest.mark.parametrize(
    ("choice", "found"), [("mine", ("old", "paid")), ("theirs", ("theirs", "open"))]
)
def test_a_decision_about_it_is_one_about_the_whole_form(order, choice, found):
    data = opened(order, NoteAlso)
    Order.objects.update(note="theirs")
    again = values(send(order, data, NoteAlso, status="paid"))
    form = send(order, again, NoteAlso, status="paid")
    assert not form.is_valid()
    again = values(form) | {"optilock_decision_note": choice}
    save_form = NoteAlso(again, instance=fresh(order))
    assert save_form.is_valid(), save_form.errors
    save_form.save()
    assert Order.objects.values_list("note", "status").get() == found


def test_what_did_not_change_is_not_asked_about(order):
    data = opened(order, NoteAlso)
    Order.objects.update(amount=11)
    form = send(order, data, NoteAlso, status="paid", note="sent by hand")
    assert form.is_valid(), form.errors
    form.save()
    found = Order.objects.values_list("note", "status", "amount").get()
    assert found == ("old", "paid", 11)


def test_a_field_that_counts_and_is_on_the_form_is_an_ordinary_one(order):
    class Both(NoteAlso):
        class Meta:
            model = Order
            fields = ["status", "note"]

    data = opened(order, Both)
    Order.objects.update(note="theirs")
    form = send(order, data, Both, status="paid")
    assert form.is_valid()
    assert form.save().note == "theirs"
