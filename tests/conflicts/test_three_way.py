"""Merging one value: a text by lines, a set by elements, an object by keys."""

from __future__ import annotations

import random
import sys
import time
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testapp.models import Page

from optilock.changes import FieldChange, FieldState
from optilock.decisions import decide
from optilock.differences import Budget
from optilock.three_way import (
    MANY_LETTERS,
    MANY_LEVELS,
    MANY_LINES,
    TextMerge,
    can_merge_texts,
)

UNDECIDED = object()
THREE = "One.\n\nTwo.\n\nThree."


def decided(decision, base, mine, theirs, state=FieldState.COLLIDING):
    change = FieldChange(Page._meta.get_field("data"), state, base, mine, theirs)
    merged, _ = decide({"data": change}, {"data": decision})
    return merged.get("data", UNDECIDED)


# --- texts -------------------------------------------------------------------


def test_edits_of_different_paragraphs_are_put_together():
    merge = TextMerge(THREE, "ONE.\n\nTwo.\n\nThree.", "One.\n\nTwo.\n\nThree!\n\n4")
    assert merge.overlaps == []
    assert merge.is_partial
    assert merge.text("mine") == "ONE.\n\nTwo.\n\nThree!\n\n4"


def test_only_the_passage_that_both_changed_overlaps():
    mine, theirs = "ONE.\n\nTwo mine.\n\nThree.", "One.\n\nTwo theirs.\n\nThree!"
    merge = TextMerge(THREE, mine, theirs)
    [overlap] = merge.overlaps
    assert (overlap.base, overlap.mine) == (["Two."], ["Two mine."])
    assert merge.text("mine") == "ONE.\n\nTwo mine.\n\nThree!"
    assert merge.text("theirs") == "ONE.\n\nTwo theirs.\n\nThree!"
    assert merge.text("both") == "ONE.\n\nTwo theirs.\nTwo mine.\n\nThree!"


def test_words_of_one_line_are_put_together_only_as_a_proposal():
    merge = TextMerge("A cat sat.", "The cat sat.", "A cat sat down.")
    assert len(merge.overlaps) == 1
    assert not merge.is_partial
    assert merge.text("both") == "The cat sat down."


def test_lines_side_by_side_overlap():
    assert TextMerge("a\nb", "A\nb", "a\nB").overlaps


def test_what_one_deleted_and_one_changed_is_there_in_both():
    assert TextMerge("a\n\nb", "a\n", "a\n\nB").text("both").endswith("B")


def test_an_addition_at_the_end_leaves_the_last_line_alone():
    assert TextMerge("a\n\nb", "A\n\nb", "a\n\nb\nc").text("mine") == "A\n\nb\nc"


def test_whether_an_edited_text_has_all_that_they_wrote_is_known():
    merge = TextMerge(THREE, "One.\n\nMine.\n\nThree.", "One.\n\nTheirs.\n\nThree!")
    assert merge.keeps_theirs(merge.text("theirs"))
    assert merge.keeps_theirs(merge.text("both"))
    assert merge.keeps_theirs("Three!\nTheirs.\nand more")
    assert not merge.keeps_theirs(merge.text("mine"))


def test_what_they_have_deleted_is_not_kept_in_a_text_that_has_it():
    merge = TextMerge(THREE, "One.\n\nTwo!\n\nThree.", "One.\n\nThree.")
    assert not merge.keeps_theirs(merge.text("both"))
    assert not merge.keeps_theirs(THREE)
    assert merge.keeps_theirs(merge.text("theirs"))
    merge = TextMerge(THREE, "One!\n\nTwo.\n\nThree.", "Uno.\n\nTwo.")
    assert merge.keeps_theirs(merge.text("both"))
    assert not merge.keeps_theirs(merge.text("both") + "\n\nThree.")


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=8).map("\n".join)


@given(LINES, LINES, LINES)
def test_nothing_that_either_has_written_is_lost_or_made_up(base, mine, theirs):
    merge = TextMerge(base, mine, theirs)
    assert TextMerge(base, mine, base).text("theirs") == mine
    assert TextMerge(base, base, theirs).text("mine") == theirs
    assert TextMerge(base, mine, mine).text("theirs") == mine
    written = {*mine.split("\n"), *theirs.split("\n")}
    for side in ("mine", "theirs"):
        assert {*merge.text(side).split("\n")} <= {*written, *base.split("\n")}
    for line in {*mine.split("\n")} - {*base.split("\n")}:
        assert line in merge.text("mine").split("\n")
    for line in {*theirs.split("\n")} - {*base.split("\n")}:
        assert line in merge.text("theirs").split("\n")


def test_what_there_is_no_time_to_compare_overlaps():
    texts = (THREE, "ONE.\n\nTwo.\n\nThree.", "One.\n\nTwo.\n\nTHREE.")
    merge = TextMerge(*texts, Budget(0))
    assert merge.text("mine") == texts[1]
    assert merge.text("theirs") == texts[2]
    long = "\n" * MANY_LINES
    assert TextMerge(long, f"a{long}", f"{long}b").overlaps
    letters = "x" * MANY_LETTERS
    assert TextMerge("x", f"{letters}a", f"b{letters}").text("both").count("\n") == 1


def megabytes():
    chance = random.Random(7)
    words = ["".join(chance.choices(ascii_lowercase, k=6)) for _ in range(3000)]
    lines = [" ".join(chance.choices(words, k=10)) for _ in range(15_000)]
    mine, theirs = list(lines), list(lines)
    mine[::7] = ["mine"] * len(mine[::7])
    theirs[3::7] = ["theirs"] * len(theirs[3::7])
    yield "\n".join(lines), "\n".join(mine), "\n".join(theirs)
    lines = [str(number) for number in range(MANY_LINES // 3)]
    yield "\n".join(lines), "\n".join(lines[::-1]), "\n".join(sorted(lines))
    yield "x" * 10**6, "y" * 10**6, "z" * 10**6
    # Passages that both have changed, with few words, each time again; between them
    # are so many other lines that all of them are found.
    words = ("a b " * 44, "b a " * 44, "a b a b b " * 35)
    same = [[f"{n} {i}" for i in range(n & -n)] for n in range(1, 2049)]
    yield tuple(
        "\n".join(f"{one}{n}\n" + "\n".join(lines) for n, lines in enumerate(same))
        for one in words
    )


@pytest.mark.parametrize("number", range(4))
def test_a_megabyte_takes_no_time_on_a_page(number):
    texts = list(megabytes())[number]
    started = time.process_time()
    merge = TextMerge(*texts, Budget(500_000))
    merge.text("both")
    assert time.process_time() - started < 1.5  # 0.3 on a quiet machine


def test_without_merge3_nothing_can_be_merged_by_lines(monkeypatch):
    assert can_merge_texts()
    monkeypatch.setitem(sys.modules, "merge3", None)  # can't be imported
    assert not can_merge_texts()


# --- sets, and objects ---------------------------------------------------------


def test_sets_are_merged_by_element():
    assert decided("elements", [1, 2, 3], [3, 1, 5], [2, 4, 1]) == [4, 1, 5]
    assert decided("elements", ("a",), ("a", "b"), ()) == ["b"]


def test_true_is_another_element_than_one():
    assert decided("elements", [1], [True], [1, 2]) == [2, True]
    assert decided("elements", [], [1, True], [2]) == [2, 1, True]


def test_many_elements_take_no_time():
    base = list(range(100_000))
    started = time.process_time()
    merged = decided("elements", base, [*base[1:], "mine"], [*base[:-1], "theirs"])
    assert merged == [*base[1:-1], "theirs", "mine"]
    assert time.process_time() - started < 1.5  # 0.1 on a quiet machine


def deep(levels, **leaf):
    for _ in range(levels):
        leaf = {"in": leaf}
    return leaf


def test_what_is_deep_inside_an_object_is_asked_about():
    for levels, merged in (
        (MANY_LEVELS - 1, deep(MANY_LEVELS - 1, a=2, b=2)),
        (MANY_LEVELS, UNDECIDED),
        (400, UNDECIDED),  # Python has no room for as many calls
    ):
        sides = (deep(levels, a=n, b=m) for n, m in ((1, 1), (2, 1), (1, 2)))
        assert decided("keys", *sides) == merged


@pytest.mark.parametrize(
    "mine", [None, [1, 1], [[1]], 5, "text"], ids=["nothing", "twice", "lists", "5", ""]
)
def test_what_is_no_set_has_no_elements(mine):
    assert decided("elements", [1], mine, [2]) is UNDECIDED


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "merged"),
    [
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ({}, {"a": 1}, {"b": None}, {"b": None, "a": 1}),
        ({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 1}),
        (
            {"in": {"a": 1, "b": 1}},
            {"in": {"a": 2, "b": 1}},
            {"in": {"a": 1}},
            {"in": {"a": 2}},
        ),
        ({}, {"in": {"a": 1}}, {"in": {"b": 1}}, {"in": {"b": 1, "a": 1}}),
        ({"a": 1}, {"a": 2}, {"a": 3}, UNDECIDED),
        ({"a": 1}, {}, {"a": 3}, UNDECIDED),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 1}, {"a": True, "b": 1}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [0, 1]}, UNDECIDED),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}, "c": 1}, UNDECIDED),
        ([1], {"a": 2}, {"a": 3}, UNDECIDED),
    ],
)
def test_objects_are_merged_by_key(base, mine, theirs, merged):
    assert decided("keys", base, mine, theirs) == merged


@pytest.mark.parametrize("decision", ["elements", "keys", "ask"])
def test_what_only_one_has_changed_is_not_merged(decision):
    assert decided(decision, 1, 1, 2, FieldState.THEIRS) == 2
    assert decided(decision, 1, 2, 1, FieldState.MINE) == 2


def test_to_ask_is_to_leave_it_undecided():
    assert decided("ask", 1, 2, 3) is UNDECIDED
