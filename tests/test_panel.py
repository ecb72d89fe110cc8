from __future__ import annotations

import datetime
import re
from html import unescape

import pytest
from django.utils import timezone, translation
from factories import LineFactory, OrderFactory, UserFactory
from pages import Page
from testapp.models import Assorted, Order

from optilock import panel
from optilock.panel import Author, as_text, isolate, mark, tell_who


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
    assert "<ins>And a rope.</ins>" in panel.mark(start, end)
    assert "<ins>four</ins>" in panel.mark(start, end.replace("two", "four", 1))


def test_another_text_is_not_marked():
    assert mark("completely different", "x y z") == "x y z"


def test_what_is_the_same_around_a_change_is_shortened():
    start = "word " * 500 + "here" + " word" * 500
    marked = mark(start, start.replace("here", "there"), shorten=True)
    assert len(marked) < 250
    assert "<ins>there</ins>" in marked
    assert marked.startswith("…")


def test_texts_that_are_too_long_to_compare_are_shown_from_the_beginning():
    start = "word " * panel.MANY_WORDS
    assert mark(start, start + "x", shorten=True) == start[: panel.LONG // 2]


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
