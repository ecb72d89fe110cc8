"""Corners of forms: values that no form expects, and rows that are made again."""

from __future__ import annotations

import datetime

import pytest
from django import forms
from django.core.files.base import ContentFile
from django.db.models import F
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from factories import LineFactory, OrderFactory
from pages import values
from testapp.models import (
    Assorted,
    Colour,
    FieldAlone,
    Line,
    Order,
    Page,
    Scan,
    StringKey,
)

from optilock import RecordModifiedError, panel
from optilock.forms import (
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
    tokens,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    return OrderFactory(note="old", amount=10)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def rows(formset):
    data = values(formset.management_form)
    for form in formset:
        data |= values(form)
    return data


# --- values ------------------------------------------------------------------


class Placed(VersionedModelForm):
    """Finds some of its values elsewhere."""

    title = forms.CharField(required=False)
    day = forms.DateField(required=False)
    kinds = forms.MultipleChoiceField(choices=[("a", "Apple"), ("b", "Banana")])

    class Meta:
        model = Order
        fields = ["note"]

    def __init__(self, *args, title="old", day=None, kinds=("a",), **kwargs):
        initial = {"title": title, "day": day, "kinds": list(kinds)}
        super().__init__(*args, initial=initial, **kwargs)


def test_a_value_that_is_no_value_collides_with_what_was_saved_elsewhere(order):
    data = values(Placed(instance=fresh(order)))
    form = Placed(
        {**data, "day": "soon"}, instance=fresh(order), day=datetime.date(2024, 1, 1)
    )
    assert not form.is_valid()
    assert form.conflict.undecided == ["day"]
    assert form.conflict["day"].mine == "soon"


@pytest.mark.parametrize(
    ("typed", "undecided"), [("old", []), ("mine", ["title"]), ("", ["title"])]
)
def test_a_secret_of_the_form_alone_is_compared(order, typed, undecided):
    class Secret(Placed):
        secret_fields = ["title"]

    data = values(Secret(instance=fresh(order)))
    form = Secret({**data, "title": typed}, instance=fresh(order), title="theirs")
    assert form.is_valid() is not bool(undecided)
    assert form.conflict.undecided == undecided


def test_theirs_is_refused_if_it_cannot_be_chosen_any_more(order):
    data = values(Placed(instance=fresh(order)))
    form = Placed({**data, "note": "mine"}, instance=fresh(order), kinds=["z"])
    assert not form.is_valid()
    assert form.has_error("kinds", "conflict")


def test_a_value_that_its_field_takes_no_more_counts_as_changed(order, monkeypatch):
    form_class = modelform_factory(
        Order, form=VersionedModelForm, fields=["note", "status"]
    )
    data = values(form_class(instance=fresh(order)))
    Order.objects.update(note="theirs")
    field = Order._meta.get_field("note")
    stored = field.get_db_prep_save

    def only_new_ones(value, connection):
        if value == "old":
            raise ValueError("This was a note once.")
        return stored(value, connection)

    monkeypatch.setattr(field, "get_db_prep_save", only_new_ones)
    form = form_class({**data, "status": "paid"}, instance=fresh(order))
    assert form.is_valid(), form.errors
    form.save()
    assert (fresh(order).note, fresh(order).status) == ("theirs", "paid")


def test_where_an_input_shows_microseconds_they_count():
    moment = datetime.datetime(2024, 1, 1, 1, 1, 1, 7, datetime.timezone.utc)
    row = Assorted.objects.create(moment=moment)
    form_class = modelform_factory(
        Assorted,
        form=VersionedModelForm,
        fields=["moment", "line"],
        widgets={"moment": forms.TextInput},
    )
    data = values(form_class(instance=fresh(row)))
    Assorted.objects.update(moment=moment.replace(microsecond=8))
    form = form_class({**data, "line": "mine"}, instance=fresh(row))
    assert form.is_valid(), form.errors
    assert form.conflict.merged == ["moment"]
    mine = str(moment.replace(microsecond=9))
    form = form_class({**data, "moment": mine}, instance=fresh(row))
    assert not form.is_valid()
    assert form.conflict.undecided == ["moment"]


class NoteAlso(VersionedModelForm):
    compare_also = ["note"]

    class Meta:
        model = Order
        fields = ["status"]


class SecretNoteAlso(NoteAlso):
    secret_fields = ["note"]


@pytest.mark.parametrize("form_class", [NoteAlso, SecretNoteAlso])
def test_a_text_that_counts_is_asked_about_where_the_token_has_only_its_digest(
    order, monkeypatch, form_class
):
    monkeypatch.setattr(tokens, "MOST", 10)
    Order.objects.update(note="old " * 1000)
    data = {**values(form_class(instance=fresh(order))), "status": "paid"}
    assert form_class(data, instance=fresh(order)).is_valid()
    Order.objects.update(note="by bob")
    form = form_class(data, instance=fresh(order))
    assert not form.is_valid()
    assert form.conflict.undecided == ["note"]
    shown = panel.render([form.conflict], subject=order)
    assert ("by bob" in shown) is not bool(form.secret_fields)
    data = {**values(form), "optilock_decision_note": "mine"}
    form = form_class(data, instance=fresh(order))
    assert form.is_valid(), form.errors
    form.save()
    # What it was, nobody knows: it stays as they have saved it.
    assert (fresh(order).note, fresh(order).status) == ("by bob", "paid")


def test_an_expression_is_not_told_as_what_was_saved():
    form_class = modelform_factory(
        FieldAlone, form=VersionedModelForm, fields=["name", "number"]
    )
    row = FieldAlone.objects.create(name="old", number=1)
    row.number = F("number") + 1
    assert form_class(instance=row)._optilock.next_row().base == {"name": "old"}


def test_editing_both_to_theirs_is_no_change_of_mine(order):
    form_class = modelform_factory(Order, form=VersionedModelForm, fields=["note"])
    data = values(form_class(instance=fresh(order)))
    Order.objects.update(note="theirs")
    form = form_class({**data, "note": "mine"}, instance=fresh(order))
    assert not form.is_valid()
    both = {"optilock_decision_note": "both", "optilock_edited_note": "theirs"}
    form = form_class({**values(form), **both}, instance=fresh(order))
    assert form.is_valid(), form.errors
    assert form.changed_data == []
    assert form.save().note == "theirs"


def test_a_decision_of_the_model_that_comes_to_nothing_is_a_refusal():
    page_form = modelform_factory(Page, form=VersionedModelForm, fields=["title"])
    page = Page.objects.create()
    data = values(page_form(instance=page))
    instance = Page.objects.get()
    instance.body = "one\nset by the view\nthree\n"
    Page.objects.update(body="one\ntheirs\nthree\n")
    form = page_form({**data, "title": "new"}, instance=instance)
    assert form.is_valid()
    with pytest.raises(RecordModifiedError):
        form.save()
    assert Page.objects.values_list("title", "body").get() == (
        "Title",
        "one\ntheirs\nthree\n",
    )


# --- files -------------------------------------------------------------------


class ScanForm(VersionedModelForm):
    file = forms.FileField()

    class Meta:
        model = Scan
        fields = ["title", "file"]


def upload(name, content=b"x"):
    return ContentFile(content, name=name)


@pytest.fixture
def scan():
    return Scan.objects.create(assorted=Assorted.objects.create(), title="old")


def collide_over_the_title(scan, files):
    data = values(ScanForm(instance=fresh(scan)))
    Scan.objects.update(title="theirs")
    form = ScanForm({**data, "title": "mine"}, files, instance=fresh(scan))
    assert not form.is_valid()
    assert form.conflict.undecided == ["title"]
    return form


def test_a_file_that_has_to_be_there_can_only_be_chosen_again(scan):
    form = collide_over_the_title(scan, {"file": upload("a.txt")})
    assert form.errors["file"] == ["You had chosen a.txt: choose it again."]
    assert "checkbox" not in str(form["file"])


def test_a_file_that_cannot_be_saved_is_not_asked_for_again(scan):
    form = collide_over_the_title(scan, {"file": upload("a.txt", b"")})
    assert form.errors["file"] == ["The submitted file is empty."]


# --- rows --------------------------------------------------------------------


def test_a_formset_of_what_has_no_version_is_djangos():
    formset_class = modelformset_factory(
        Colour, fields=["name"], formset=VersionedModelFormSet, extra=0
    )
    Colour.objects.create(name="old")
    data = rows(formset_class())
    assert not any("optilock" in name for name in data)
    formset = formset_class({**data, "form-0-name": "new"})
    assert formset.is_valid(), formset.errors
    formset.save()
    assert Colour.objects.get().name == "new"


def test_a_deleted_row_is_asked_about_where_its_key_is_typed():
    formset_class = modelformset_factory(
        StringKey, fields=["code", "name"], formset=VersionedModelFormSet, extra=0
    )
    StringKey.objects.create(code="a", name="old")
    data = rows(formset_class())
    StringKey.objects.all().delete()
    formset = formset_class({**data, "form-0-name": "mine"})
    assert not formset.is_valid()
    assert [one.question for one in formset.conflicts] == ["deleted"]
    data = {**data, **rows(formset), "form-0-optilock_decision_": "mine"}
    formset = formset_class(data)
    assert formset.is_valid(), formset.errors
    formset.save()
    assert StringKey.objects.values_list("code", "name").get() == ("a", "mine")


def test_a_row_that_is_wanted_back_can_be_saved_later(order):
    LineFactory(order=order, product="Pen")
    formset_class = inlineformset_factory(
        Order, Line, fields=["product"], formset=VersionedInlineFormSet, extra=0
    )
    data = rows(formset_class(instance=order))
    Line.objects.all().delete()
    formset = formset_class({**data, "lines-0-product": "Ink"}, instance=order)
    assert not formset.is_valid()
    data = {**data, **rows(formset), "lines-0-optilock_decision_": "mine"}
    formset = formset_class(data, instance=order)
    assert formset.is_valid(), formset.errors
    [line] = formset.save(commit=False)
    assert formset.new_objects == [line]
    assert not Line.objects.exists()
    line.save()
    formset.save_m2m()
    assert order.lines.get().product == "Ink"
