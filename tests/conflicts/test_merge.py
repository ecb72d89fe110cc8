"""Merging: by hand after a conflict, and by policy in a save."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from contextlib import nullcontext
from decimal import Decimal

import pytest
from around import pickled, undone
from asgiref.sync import async_to_sync
from django import VERSION
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test.utils import isolate_apps
from examples import examples
from factories import AuthorFactory, BookFactory, PageFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testapp.models import (
    Bistro,
    Book,
    Everything,
    FieldAlone,
    Forgetful,
    HeadedBoard,
    Page,
    Protected,
    StrictChild,
    StrictFirst,
    StrictLast,
    Tag,
)
from threads import elsewhere

from optilock import (
    FieldState,
    MergeConflict,
    RecordDeletedError,
    RecordModifiedError,
)
from optilock.conflicts import Conflict
from optilock.signals import conflict_detected, conflict_merged

pytestmark = pytest.mark.django_db(databases=["default", "other"])


def pair(instance):
    """Return two instances of the same row."""
    manager = type(instance)._default_manager
    return manager.get(pk=instance.pk), manager.get(pk=instance.pk)


def conflict_between(mine, theirs):
    theirs.save()
    with pytest.raises(RecordModifiedError) as info:
        mine.save(**({} if isinstance(mine, FieldAlone) else {"on_conflict": "raise"}))
    return info.value.conflict


@pytest.fixture
def conflict():
    """Both changed the title; the amount is mine, the data theirs."""
    mine, theirs = pair(PageFactory())
    mine.title, mine.amount = "my title", 2
    theirs.title, theirs.data = "their title", {"theirs": []}
    return conflict_between(mine, theirs)


@pytest.fixture
def pages():
    return pair(PageFactory())


# By hand


def test_what_does_not_overlap_is_merged(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    assert conflict_between(mine, theirs).merge() is mine
    assert (mine.amount, mine.title, mine.version) == (2, "theirs", 2)


def test_a_merged_instance_can_be_saved(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    conflict_between(mine, theirs).merge().save(on_conflict="raise")
    row = Page.objects.get()
    assert (row.amount, row.title, row.version) == (2, "theirs", 3)


def test_a_merged_instance_remembers_their_row(pages):
    mine, theirs = pages
    mine.amount, theirs.data = 2, {"a": []}
    conflict_between(mine, theirs).merge()
    assert mine.changed_fields() == ["amount"]
    mine.data["a"].append(1)
    assert mine.changed_fields() == ["amount", "data"]


def test_a_third_writer_is_the_next_conflict(conflict):
    conflict.merge("mine")
    Page.objects.get().save()
    with pytest.raises(RecordModifiedError):
        conflict.instance.save(on_conflict="raise")


def test_an_undecided_collision_names_its_fields(conflict):
    with pytest.raises(MergeConflict, match="title changed on both sides") as info:
        conflict.merge()
    assert info.value.fields == ["title"]
    assert info.value.conflict is conflict


def test_an_undecided_collision_leaves_the_instance_alone(conflict):
    before = {n: v for n, v in vars(conflict.instance).items() if n != "_state"}
    with pytest.raises(MergeConflict):
        conflict.merge()
    after = {n: v for n, v in vars(conflict.instance).items() if n != "_state"}
    assert before == after
    assert conflict.instance.changed_fields() == ["title", "amount"]


def test_the_refusal_to_merge_shows_no_values_and_pickles(conflict):
    with pytest.raises(MergeConflict) as info:
        conflict.merge()
    again = pickled(info.value)
    assert str(again) == str(info.value)
    assert "their title" not in str(again)


@pytest.mark.parametrize(
    ("resolve", "title"),
    [
        ("mine", "my title"),
        ({"title": "mine"}, "my title"),
        ({"title": "theirs"}, "their title"),
        ({"title": "base"}, "Title"),
        (lambda change: f"{change.mine}+{change.theirs}", "my title+their title"),
        ({"title": lambda change: change.base.upper()}, "TITLE"),
    ],
)
def test_collisions_are_resolved_as_told(conflict, resolve, title):
    page = conflict.merge(resolve)
    assert (page.title, page.amount, page.data) == (title, 2, {"theirs": []})


def test_theirs_equals_a_refresh(conflict):
    page = conflict.merge("theirs")
    fresh = Page.objects.get()
    assert page.changed_fields() == []
    assert all(
        getattr(page, field.attname) == getattr(fresh, field.attname)
        for field in Page._meta.concrete_fields
    )


def test_theirs_forgets_related_objects_as_a_refresh_does():
    mine, theirs = pair(BookFactory(author__name="Ada"))
    assert mine.author.name == "Ada"
    author = theirs.author
    author.name = "Eve"
    author.save()
    theirs.stock = 9
    conflict_between(mine, theirs).merge("theirs")
    assert mine.author.name == "Eve"


def test_a_merged_foreign_key_leads_to_their_object():
    mine, theirs = pair(BookFactory(author__name="Ada"))
    assert mine.author.name == "Ada"
    theirs.author = AuthorFactory(name="Eve")
    conflict_between(mine, theirs).merge()
    assert mine.author.name == "Eve"


def test_a_decision_may_drop_a_change_that_does_not_collide(conflict):
    page = conflict.merge({"title": "mine", "amount": "theirs"})
    assert page.amount == 1


@pytest.mark.parametrize(
    ("resolve", "message"),
    [
        ("thiers", "'thiers' isn't a decision"),
        ({"title": "thiers"}, "title: 'thiers' isn't a decision"),
        ({"tilte": "mine"}, "'tilte' isn't among the fields"),
        (
            {"title": "mine", "amount": "mine", "currency": "theirs"},
            "amount and currency move together",
        ),
    ],
)
def test_a_wrong_decision_is_refused(conflict, resolve, message):
    with pytest.raises(ValueError, match=message):
        conflict.merge(resolve)


def test_a_decision_for_one_of_a_group_counts_for_all_of_it(pages):
    mine, theirs = pages
    mine.amount, theirs.currency = 2, "USD"
    conflict = conflict_between(mine, theirs)
    with pytest.raises(MergeConflict, match="amount, currency"):
        conflict.resolve()
    values = conflict.resolve({"amount": "theirs"})
    assert (values["amount"], values["currency"]) == (1, "USD")
    values = conflict.resolve({"currency": "mine"})
    assert (values["amount"], values["currency"]) == (2, "EUR")


def test_the_base_of_an_unknown_value_is_no_decision():
    mine, theirs = pair(Forgetful.objects.create())
    mine.number, theirs.number = 1, 2
    with pytest.raises(MergeConflict):
        conflict_between(mine, theirs).merge("base")


ADDED = {"number": lambda change: change.theirs + change.mine - change.base}


@pytest.mark.parametrize("model", [Forgetful, FieldAlone])
@pytest.mark.parametrize(
    "resolve",
    [
        ADDED,
        {"number": "base"},
        {"number": lambda c: c.mine if c.mine != c.base else c.theirs},
        {"number": lambda c: f"{c.base}"},
    ],
    ids=["sum", "base", "comparison", "text"],
)
def test_what_needs_an_unknown_base_is_undecided_and_says_why(model, resolve):
    mine, theirs = pair(model.objects.create())
    mine.number, theirs.number = 1, 2
    conflict = conflict_between(mine, theirs)
    with pytest.raises(MergeConflict, match="loaded of number isn't known") as info:
        conflict.merge(resolve)
    assert info.value.fields == ["number"]
    assert (mine.number, mine.version) == (1, 1)


@pytest.mark.parametrize(
    "decide",
    [
        lambda change: max(change.mine, change.theirs),
        lambda change: change.base if change.knows_base else 2,
    ],
    ids=["never asks", "asks first"],
)
def test_a_function_that_does_without_the_base_decides(decide):
    mine, theirs = pair(FieldAlone.objects.create())
    mine.number, theirs.number = 1, 2
    assert conflict_between(mine, theirs).merge({"number": decide}).number == 2


def test_a_field_set_without_being_loaded_has_no_base_to_reckon_with():
    pk = Page.objects.create().pk
    mine = Page.objects.defer("amount").get(pk=pk)
    mine.amount = 2
    theirs = Page.objects.get(pk=pk)
    theirs.amount = 3
    conflict = conflict_between(mine, theirs)
    with pytest.raises(MergeConflict, match="loaded of amount isn't known"):
        conflict.merge({"amount": lambda c: c.theirs + c.mine - c.base})


def test_a_function_that_fails_over_known_values_fails_aloud(conflict):
    with pytest.raises(ZeroDivisionError):
        conflict.merge({"title": lambda change: 1 / 0})


def test_a_protected_attribute_takes_their_value():
    mine, theirs = pair(Protected.objects.create())
    mine.name = "mine"
    Protected.objects.filter(pk=theirs.pk).update(state="closed", note="theirs")
    mine.save()
    row = Protected.objects.get()
    assert (row.name, row.state, row.note) == ("mine", "closed", "theirs")
    assert (mine.name, mine.state, mine.note) == ("mine", "closed", "theirs")
    with pytest.raises(AttributeError):
        mine.state = "open"


def test_a_protected_attribute_goes_back_when_the_merge_is_rolled_back():
    mine, theirs = pair(Protected.objects.create())
    mine.name = "mine"
    Protected.objects.filter(pk=theirs.pk).update(state="closed")
    undone(mine.save)
    assert (mine.name, mine.state, mine.version) == ("mine", "open", 1)


@isolate_apps("testapp")
def test_a_merge_that_fails_half_way_leaves_the_instance_as_it_was():
    class Stubborn(Book):
        class Meta:
            proxy = True
            app_label = "testapp"

        def __setattr__(self, name, value):
            if name == "stock" and value == 9 and "stock" in vars(self):
                raise ValueError("nine is too many")
            super().__setattr__(name, value)

    book = BookFactory(author__name="Ada", title="Title")
    mine = Stubborn.objects.get(pk=book.pk)
    ada = mine.author
    mine.title = "mine"
    Book.objects.update(author=AuthorFactory(name="Eve"), stock=9)
    with pytest.raises(RecordModifiedError) as info:
        mine.save(on_conflict="raise")
    before = {n: v for n, v in vars(mine).items() if n != "_state"}
    with pytest.raises(ValueError, match="nine is too many"):
        info.value.conflict.merge()
    assert before == {n: v for n, v in vars(mine).items() if n != "_state"}
    assert mine.author is ada
    assert mine.changed_fields() == ["title"]
    with pytest.raises(RecordModifiedError):
        mine.save(on_conflict="raise")


def test_a_model_without_memory_can_be_merged_by_hand():
    mine, theirs = pair(Forgetful.objects.create())
    mine.name, theirs.number = "mine", 2
    conflict_between(mine, theirs).merge({"name": "mine", "number": "theirs"}).save()
    row = Forgetful.objects.get()
    assert (row.name, row.number) == ("mine", 2)


def test_a_model_with_the_field_alone_can_be_merged_by_hand():
    mine, theirs = pair(FieldAlone.objects.create())
    mine.name, theirs.number = "mine", 2
    conflict_between(mine, theirs).merge({"name": "mine", "number": "theirs"}).save()
    row = FieldAlone.objects.get()
    assert (row.name, row.number, row.version) == ("mine", 2, 3)


def test_nothing_is_merged_onto_a_deleted_row(pages):
    mine, theirs = pages
    theirs.delete()
    mine.title = "mine"
    with pytest.raises(RecordDeletedError) as info:
        mine.save()
    for resolve in (None, "mine", "theirs"):
        with pytest.raises(MergeConflict, match="the row was deleted"):
            info.value.conflict.merge(resolve)
    assert mine.title == "mine"


def test_validation_after_a_merge_sees_the_merged_values(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "x" * 50
    page = conflict_between(mine, theirs).merge()
    page.full_clean()
    page.title += "x" * 60
    with pytest.raises(ValidationError):
        page.full_clean()


def test_a_conflict_of_values_alone_has_no_instance_to_merge_into():
    conflict = Conflict(
        Page, base={"title": "a"}, mine={"title": "a"}, theirs={"title": "b"}
    )
    with pytest.raises(TypeError, match="resolve\\(\\)"):
        conflict.merge()


def test_a_rolled_back_merge_is_undone(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    conflict = conflict_between(mine, theirs)
    undone(lambda: conflict.merge().save())
    assert (mine.amount, mine.title, mine.version) == (2, "Title", 1)
    assert mine.changed_fields() == ["amount"]


# By lines


def test_texts_are_merged_by_lines(pages):
    mine, theirs = pages
    mine.body = "ONE\ntwo\nthree\n"
    theirs.body = "one\ntwo\nTHREE\n"
    conflict = conflict_between(mine, theirs)
    assert conflict.merge({"body": "lines"}).body == "ONE\ntwo\nTHREE\n"


def test_lines_that_collide_are_undecided(pages):
    mine, theirs = pages
    mine.body = "ONE\ntwo\nthree\n"
    theirs.body = "uno\ntwo\nthree\n"
    with pytest.raises(MergeConflict, match="body"):
        conflict_between(mine, theirs).merge("lines")


def test_only_texts_have_lines(pages):
    mine, theirs = pages
    mine.data, theirs.data = {"a": 1}, {"a": 2}
    with pytest.raises(MergeConflict, match="data"):
        conflict_between(mine, theirs).merge("lines")


def test_lines_of_what_does_not_collide_are_those_of_who_changed_them(pages):
    mine, theirs = pages
    theirs.body = "theirs"
    assert conflict_between(mine, theirs).merge({"body": "lines"}).body == "theirs"


def test_without_merge3_merging_by_lines_says_what_to_install(pages, monkeypatch):
    mine, theirs = pages
    mine.body, theirs.body = "mine", "theirs"
    conflict = conflict_between(mine, theirs)
    monkeypatch.setitem(sys.modules, "merge3", None)  # can't be imported
    with pytest.raises(ImportError, match=r"pip install 'optilock\[merge\]'"):
        conflict.merge("lines")


# By policy


def test_a_save_cannot_ask(pages, monkeypatch):
    mine, theirs = pages
    monkeypatch.setattr(Page, "merge_decisions", {"title": "ask"})
    mine.title = theirs.title = "the same"
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save()


def test_a_save_merges_what_does_not_overlap(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    mine.save()
    row = Page.objects.get()
    assert (row.amount, row.title, row.version) == (2, "theirs", 3)
    assert (mine.amount, mine.title, mine.version) == (2, "theirs", 3)
    assert mine.changed_fields() == []


def test_a_save_raises_what_overlaps_and_leaves_the_instance_alone(pages):
    mine, theirs = pages
    mine.title, mine.amount = "mine", 2
    theirs.title, theirs.data = "theirs", {"a": 1}
    theirs.save()
    with pytest.raises(RecordModifiedError) as info:
        mine.save()
    assert (mine.title, mine.amount, mine.data, mine.version) == ("mine", 2, {}, 1)
    assert info.value.conflict.collisions == ["title"]
    assert isinstance(info.value.__cause__, MergeConflict)
    assert Page.objects.get().title == "theirs"


def test_raise_is_the_default():
    mine, theirs = pair(BookFactory())
    mine.title, theirs.stock = "mine", 9
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save()


def test_a_call_may_ask_for_a_merge():
    mine, theirs = pair(BookFactory())
    mine.title, theirs.stock = "mine", 9
    theirs.save()
    mine.save(on_conflict="merge")
    row = Book.objects.get()
    assert (row.title, row.stock) == ("mine", 9)


def test_a_call_may_ask_for_the_error(pages):
    mine, theirs = pages
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save(on_conflict="raise")


@pytest.mark.skipif(VERSION >= (6, 0), reason="Django 6.0 takes names only")
@pytest.mark.filterwarnings("ignore:Passing positional arguments to save")
def test_a_database_given_by_position_is_the_one_that_is_merged_with():
    HeadedBoard.objects.using("other").create()
    mine = HeadedBoard.objects.using("other").get()
    theirs = HeadedBoard.objects.using("other").get()
    theirs.save(using="other")
    mine.heading = "mine"
    with transaction.atomic(using="other"):
        mine.save(False, False, "other", on_conflict="merge")
    assert HeadedBoard.objects.using("other").get().heading == "mine"


def test_an_unknown_policy_is_refused(pages):
    with pytest.raises(ValueError, match="'merg'; use 'raise' or 'merge'"):
        pages[0].save(on_conflict="merg")


def test_a_save_applies_the_models_standing_decisions(pages):
    mine, theirs = pages
    mine.edited_by, theirs.edited_by = "me", "them"
    mine.body = "ONE\ntwo\nthree\n"
    theirs.body = "one\ntwo\nTHREE\n"
    theirs.save()
    mine.save()
    row = Page.objects.get()
    assert (row.edited_by, row.body) == ("me", "ONE\ntwo\nTHREE\n")


def test_standing_decisions_do_not_revert_what_only_they_changed(pages):
    mine, theirs = pages
    mine.amount, theirs.edited_by = 2, "them"
    theirs.save()
    mine.save()
    assert Page.objects.get().edited_by == "them"


def test_two_equal_deposits_are_not_merged_into_one(pages):
    mine, theirs = pages
    mine.amount += 10
    theirs.amount += 10
    theirs.save()
    with pytest.raises(RecordModifiedError) as info:
        mine.save()
    assert info.value.conflict["amount"].state is FieldState.SAME
    assert info.value.__cause__.fields == ["amount"]


def test_a_save_does_not_tear_a_group_apart(pages):
    mine, theirs = pages
    mine.amount, theirs.currency = 2, "USD"
    theirs.save()
    with pytest.raises(RecordModifiedError) as info:
        mine.save()
    assert info.value.conflict.collisions == ["amount", "currency"]


def test_a_winning_save_makes_no_extra_query(pages, django_assert_num_queries):
    with django_assert_num_queries(1):
        pages[0].save()


def test_a_merge_costs_one_read_and_one_write(pages, django_assert_num_queries):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    with django_assert_num_queries(3):  # the failing UPDATE among them
        mine.save()


def test_a_collision_costs_one_read(pages, django_assert_num_queries):
    mine, theirs = pages
    mine.title, theirs.title = "mine", "theirs"
    theirs.save()
    with django_assert_num_queries(2), pytest.raises(RecordModifiedError) as info:
        mine.save()
    with django_assert_num_queries(0):
        info.value.conflict.describe()


def test_a_merge_is_announced(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    seen = []

    def receiver(sender, signal, **kwargs):
        seen.append((sender, signal, kwargs))

    for signal in (conflict_detected, conflict_merged):
        signal.connect(receiver, sender=Page)
    try:
        mine.save()
    finally:
        for signal in (conflict_detected, conflict_merged):
            signal.disconnect(receiver, sender=Page)
    assert [signal for _, signal, _ in seen] == [conflict_detected, conflict_merged]
    merged = seen[1][2]
    assert merged["instance"] is mine
    assert merged["using"] == "default"
    assert merged["conflict"].names(FieldState.THEIRS) == ["title", "modified"]


def test_after_a_partial_save_it_is_still_known_who_changed_what(pages):
    mine, theirs = pages
    mine.title = "mine"
    mine.save(update_fields=["title"])
    theirs.refresh_from_db()
    mine.amount, theirs.data = 2, {"theirs": 1}
    theirs.save()
    mine.save()
    row = Page.objects.get()
    assert (row.title, row.amount, row.data) == ("mine", 2, {"theirs": 1})


def test_values_for_a_version_set_by_hand_are_not_merged_blindly(pages):
    """As a form does it: the version it was shown, set on a fresh instance."""
    mine, theirs = pages
    theirs.title = "theirs"
    theirs.save()
    mine.refresh_from_db()
    mine.version, mine.title = 1, "typed when the old title was shown"
    with pytest.raises(RecordModifiedError) as info:
        mine.save()
    assert "title" in info.value.conflict.collisions
    assert Page.objects.get().title == "theirs"


def test_a_save_never_merges_onto_a_deleted_row(pages):
    mine, theirs = pages
    mine.amount = 2
    theirs.delete()
    with pytest.raises(RecordDeletedError):
        mine.save()
    assert not Page.objects.exists()
    assert (mine.amount, mine.version) == (2, 1)


def test_a_save_never_merges_onto_a_row_that_a_child_lost():
    Bistro.objects.create(name="a", tables=1)
    mine, theirs = Bistro.objects.get(), Bistro.objects.get()
    theirs.delete(keep_parents=True)
    mine.name = "b"
    with pytest.raises(RecordDeletedError):
        mine.save(on_conflict="merge")


def test_without_memory_a_save_merges_nothing_that_differs():
    mine, theirs = pair(Forgetful.objects.create())
    mine.name, theirs.number = "mine", 1
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save(on_conflict="merge")


def test_a_partial_save_merges_too(pages):
    mine, theirs = pages
    mine.amount, mine.data, theirs.title = 2, {"mine": 1}, "theirs"
    theirs.save()
    mine.save(update_fields=["amount"])
    row = Page.objects.get()
    assert (row.amount, row.data, row.title) == (2, {}, "theirs")
    assert mine.changed_fields() == ["data"]


def test_a_partial_save_does_not_hide_a_collision_for_the_next_one(pages):
    mine, theirs = pages
    mine.amount, mine.title, theirs.title = 2, "mine", "theirs"
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save(update_fields=["amount"])


def test_deferred_fields_stay_deferred_in_a_merge(pages):
    mine = Page.objects.defer("body").get()
    theirs = pages[1]
    mine.amount, theirs.body, theirs.title = 2, "theirs", "theirs"
    theirs.save()
    mine.save()
    assert "body" in mine.get_deferred_fields()
    assert (Page.objects.get().body, mine.body, mine.title) == ("theirs",) * 3


def test_an_expression_is_merged_where_nobody_else_wrote():
    mine, theirs = pair(BookFactory(stock=3))
    mine.stock, theirs.title = F("stock") - 1, "theirs"
    theirs.save()
    mine.save(on_conflict="merge")
    row = Book.objects.get()
    assert (row.stock, row.title) == (2, "theirs")


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("model", "mine_field", "theirs_field"),
    [
        (Bistro, "stars", "tables"),
        (Bistro, "tables", "stars"),
        (HeadedBoard, "heading", "a"),
        (HeadedBoard, "a", "heading"),
    ],
)
def test_a_child_is_merged_with_its_parents(model, mine_field, theirs_field, inside):
    model.objects.create()
    mine, theirs = model.objects.get(), model.objects.get()
    setattr(mine, mine_field, 7)
    setattr(theirs, theirs_field, 8)
    theirs.save()
    with transaction.atomic() if inside else nullcontext():
        mine.save(on_conflict="merge")
    row = model.objects.get()
    assert str(getattr(row, mine_field)) == "7"
    assert str(getattr(row, theirs_field)) == "8"
    assert row.version == mine.version == 3


def test_a_child_merges_after_a_save_of_its_own_table_alone():
    Bistro.objects.create(name="a", tables=1)
    mine, theirs = Bistro.objects.get(), Bistro.objects.get()
    mine.tables = 2
    mine.save(update_fields=["tables"])
    theirs.refresh_from_db()
    mine.tables, theirs.name = 3, "theirs"
    theirs.save()
    mine.save(on_conflict="merge")
    row = Bistro.objects.get()
    assert (row.tables, row.name) == (3, "theirs")


def test_a_merge_goes_on_inside_a_transaction(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    with transaction.atomic():
        theirs.save()
        mine.save()
        assert Page.objects.get().amount == 2
    assert (Page.objects.get().title, Page.objects.get().amount) == ("theirs", 2)


def test_a_merging_save_that_is_rolled_back_leaves_the_instance_as_it_was(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    undone(mine.save)
    assert (mine.amount, mine.title, mine.version) == (2, "Title", 1)
    assert mine.changed_fields() == ["amount"]
    mine.save()
    assert (Page.objects.get().title, Page.objects.get().amount) == ("theirs", 2)


def test_a_save_merges_on_the_database_it_saves_to():
    page = PageFactory()
    other = Page.objects.using("other").create(pk=page.pk)
    other.title = "on the other"
    other.save()
    page.amount = 2
    page.save(using="other")
    row = Page.objects.using("other").get()
    assert (row.title, row.amount) == ("on the other", 2)
    assert Page.objects.using("default").get().title == "Title"


def interrupted(writes):
    """Have others write just before each of these attempts."""

    def receiver(instance, **kwargs):
        if writes and not getattr(instance, "is_other", False):
            writes.pop(0)()

    return receiver


def others_write(**changes):
    def write():
        Page.objects.update(version=F("version") + 1, **changes)

    return write


@pytest.fixture
def before_each_attempt():
    from django.db.models.signals import pre_save

    connected = []

    def connect(*writes):
        receiver = interrupted(list(writes))
        pre_save.connect(receiver, sender=Page)
        connected.append(receiver)

    yield connect
    for receiver in connected:
        pre_save.disconnect(receiver, sender=Page)


def test_a_save_merges_again_when_somebody_was_faster_again(pages, before_each_attempt):
    before_each_attempt(others_write(title="t"), others_write(data={"a": 1}))
    pages[0].amount = 2
    pages[0].save()
    row = Page.objects.get()
    assert (row.amount, row.title, row.data, row.version) == (2, "t", {"a": 1}, 4)


def test_a_merge_that_collides_in_the_second_round_is_undone(
    pages, before_each_attempt
):
    page = pages[0]
    before_each_attempt(others_write(title="t"), others_write(amount=9))
    page.amount = 2
    with pytest.raises(RecordModifiedError) as info:
        page.save()
    assert (page.amount, page.title, page.version) == (2, "Title", 1)
    assert page.changed_fields() == ["amount"]
    error = info.value
    assert (error.expected_version, error.current_version) == (1, 3)
    assert error.conflict.collisions == ["amount"]
    assert error.conflict.names(FieldState.THEIRS) == ["title"]
    error.conflict.merge("mine").save(on_conflict="raise")
    assert (Page.objects.get().amount, Page.objects.get().title) == (2, "t")


def test_a_row_deleted_between_two_rounds_is_not_merged(pages, before_each_attempt):
    page = pages[0]
    before_each_attempt(
        others_write(title="t"), lambda: Page.objects.all()._raw_delete("default")
    )
    page.amount = 2
    with pytest.raises(RecordDeletedError):
        page.save()
    assert (page.title, page.version) == ("Title", 1)


def test_merging_is_bounded(pages, before_each_attempt):
    page = pages[0]
    before_each_attempt(*[others_write(title=str(i)) for i in range(100)])
    page.amount = 2
    with pytest.raises(RecordModifiedError) as info:
        page.save()
    assert Page.objects.get().amount == 1
    assert info.value.expected_version == page.version == 1


def test_a_row_that_a_rule_holds_back_is_not_merged_for_ever(pages):
    """Nobody changed the row, and yet the UPDATE matches nothing."""

    class HeldBack(Page):
        def _do_update(self, base_qs, *args, **kwargs):
            return super()._do_update(base_qs.none(), *args, **kwargs)

        class Meta:
            proxy = True
            app_label = "testapp"

    page = HeldBack.objects.get()
    with pytest.raises(RecordModifiedError, match="matched no row"):
        page.save()


def test_a_conflict_of_another_instance_is_not_merged_into_this_one(pages):
    mine, theirs = pages
    stale = BookFactory()
    Book.objects.get(pk=stale.pk).save()

    def receiver(**kwargs):
        stale.save()

    post_save.connect(receiver, sender=Page)
    try:
        with pytest.raises(RecordModifiedError) as info:
            mine.save()
    finally:
        post_save.disconnect(receiver, sender=Page)
    assert info.value.instance is stale
    assert theirs.version == 1


def test_a_receiver_may_save_the_instance_again(pages):
    mine, theirs = pages
    theirs.title = "theirs"
    theirs.save()
    mine.amount = 2
    again = iter([True])

    def receiver(instance, **kwargs):
        if next(again, False):
            instance.data = {"again": 1}
            instance.save()

    post_save.connect(receiver, sender=Page)
    try:
        mine.save()
    finally:
        post_save.disconnect(receiver, sender=Page)
    row = Page.objects.get()
    assert (row.title, row.amount, row.data) == ("theirs", 2, {"again": 1})
    assert set(vars(mine._state)) == {
        "adding",
        "db",
        "_optilock_loaded",
        *({"peers", "fetch_mode", "fields_cache"} & set(vars(mine._state))),
    }


# Asynchronous


def test_asave_merges(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    async_to_sync(mine.asave)(on_conflict="merge")
    assert (Page.objects.get().title, Page.objects.get().amount) == ("theirs", 2)


def test_asave_follows_the_model(pages):
    mine, theirs = pages
    mine.amount, theirs.title = 2, "theirs"
    theirs.save()
    async_to_sync(mine.asave)()
    assert (Page.objects.get().title, Page.objects.get().amount) == ("theirs", 2)


# In transactions at each isolation level


STRICT = pytest.mark.parametrize("model", [StrictFirst, StrictLast, StrictChild])


@STRICT
@pytest.mark.parametrize("is_async", [False, True])
def test_a_save_that_takes_djangos_arguments_only_merges_all_the_same(model, is_async):
    mine, theirs = pair(model.objects.create())
    mine.name, theirs.number = "mine", 5
    theirs.save()
    with pytest.raises(RecordModifiedError):
        mine.save()
    save = async_to_sync(mine.asave) if is_async else mine.save
    save(on_conflict="merge", using="default")
    found = model.objects.get()
    assert (found.name, found.number, found.version) == ("mine", 5, 3)
    assert "on_conflict" not in vars(mine)


@STRICT
def test_a_policy_that_is_none_is_refused_there_too(model):
    with pytest.raises(ValueError, match="on_conflict"):
        model.objects.create().save(on_conflict="nonsense")
    with pytest.raises(TypeError):
        model.objects.create().save(nonsense=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one isolation level"
)
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_is_merged_with_what_is_there_now_or_not_at_all(level, overlapping):
    """Others write after the transaction has taken its snapshot."""
    mine = Page.objects.get(pk=PageFactory().pk)
    mine.amount = 2

    def others():
        page = Page.objects.get()
        page.title = "theirs"
        if overlapping:
            page.amount = 9
        page.save()

    raised = None
    # An isolation level is a session's: the connection is closed afterwards.
    set_level = (
        f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}"
        if connection.vendor == "postgresql"
        else f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(set_level)
        try:
            with transaction.atomic():
                Tag.objects.count()  # the snapshot is taken
                elsewhere(others)
                mine.save()
        except (OperationalError, RecordModifiedError) as error:
            raised = error
    finally:
        connection.close()
    row = Page.objects.get()
    assert row.title == "theirs"
    if overlapping:
        assert raised is not None
        assert row.amount == 9
    else:
        assert row.amount == (1 if raised else 2)
    if level == "READ COMMITTED":
        assert (raised is None) is not overlapping
    elif connection.vendor == "postgresql":
        assert isinstance(raised, OperationalError)
    assert mine.amount == 2
    assert (mine.version == 1) is (raised is not None)


# All of it, against a reference

ZONE = dt.timezone(dt.timedelta(hours=5))
UTC = dt.timezone.utc
#: For each field a few values, some of them written in several ways: what is in
#: one list is the same to the database.
VALUES = {
    "binary": [[b"", memoryview(b"")], [b"a"], [b"\x00\xff"]],
    "boolean": [[False], [True]],
    "char": [["a"], ["A"], ["ä"], [""]],
    "date": [[None], [dt.date(2024, 2, 29), "2024-02-29"], [dt.date(1999, 12, 31)]],
    "datetime": [
        [None],
        [dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, 5, tzinfo=ZONE)],
        [dt.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
    ],
    "decimal": [[Decimal(0), 0], [Decimal("1.50"), "1.5"], [Decimal("-1.50")]],
    "duration": [[None], [dt.timedelta(0)], [dt.timedelta(days=1, microseconds=1)]],
    "email": [["a@example.com"], [""]],
    "file": [["", None], ["a.txt"], ["b.txt"]],
    "float": [[0.0, 0], [0.1], [-1e10]],
    "integer": [[None], [0], [5, "5"], [-5]],
    "ip": [[None], ["127.0.0.1"], ["::1"]],
    "json": [[None], [{}], [[1]], [{"a": [1, {}]}], [{"a": True}], [{"a": 1}], [""]],
    "slug": [["a"], ["b"]],
    "tag": [[None], [1], [2]],
    "text": [["a"], ["b\n"], ["ä" * 500]],
    "time": [[None], [dt.time(12)], [dt.time(23, 59, 59, 999999)]],
    "uuid": [[None], [uuid.UUID(int=1), str(uuid.UUID(int=1))], [uuid.UUID(int=2)]],
}


def picks(names=tuple(VALUES)):
    """For each field, which of its values, and in which way written."""
    return st.fixed_dictionaries(
        {
            name: st.integers(0, len(VALUES[name]) - 1).flatmap(
                lambda i, name=name: st.tuples(
                    st.just(i), st.sampled_from(VALUES[name][i])
                )
            )
            for name in names
        }
    )


def changes():
    """Another value for some of the fields."""
    return st.sets(st.sampled_from(sorted(VALUES))).flatmap(
        lambda names: picks(tuple(sorted(names)))
    )


def assign(instance, picked):
    for name, (_, value) in picked.items():
        field = Everything._meta.get_field(name)
        setattr(instance, field.attname, value)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    base=picks(),
    mine=changes(),
    theirs=changes(),
    decisions=st.fixed_dictionaries(
        {name: st.sampled_from(["mine", "theirs", "base"]) for name in VALUES}
    ),
)
def test_a_merge_is_what_the_reference_says(base, mine, theirs, decisions):
    for pk in (1, 2):
        Tag.objects.get_or_create(pk=pk)
    row = Everything()
    assign(row, base)
    row.save()
    (me, them), (b, m, t) = (
        pair(row),
        [{n: (base | c)[n][0] for n in VALUES} for c in ({}, mine, theirs)],
    )
    assign(me, mine)
    assign(them, theirs)
    conflict = conflict_between(me, them)
    # The reference.
    collisions = [n for n in VALUES if b[n] != m[n] and b[n] != t[n] and m[n] != t[n]]
    sides = {"mine": m, "theirs": t, "base": b}
    merged = {
        n: sides[decisions[n]][n] if n in collisions else m[n] if m[n] != b[n] else t[n]
        for n in VALUES
    }
    assert conflict.collisions == collisions
    if collisions:
        with pytest.raises(MergeConflict) as info:
            conflict.merge()
        assert info.value.fields == collisions
    conflict.merge({n: decisions[n] for n in collisions}).save()
    saved = Everything.objects.get(pk=row.pk)
    assert saved.version == 3
    for name, number in merged.items():
        field = Everything._meta.get_field(name)
        expected = Conflict(
            Everything,
            base={},
            mine={name: VALUES[name][number][0]},
            theirs={name: vars(saved)[field.attname]},
        )
        assert expected[name].state is FieldState.SAME, name


@settings(max_examples=examples(40), deadline=None)
@given(mine=changes(), theirs=changes())
def test_a_merging_save_loses_nothing_or_raises(mine, theirs):
    for pk in (1, 2):
        Tag.objects.get_or_create(pk=pk)
    start = {name: (0, values[0][0]) for name, values in VALUES.items()}
    row = Everything()
    assign(row, start)
    row.save()
    me, them = pair(row)
    assign(me, mine)
    assign(them, theirs)
    them.save()
    m, t = [{n: (start | c)[n][0] for n in VALUES} for c in (mine, theirs)]
    overlap = any(m[n] and t[n] for n in VALUES)
    try:
        me.save(on_conflict="merge")
    except RecordModifiedError:
        assert overlap
    else:
        assert not overlap
        merged = {n: VALUES[n][m[n] or t[n]][0] for n in VALUES}
        saved = Everything.objects.get(pk=row.pk)
        comparison = Conflict(Everything, base={}, mine=merged, theirs=saved)
        assert comparison.collisions == []
