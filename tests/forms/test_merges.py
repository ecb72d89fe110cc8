"""What both have changed, and what nobody has to be asked about."""

from __future__ import annotations

import sys
import time

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.forms import modelform_factory, modelformset_factory
from django.template.loader import get_template
from factories import OrderFactory
from pages import values
from testapp.models import Assorted, Colour, Memo, Order

from optilock import FieldState, panel
from optilock.forms import VersionedModelForm, VersionedModelFormSet, tokens
from optilock.panel import Author

pytestmark = pytest.mark.django_db

OLD = "One.\n\nTwo.\n\nThree."
MINE = "ONE.\n\nTwo.\n\nThree."
THEIRS = "One.\n\nTwo.\n\nTHREE."
BOTH = "ONE.\n\nTwo.\n\nTHREE."


class OrderForm(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["status", "amount", "note", "tags"]


@pytest.fixture
def order():
    return OrderFactory(note=OLD, amount=10)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def opened(row, form_class=OrderForm, **kwargs):
    """Return what a browser sends back of a page that was opened now."""
    return values(form_class(instance=fresh(row), **kwargs))


def send(row, data, form_class=OrderForm, **changes):
    form = form_class({**data, **changes}, instance=fresh(row))
    form.is_valid()
    return form


def collide(order, theirs, mine, form_class=OrderForm, *, name="note", **kwargs):
    """Return the form that was opened before theirs was saved."""
    data = opened(order, form_class)
    type(order).objects.update(**{name: theirs})
    return send(order, data, form_class, **{name: mine}, **kwargs)


def save(form):
    assert form.is_valid()
    return form.save()


def news(form):
    return [one.about(Author("bob")) for one in panel.find_news([form.conflict])]


@pytest.fixture
def decide(monkeypatch):
    """Say what is to become of an order's fields, whenever both change them."""
    return lambda **decisions: monkeypatch.setattr(Order, "merge_decisions", decisions)


def add_both(change):
    return change.theirs + change.mine - change.base


@pytest.fixture
def colours():
    return [Colour.objects.create(name=name) for name in "abc"]


# --- texts -------------------------------------------------------------------


def test_edits_of_different_paragraphs_are_merged_and_told(order):
    form = collide(order, THEIRS, MINE)
    assert form.is_valid()
    assert form.conflict["note"].state is FieldState.MERGED
    assert form.conflict.mixed == ["note"]
    assert not form.conflict.asks
    assert form.changed_data == ["note"]
    form.save()
    assert fresh(order).note == BOTH
    assert news(form) == ["Merged: your changes and those of bob are in Note."]


@pytest.mark.parametrize("paragraphs", [1000, 20_000])
def test_long_texts_are_merged(order, paragraphs):
    between = "\n".join(f"Paragraph {number}." for number in range(paragraphs))
    old, mine, theirs, both = (
        text.replace("Two.", between) for text in (OLD, MINE, THEIRS, BOTH)
    )
    Order.objects.update(note=old)
    form = collide(order, theirs, mine.replace("\n", "\r\n"))
    assert save(form).note == both.replace("\n", "\r\n")


def test_the_ends_of_lines_and_of_the_text_make_no_difference(order):
    Order.objects.update(note=OLD.replace("\n", "\r\n") + "\r\n")
    form = collide(order, THEIRS + "\n", MINE.replace("\n", "\r\n"))
    assert save(form).note == BOTH.replace("\n", "\r\n")


def test_my_changes_that_they_have_made_too_are_theirs(order):
    form = collide(order, BOTH, MINE)
    assert form.is_valid()
    assert (form.conflict.merged, form.conflict.mixed) == (["note"], [])
    assert form.changed_data == []
    assert form.save().note == BOTH


def test_a_merged_text_is_validated(order):
    class Short(OrderForm):
        def clean_note(self):
            note = self.cleaned_data["note"]
            if "ONE" in note and "THREE" in note:
                raise ValidationError("Too loud.")
            return note

        def clean(self):
            self.seen = self.cleaned_data.get("note")

    form = collide(order, THEIRS, MINE, Short)
    assert form.errors == {"note": ["Too loud."]}
    # It is there to be corrected, and is theirs from now on.
    assert form["note"].value() == BOTH
    form = send(order, values(form), Short, note=MINE)
    assert form.is_valid()
    assert form.seen == MINE
    assert form.save().note == MINE


def test_what_is_shown_as_merged_can_be_taken_out_again(order):
    form = collide(order, THEIRS, MINE, amount="a lot")
    assert not form.is_valid()
    assert form["note"].value() == BOTH
    form = send(order, values(form), note=OLD, amount="10")
    assert save(form).note == OLD
    assert form.conflict is None


def test_what_an_earlier_page_has_merged_is_told_when_it_is_saved(order, colours):
    a, b, c = colours
    order.tags.set([a])
    data = opened(order)
    order.tags.set([a, b])
    Order.objects.update(note=THEIRS)
    form = send(order, data, note=MINE, tags=[c.pk], amount="a lot")
    for _ in range(2):
        assert not form.is_valid()
        assert form.conflict.mixed == ["note", "tags"]
        form = send(order, values(form))
    form = send(order, values(form), amount="10", note=BOTH + "\n\nFour.")
    assert save(form).note == BOTH + "\n\nFour."
    assert news(form) == ["Merged: your changes and those of bob are in Note and Tags."]


def test_what_an_earlier_page_has_merged_can_collide_with_what_is_saved_since(order):
    form = collide(order, THEIRS, MINE, amount="a lot")
    Order.objects.update(note=THEIRS.replace("One.", "One, as they say."))
    form = send(order, values(form), amount="10")
    assert not form.is_valid()
    assert form.conflict.undecided == ["note"]


def test_what_they_take_back_after_it_was_merged_is_taken_back(order):
    form = collide(order, THEIRS, MINE, amount="a lot")
    Order.objects.update(note=OLD)
    form = send(order, values(form), amount="10")
    assert save(form).note == MINE


def test_what_an_earlier_page_has_merged_is_listed_once(order):
    data = opened(order)
    Order.objects.update(note=THEIRS, status="paid")
    form = send(order, data, note=MINE, status="shipped")
    for _ in range(2):
        assert not form.is_valid()
        shown = panel.render([form.conflict], subject=order)
        assert "1 change was merged for you." in shown
        form = send(order, values(form))


def test_what_both_take_back_after_it_was_merged_is_no_merge_any_more(order):
    form = collide(order, THEIRS, MINE, amount="a lot")
    Order.objects.update(note=OLD)
    form = send(order, values(form), note=THEIRS, amount="10")
    assert save(form).note == OLD
    assert form.conflict.mixed == []


@pytest.fixture
def overlapping(order):
    """The second paragraph is changed by both; of the others each by one."""
    mine = MINE.replace("Two.", "Two, as I say.")
    theirs = THEIRS.replace("Two.", "Two, as they say.")
    form = collide(order, theirs, mine)
    assert form.errors.as_data().keys() == {"__all__"}
    assert form.conflict.undecided == ["note"]
    return form


@pytest.mark.parametrize(
    ("decision", "note", "text"),
    [
        ("mine", "Two, as I say.", "You have overwritten what bob had saved: Note."),
        ("theirs", "Two, as they say.", "Merged: your changes and those of bob are in"),
    ],
)
def test_a_decision_is_about_the_passages_that_overlap(
    order, overlapping, decision, note, text
):
    data = values(overlapping)
    form = send(order, data, optilock_decision_note=decision)
    save(form)
    assert fresh(order).note == BOTH.replace("Two.", note)
    assert len(news(form)) == 1
    assert news(form)[0].startswith(text)


def test_the_page_shows_only_the_passages_that_overlap(overlapping):
    conflict = overlapping.conflict
    for side in ("mine", "theirs"):
        shown = panel.show(conflict, "note", side)
        assert "ONE" not in shown
        assert "THREE" not in shown
    assert panel.show(conflict, "note", "base") == "Two."
    assert "as I say" in panel.show(conflict, "note", "mine")


def test_both_can_be_edited(order, overlapping):
    proposal = overlapping.conflict.proposal("note")
    assert "as I say" in proposal
    assert "as they say" in proposal
    assert "ONE" in proposal
    edited = "ONE.\r\n\r\nTwo, as we both say.\r\n\r\nTHREE.  "
    both = {"optilock_decision_note": "both", "optilock_edited_note": edited}
    form = send(order, values(overlapping), **both)
    save(form)
    assert fresh(order).note == edited.strip()
    assert news(form) == ["You have overwritten what bob had saved: Note."]


def test_both_as_proposed_overwrite_nobody(order, overlapping):
    proposal = overlapping.conflict.proposal("note").replace("\n", "\r\n")
    both = {"optilock_decision_note": "both", "optilock_edited_note": proposal}
    form = send(order, values(overlapping), **both)
    assert save(form).note == proposal
    assert news(form) == ["Merged: your changes and those of bob are in Note."]


def test_both_with_what_they_have_deleted_is_told_as_overwritten(order):
    form = collide(order, "One.\n\nThree.", OLD.replace("Two.", "Two!"))
    assert form.conflict.undecided == ["note"]
    form = send(order, values(form), optilock_decision_note="both")
    assert form.is_valid()
    assert news(form) == ["You have overwritten what bob had saved: Note."]


def test_what_was_edited_is_validated(order, overlapping):
    class Strict(OrderForm):
        note = forms.CharField(max_length=10)

    edited = {"optilock_decision_note": "both", "optilock_edited_note": "x" * 11}
    form = send(order, values(overlapping), Strict, **edited)
    assert "note" in form.errors
    assert form.conflict.proposal("note") == "x" * 11


def test_nothing_that_was_edited_is_lost_to_a_third_writer(order, overlapping):
    edited = BOTH.replace("Two.", "Two, as we say.")
    both = {"optilock_decision_note": "both", "optilock_edited_note": edited}
    third = THEIRS.replace("Two.", "Two, as they say.").replace("One.", "Uno.")
    Order.objects.update(note=third)
    form = send(order, values(overlapping), **both)
    assert not form.is_valid()
    assert form.conflict.undecided == ["note"]
    proposal = form.conflict.proposal("note")
    assert "as we say" in proposal
    assert "Uno." in proposal
    both["optilock_edited_note"] = proposal
    form = send(order, values(form), **both)
    assert save(form).note == proposal


@pytest.mark.parametrize("decision", ["both", ""])
def test_what_was_edited_is_asked_about_although_nothing_collides_any_more(
    order, overlapping, decision
):
    edited = {"optilock_edited_note": "what I typed"}
    if decision:
        edited["optilock_decision_note"] = decision
    Order.objects.update(note=OLD)  # a third person takes it back
    form = send(order, values(overlapping), **edited)
    assert form.conflict.undecided == ["note"]
    assert "what I typed" in form.conflict.proposal("note")
    assert "ONE" in panel.show(form.conflict, "note", "mine")
    edited["optilock_decision_note"] = "both"
    form = send(order, values(form), **edited)
    assert save(form).note == "what I typed"


@pytest.mark.parametrize(
    ("decision", "asks", "note"),
    [("mine", False, "ann's"), ("theirs", True, "old")],
)
def test_theirs_is_never_answered_with_mine(order, decision, asks, note):
    Order.objects.update(note="old")
    form = collide(order, "bob's", "ann's")
    Order.objects.update(note="old")  # a third person takes it back
    decided = {"optilock_decision_note": decision}
    form = send(order, values(form), **decided)
    assert form.is_valid() is not asks
    if asks:
        form = send(order, values(form), **decided)
    assert save(form).note == note
    assert fresh(order).note == note


def test_what_was_edited_but_not_chosen_stays(order, overlapping):
    form = send(order, values(overlapping), optilock_edited_note="what I typed")
    assert not form.is_valid()
    assert form.conflict.proposal("note") == "what I typed"


def test_one_line_that_both_changed_is_a_question_as_ever(order):
    Order.objects.update(note="old")
    form = collide(order, "bob's", "ann's")
    assert form.conflict.undecided == ["note"]
    assert form.conflict.proposal("note") == "bob's\nann's"
    form = send(order, values(form), optilock_decision_note="theirs")
    assert form.is_valid()
    assert form.conflict.mixed == []
    assert form.changed_data == []


def test_a_line_of_text_has_no_passages():
    memo = Memo.objects.create(subject="old")
    form_class = modelform_factory(Memo, form=VersionedModelForm, fields=["subject"])
    form = collide(memo, "theirs", "mine", form_class, name="subject")
    assert form.conflict.undecided == ["subject"]
    assert form.conflict.merges.texts == {}
    both = {"optilock_decision_subject": "both", "optilock_edited_subject": "both"}
    assert not send(memo, values(form), form_class, **both).is_valid()


def test_without_merge3_texts_are_asked_about_as_a_whole(order, monkeypatch):
    monkeypatch.setitem(sys.modules, "merge3", None)  # can't be imported
    form = collide(order, THEIRS, MINE)
    assert form.conflict.undecided == ["note"]
    assert form.conflict.merges.texts == {}
    form = send(order, values(form), optilock_decision_note="mine")
    assert save(form).note == MINE


def test_a_text_the_token_has_no_room_for_is_asked_about(order, monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 10)
    Order.objects.update(note=OLD + "\n" * 3000 + "End")
    form = collide(order, THEIRS, MINE)
    assert form.conflict.undecided == ["note"]
    assert "(compared with what is saved now)" in panel.show(
        form.conflict, "note", "mine"
    )
    assert "(too long to be kept)" in panel.show(form.conflict, "note", "base")


def test_a_secret_text_is_never_merged(order):
    class Secret(OrderForm):
        secret_fields = ["note"]

    form = collide(order, THEIRS, MINE, Secret)
    assert form.conflict.undecided == ["note"]


def test_a_megabyte_is_merged_and_shown_in_no_time(order):
    lines = [
        f"Line {number} of a text that is long enough." for number in range(25_000)
    ]
    Order.objects.update(note="\n".join(lines))
    data = opened(order)
    assert len(data["optilock_token"]) < 140_000
    theirs = "\n".join([*lines[:-1], "theirs", *lines[:3]])
    mine = "\r\n".join(["mine", *lines[1:-1], "mine, too"])
    Order.objects.update(note=theirs)
    get_template("optilock/conflict.html")  # each process loads them once
    started = time.process_time()
    form = OrderForm({**data, "note": mine}, instance=fresh(order))
    assert not form.is_valid()
    shown = panel.render([form.conflict], subject=order)
    assert time.process_time() - started < 1.5  # 0.2 on two busy cores
    assert "mine, too" in shown


# --- sets and objects ----------------------------------------------------------


def test_sets_are_merged_by_element(order, colours):
    a, b, c = colours
    order.tags.set([a])
    data = opened(order)
    order.tags.set([a, b])
    form = send(order, data, tags=[c.pk])
    assert form.is_valid()
    assert form.conflict.mixed == ["tags"]
    form.save()
    assert set(order.tags.all()) == {b, c}
    assert news(form) == ["Merged: your changes and those of bob are in Tags."]


def test_a_merged_set_is_what_clean_sees_and_the_page_shows(order, colours):
    class Careful(OrderForm):
        def clean(self):
            self.seen = set(self.cleaned_data["tags"].values_list("name", flat=True))
            raise ValidationError("No.")

    a, b, c = colours
    data = opened(order)
    order.tags.set([a])
    form = send(order, data, Careful, tags=[b.pk, c.pk])
    assert form.seen == {"a", "b", "c"}
    assert {*form["tags"].value()} == {a.pk, b.pk, c.pk}
    form = send(order, values(form), tags=[a.pk])
    save(form)
    assert list(order.tags.all()) == [a]


def test_a_merged_set_that_the_field_does_not_allow_is_an_error(order, colours):
    def at_most_two(chosen):
        if len(chosen) > 2:
            raise ValidationError("Two will do.")

    class Demanding(OrderForm):
        tags = forms.ModelMultipleChoiceField(
            Colour.objects.all(), validators=[at_most_two]
        )

    a, b, c = colours
    order.tags.set([a, b])
    data = opened(order, Demanding)
    order.tags.set([a])
    form = send(order, data, Demanding, tags=[b.pk])
    assert form.errors == {"tags": ["This field is required."]}
    assert form["tags"].value() == []
    data = opened(order, Demanding)
    order.tags.set([a, b])
    form = send(order, data, Demanding, tags=[a.pk, c.pk])
    assert form.errors == {"tags": ["Two will do."]}
    assert {*form["tags"].value()} == {a.pk, b.pk, c.pk}


def assorted_form(**attributes):
    form = modelform_factory(Assorted, form=VersionedModelForm, fields=["json", "line"])
    return type(form.__name__, (form,), attributes)


JSON = ({"a": 1, "b": 1}, {"a": 2, "b": 1}, '{"a": 1, "b": 2}')


def test_objects_are_merged_by_key_only_where_the_form_says_so():
    old, theirs, mine = JSON
    kinds = Assorted.objects.create(json=old)
    form = collide(kinds, theirs, mine, assorted_form(), name="json")
    assert form.conflict.undecided == ["json"]
    by_key = assorted_form(merge_decisions={"json": "keys"})
    Assorted.objects.update(json=old)
    form = collide(kinds, theirs, mine, by_key, name="json")
    assert save(form).json == {"a": 2, "b": 2}
    Assorted.objects.update(json=old)
    form = collide(kinds, theirs, '{"a": 3, "b": 1}', by_key, name="json")
    assert form.conflict.undecided == ["json"]


# --- decisions -----------------------------------------------------------------


def test_the_models_decisions_count(order, decide):
    decide(amount=add_both)
    form = collide(order, 15, "12", name="amount")
    assert save(form).amount == 17
    assert news(form) == ["Merged: your changes and those of bob are in Amount."]


@pytest.mark.parametrize(
    ("decision", "amount", "text"),
    [
        ("mine", 12, "You have overwritten what bob had saved: Amount."),
        ("theirs", 15, "Merged: bob had changed Amount; that was kept."),
        ("base", 10, "Merged: your changes and those of bob are in Amount."),
    ],
)
def test_what_is_decided_once_and_for_all_is_told(
    order, decide, decision, amount, text
):
    decide(amount=decision)
    form = collide(order, 15, "12", name="amount")
    assert save(form).amount == amount
    assert news(form) == [text]


def test_what_is_decided_as_mine_is_told_after_a_page_with_errors_too(order, decide):
    decide(amount="mine")
    form = collide(order, 15, "12", name="amount", status="no status")
    assert not form.is_valid()
    form = send(order, values(form), status="paid")
    assert form.is_valid()
    assert news(form) == ["You have overwritten what bob had saved: Amount."]


def test_the_forms_decisions_come_before_the_models(order, decide):
    class Asking(OrderForm):
        merge_decisions = {"note": "ask"}

    decide(note="mine", amount="mine")
    form = collide(order, THEIRS, MINE, Asking)
    assert form.conflict.undecided == ["note"]
    assert form.conflict.merges.texts == {}
    assert collide(order, 15, "12", Asking, name="amount").is_valid()


def test_what_is_the_same_is_no_question_and_no_sum(order, decide):
    decide(amount=add_both)
    form = collide(order, 12, "12", name="amount")
    assert save(form).amount == 12


def test_what_is_no_value_is_asked_about(order, decide):
    decide(amount="mine")
    form = collide(order, 15, "a lot", name="amount")
    assert form.conflict.undecided == ["amount"]


def test_fields_that_belong_together_are_asked_about(order):
    class Together(OrderForm):
        merge_together = [("note", "status")]

    form = collide(order, THEIRS, MINE, Together)
    assert form.conflict.undecided == ["note"]
    assert form.conflict.merges.texts == {}


def test_who_wants_to_be_asked_always_is_asked(order):
    class Always(OrderForm):
        ask_always = True

    form = collide(order, THEIRS, MINE, Always)
    assert not form.is_valid()
    assert form.conflict.is_open
    assert form["note"].value() == BOTH
    form = send(order, values(form), Always)
    assert save(form).note == BOTH


def test_rows_of_a_formset_are_merged(order):
    formset_class = modelformset_factory(
        Order, form=OrderForm, formset=VersionedModelFormSet, extra=0
    )
    formset = formset_class(queryset=Order.objects.all())
    data = {}
    for form in (formset.management_form, *formset):
        data |= values(form)
    Order.objects.update(note=THEIRS)
    formset = formset_class({**data, "form-0-note": MINE})
    assert formset.is_valid(), formset.errors
    formset.save()
    assert fresh(order).note == BOTH
    assert news(formset.forms[0])[0].endswith("Note.")
