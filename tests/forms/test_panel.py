from __future__ import annotations

import datetime
import difflib
import random
import re
import time
from html import unescape

import pytest
from django import forms
from django.forms import modelform_factory
from django.utils import timezone, translation
from factories import CustomerFactory, LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.models import Assorted, Colour, Customer, Order
from testapp.models import Page as Article

from optilock import panel
from optilock.conflicts import Conflict
from optilock.differences import BoundedMatcher, Budget, unified
from optilock.forms import VersionedModelForm
from optilock.panel import Author, as_text, isolate, tell_who
from optilock.panel.marking import LONG, MANY_LETTERS, MANY_WORDS, mark


def plain(html, without):
    """Return the text of HTML with one kind of marks left out."""
    html = re.sub(f"<{without}>.*?</{without}>", "", html, flags=re.DOTALL)
    return unescape(re.sub("<[^>]+>", "", html))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("ring twice and wait", "ring three times and wait"),
        ("a < b & c", "a > b & c"),
        ("one\ntwo\nthree", "one\nthree\nfour"),
        ("今天天气很好", "今天天气不好"),
        ("the same", "the same"),
        ("", "all new"),
    ],
)
def test_marks_show_what_was_and_what_is(start, end):
    marked = mark(start, end)
    assert plain(marked, "del") == end
    if "<ins>" in marked or "<del>" in marked:
        assert plain(marked, "ins") == start


def test_words_in_a_row_are_one_change():
    marked = mark("please ring twice and wait", "please call me and wait")
    assert marked == "please <del>ring twice</del><ins>call me</ins> and wait"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("سأتصل غدا صباحا", "سأتصل غدًا صباحا"),
        ("नमस्ते प्यारी दुनिया", "नमस्ते प्यारे दुनिया"),
        ("لطفا می‌روم خانه", "لطفا نمی‌روم خانه"),
    ],
)
def test_a_word_with_vowel_signs_is_marked_as_a_whole(start, end):
    first, old, last = start.split(" ")
    new = end.split(" ")[1]
    assert mark(start, end) == f"{first} <del>{old}</del><ins>{new}</ins> {last}"


@pytest.mark.parametrize(
    ("start", "end", "marked"),
    [
        ("one two، three", "one six، three", "<del>two</del><ins>six</ins>،"),
        ("don't wait", "don't wait.", "don&#x27;t wait<ins>.</ins>"),
        ("pay 10€ now", "pay 12€ now", "<del>10€</del><ins>12€</ins>"),
    ],
)
def test_punctuation_is_no_part_of_a_word(start, end, marked):
    assert marked in mark(start, end)


def test_sentences_that_come_again_are_marked_like_others():
    start = "Please bring two people. " * 40
    end = start + "And a rope."
    assert "<ins>And a rope.</ins>" in mark(start, end)
    assert "<ins>four</ins>" in mark(start, end.replace("two", "four", 1))


def test_another_text_is_not_marked():
    assert mark("completely different", "x y z") == "x y z"


def test_what_is_the_same_around_a_change_is_shortened():
    start = "word " * 500 + "here" + " word" * 500
    marked = mark(start, start.replace("here", "there"), shorten=True)
    assert len(marked) < 250
    assert "<ins>there</ins>" in marked
    assert marked.startswith("…")


def test_texts_that_are_too_long_to_compare_are_shown_from_the_beginning():
    start = "word " * MANY_WORDS
    for long in (start, "w" * MANY_LETTERS):
        shown = mark(long, long + "x", shorten=True)
        assert "(too long to be compared)" in shown
        assert shown.endswith(f"</span> {long[: LONG // 2]}")


@pytest.mark.parametrize(
    ("author", "sentence"),
    [
        ({}, "“it” was changed after you opened this page."),
        (
            {"name": "bob", "seconds": 5},
            "bob changed “it” a moment ago, after you opened this page.",
        ),
        (
            {"name": "bob", "seconds": 185},
            "bob changed “it” 3\xa0minutes\xa0ago, after you opened this page.",
        ),
        (
            {"name": "ann", "seconds": 5, "is_self": True},
            "You changed “it” in another window a moment ago.",
        ),
    ],
)
def test_a_sentence_says_who_it_was_and_when(author, sentence):
    author = dict(author)
    if seconds := author.pop("seconds", None):
        author["when"] = timezone.now() - datetime.timedelta(seconds=seconds)
    assert tell_who("it", Author(**author)) == sentence


@pytest.mark.parametrize(
    ("language", "name", "shown"),
    [
        ("en", "bob", "bob"),
        ("en", "משה", "\u2068משה\u2069"),
        ("ar", "bob", "\u2068bob\u2069"),
        ("ar", "", ""),
    ],
)
def test_a_name_that_may_run_the_other_way_is_isolated(language, name, shown):
    with translation.override(language):
        assert isolate(name) == shown
        if name:
            assert f"{shown} " in tell_who("it", Author(name))


def test_a_deletion_without_an_author_may_be_a_lack_of_permission():
    said = tell_who("it", Author(), deleted=True)
    assert said == "“it” is not there any more, or not visible to you."


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("boolean", True, "Yes"),
        ("null_boolean", False, "No"),
        ("null_boolean", None, ""),
        ("choice", "b", "Banana"),
        ("choice", "z", "z"),
        ("json", {"ü": [1]}, '{\n  "ü": [\n    1\n  ]\n}'),
        ("file", "kinds/a.txt", "kinds/a.txt"),
        ("file", False, "(removed)"),
        ("integer", 1234, "1234"),
        ("date", datetime.date(2024, 2, 29), "Feb. 29, 2024"),
        (
            "moment",
            datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc),
            "Feb. 29, 2024, noon",
        ),
        ("moment", "what was typed", "what was typed"),
    ],
)
def test_values_are_shown_as_people_write_them(name, value, text, settings):
    settings.TIME_ZONE = "UTC"
    assert as_text(Assorted._meta.get_field(name), value) == text


def test_dates_follow_the_language():
    field = Assorted._meta.get_field("date")
    with translation.override("de"):
        assert as_text(field, datetime.date(2024, 2, 29)) == "29. Februar 2024"


@pytest.mark.django_db
def test_a_key_nobody_has_is_shown_as_it_is():
    assert as_text(Order._meta.get_field("customer"), 99) == "#99"
    assert as_text(Order._meta.get_field("customer"), "x") == "#x"


@pytest.mark.django_db
def test_the_page_has_nothing_a_strict_content_security_policy_forbids():
    order = OrderFactory(note="old")
    LineFactory(order=order)
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(note="x" * 1000, status="paid", **{"lines-0-DELETE": "on"})
    asked = mine.save(note="y" * 1000, **{"lines-0-quantity": "5"})
    assert "<details>" in asked.panel
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", asked.panel)


@pytest.mark.django_db
def test_a_page_that_lost_its_token_does_not_know_what_was_opened():
    order = OrderFactory()
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(status="paid")
    asked = mine.save(status="shipped", without=["optilock_token"])
    assert "(not known any more)" in asked.panel
    assert "(too long to be kept)" not in asked.panel


@pytest.mark.django_db
def test_every_choice_has_a_legend_and_every_heading_a_scope():
    order = OrderFactory(note="old")
    mine, theirs = (Page.change(UserFactory(), order) for _ in range(2))
    theirs.save(note="theirs", status="paid", currency="USD")
    asked = mine.save(note="mine", status="shipped")
    assert asked.panel.count("<fieldset") == asked.panel.count("<legend>") == 3
    assert not re.search(r"<th(?! scope=)(?!ead)", asked.panel)


# --- what is told of other objects -------------------------------------------


class Restricted(VersionedModelForm):
    """Only some customers and colours may be chosen."""

    customer = forms.ModelChoiceField(
        Customer.objects.filter(name__startswith="public"), required=False
    )
    tags = forms.ModelMultipleChoiceField(
        Colour.objects.filter(name__startswith="public"), required=False
    )

    class Meta:
        model = Order
        fields = ["customer", "tags", "note"]


class Sliced(Restricted):
    """Django can't filter what may be chosen, and so finds no choice valid."""

    customer = forms.ModelChoiceField(
        Customer.objects.order_by("pk")[:5], required=False
    )


def asked_about(order, theirs, form_class=Restricted, **mine):
    """Return the panel for a person whose order was changed meanwhile."""
    form = form_class(instance=Order.objects.get(pk=order.pk))
    data = {"optilock_token": form["optilock_token"].value(), "note": order.note}
    theirs()
    form = form_class({**data, **mine}, instance=Order.objects.get(pk=order.pk))
    assert not form.is_valid()
    assert form.conflict
    return panel.render([form.conflict], subject="it")


@pytest.mark.django_db
def test_what_was_typed_tells_no_name_of_an_object_that_may_not_be_chosen():
    order, hidden = OrderFactory(), CustomerFactory(name="hush")
    theirs = CustomerFactory(name="public Ann")
    shown = asked_about(
        order, lambda: Order.objects.update(customer=theirs), customer=hidden.pk
    )
    assert "hush" not in shown
    assert f"#{hidden.pk}" in shown
    assert "public Ann" in shown


@pytest.mark.django_db
def test_choices_that_can_not_be_filtered_tell_no_name():
    order, theirs, mine = OrderFactory(), CustomerFactory(), CustomerFactory()
    shown = asked_about(
        order,
        lambda: Order.objects.update(customer=theirs),
        Sliced,
        customer=mine.pk,
    )
    assert f"#{theirs.pk}" in shown
    assert f"#{mine.pk}" in shown


@pytest.mark.django_db
def test_what_is_stored_tells_no_name_that_the_form_would_not_tell():
    hidden, base = CustomerFactory(name="hush"), CustomerFactory(name="hush hush")
    order, mine = OrderFactory(customer=base), CustomerFactory(name="public Ann")
    shown = asked_about(
        order, lambda: Order.objects.update(customer=hidden), customer=mine.pk
    )
    assert "hush" not in shown
    assert f"#{hidden.pk}" in shown
    assert f"#{base.pk}" in shown
    assert "public Ann" in shown


@pytest.mark.django_db
def test_many_related_objects_are_told_as_the_form_would_in_one_query(
    django_assert_max_num_queries,
):
    order = OrderFactory()
    hidden = Colour.objects.create(name="hush")
    public = [Colour.objects.create(name=f"public {n}") for n in range(30)]
    typed = [hidden.pk, "x", *(one.pk for one in public)]
    with django_assert_max_num_queries(25):
        shown = asked_about(order, lambda: order.tags.set([hidden]), tags=typed)
    assert "hush" not in shown
    assert f"#{hidden.pk}" in shown
    assert "public 29" in shown


# --- secrets -----------------------------------------------------------------


class Secretive(VersionedModelForm):
    class Meta:
        model = Order
        fields = ["secret", "currency", "note"]
        widgets = {"secret": forms.PasswordInput}

    secret_fields = ["currency"]


@pytest.mark.django_db
def test_secrets_stand_neither_in_the_token_nor_in_the_panel():
    OrderFactory(secret="base-pin", currency="AAA")  # noqa: S106 -- a field
    form = Secretive(instance=Order.objects.get())
    base = form._optilock.next_row().base
    assert "base-pin" not in str(base)
    assert "AAA" not in str(base)
    data = {"optilock_token": form["optilock_token"].value()}
    Order.objects.update(secret="their-pin", currency="BBB")  # noqa: S106
    data |= {"secret": "my-pin", "currency": "CCC"}
    form = Secretive(data, instance=Order.objects.get())
    assert not form.is_valid()
    assert form.conflict.undecided == ["secret", "currency"]
    shown = panel.render([form.conflict], subject="it")
    for value in ("base-pin", "their-pin", "my-pin", "AAA", "BBB", "CCC"):
        assert value not in shown
    assert shown.count("(changed)") == 4
    next_row = str(form._optilock.next_row())
    for value in ("base-pin", "their-pin", "AAA", "BBB"):
        assert value not in next_row
    decisions = {f"optilock_decision_{name}": "mine" for name in ("secret", "currency")}
    token = {"optilock_token": form["optilock_token"].value()}
    again = Secretive({**data, **token, **decisions}, instance=Order.objects.get())
    assert again.is_valid(), again.errors
    again.save()
    assert Order.objects.values_list("secret", "currency").get() == ("my-pin", "CCC")


@pytest.mark.django_db
def test_a_secret_nobody_changed_is_no_conflict():
    OrderFactory(currency="AAA")
    public = modelform_factory(
        Order, form=Secretive, fields=["currency", "note"], widgets={}
    )
    form = public(instance=Order.objects.get())
    data = {"optilock_token": form["optilock_token"].value(), "currency": "AAA"}
    Order.objects.update(note="theirs")
    form = public({**data, "note": ""}, instance=Order.objects.get())
    assert form.is_valid(), form.errors
    assert form.conflict.merged == ["note"]


# --- texts that are made to take long ----------------------------------------


def slow_texts(count=4900, words=102):
    """Texts out of few words, each just too rare for difflib to leave it out."""
    old = [f"w{i % words}" for i in range(count)]
    new = [f"w{i * 7 % words}" for i in range(count)]
    return old, new


def test_comparing_ends_when_the_budget_is_used_up():
    old, new = slow_texts()
    budget = Budget(1_000_000)
    blocks = BoundedMatcher(None, old, new, budget=budget).get_matching_blocks()
    assert budget.left >= 0
    assert len(blocks) > 1
    used_up = Budget(0)
    assert BoundedMatcher(None, old, new, budget=used_up).get_opcodes() == [
        ("replace", 0, len(old), 0, len(new))
    ]


def test_within_its_budget_it_finds_what_difflib_finds():
    chance = random.Random(7)
    for _ in range(100):
        old, new = ([chance.choice("abcd") for _ in range(20)] for _ in range(2))
        matcher = BoundedMatcher(None, old, new)
        assert (
            matcher.get_opcodes()
            == difflib.SequenceMatcher(None, old, new).get_opcodes()
        )
        assert list(unified(old, new, "x", "y", budget=Budget())) == list(
            difflib.unified_diff(old, new, "x", "y", lineterm="")
        )


@pytest.mark.django_db
def test_a_page_of_many_slow_texts_is_made_in_seconds():
    old, new = (" ".join(words) for words in slow_texts())
    order = OrderFactory(note="old")
    LineFactory.create_batch(20, order=order, comment="old")
    mine, theirs = Page.change(UserFactory(), order), Page.change(UserFactory(), order)
    theirs.save(note=old)
    start = time.process_time()
    asked = mine.save(note=new)
    assert asked.panel
    assert time.process_time() - start < 20

    form = modelform_factory(Assorted, form=VersionedModelForm, fields=["text"])
    conflicts = []
    for _ in range(20):
        row = Assorted.objects.create(text=old[:1999])
        data = {"optilock_token": form(instance=row)["optilock_token"].value()}
        Assorted.objects.filter(pk=row.pk).update(text=old)
        bound = form({**data, "text": new}, instance=Assorted.objects.get(pk=row.pk))
        assert not bound.is_valid()
        conflicts.append(bound.conflict)
    start = time.process_time()
    shown = panel.render(conflicts, subject="it")
    assert time.process_time() - start < 20
    assert len({id(conflict.budget) for conflict in conflicts}) == 1
    assert conflicts[0].budget.left >= 0
    used = conflicts[0].budget.left
    assert panel.render(conflicts[:1], subject="it")
    assert conflicts[0].budget.left == Budget().left  # no side is compared twice
    assert used < Budget().left
    assert shown


def test_describing_a_conflict_of_slow_texts_ends():
    old, new = ("\n".join(words) for words in slow_texts(20_000))
    conflict = Conflict(
        Article, base={"body": old}, mine={"body": new}, theirs={"body": new[::-1]}
    )
    start = time.process_time()
    assert conflict.describe()
    assert time.process_time() - start < 20


def test_texts_of_too_many_words_are_not_compared():
    words = MANY_WORDS * 3 // 4
    start, end = "a " * words, "a " * (words - 1) + "b "
    assert len(start) + len(end) < MANY_LETTERS
    marked = mark(start, end)
    assert "(too long to be compared)" in marked
    assert "<ins>" not in marked


def test_a_time_without_a_zone_is_shown_as_it_is(settings):
    settings.USE_TZ = False
    moment = datetime.datetime(2024, 2, 29, 12)
    field = Assorted._meta.get_field("moment")
    assert as_text(field, moment) == "Feb. 29, 2024, noon"


@pytest.mark.django_db
def test_objects_that_come_from_no_form_are_called_what_they_are():
    red = Colour.objects.create(name="red")
    assert as_text(Order._meta.get_field("tags"), [red, 99]) == "red, #99"


@pytest.mark.django_db
def test_a_number_too_large_for_a_key_is_shown_as_it_is():
    field = Order._meta.get_field("customer")
    shown = as_text(field, "9" * 30, forms.ModelChoiceField(Customer.objects.all()))
    assert shown == "#" + "9" * 30


class Asking(VersionedModelForm):
    """Asks for what isn't the model's."""

    urgent = forms.BooleanField(required=False)
    after = forms.ModelChoiceField(Order.objects.all(), required=False)

    elsewhere = {}

    class Meta:
        model = Order
        fields = ["note"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, initial=dict(self.elsewhere), **kwargs)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "theirs", "mine", "told"),
    [("urgent", True, "", ["Yes", "No"]), ("after", 1, "nonsense", ["#nonsense"])],
)
def test_what_is_asked_of_the_form_alone_is_shown_as_people_write_it(
    monkeypatch, name, theirs, mine, told
):
    order = OrderFactory()
    monkeypatch.setattr(Asking, "elsewhere", {name: theirs})
    form = Asking({"note": order.note, name: mine}, instance=order)
    assert not form.is_valid()
    shown = panel.render([form.conflict], subject="it")
    assert all(text in shown for text in told)
