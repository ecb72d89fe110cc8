"""A refused write, compared field by field."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from around import pickled
from django.db import transaction
from django.db.models import F
from django.test.utils import isolate_apps
from factories import AuthorFactory, BookFactory, PageFactory
from testapp.models import (
    Bistro,
    Book,
    Computed,
    Everything,
    FieldAlone,
    Forgetful,
    Loan,
    Page,
    Tag,
)

from optilock import (
    Conflict,
    FieldState,
    MergeConflict,
    RecordDeletedError,
    RecordModifiedError,
)
from optilock.conflicts import UNKNOWN, FieldChange
from optilock.signals import conflict_detected
from optilock.values import comparable, same

pytestmark = pytest.mark.django_db(databases=["default", "other"])


UNCHANGED, MINE, THEIRS, SAME, COLLIDING, _ = FieldState


def refused(mine, write=lambda instance: instance.save(on_conflict="raise")):
    with pytest.raises(RecordModifiedError) as info:
        write(mine)
    return info.value


def pair(instance):
    """Return two instances of the same row."""
    manager = type(instance)._default_manager
    return manager.get(pk=instance.pk), manager.get(pk=instance.pk)


@pytest.fixture
def error():
    """One field for each state."""
    mine, theirs = pair(PageFactory())
    mine.title, theirs.title = "my title", "their title"
    mine.amount = 2
    theirs.body = "their body"
    mine.edited_by = theirs.edited_by = "both"
    theirs.save()
    return refused(mine)


def states(conflict):
    return {name: change.state for name, change in conflict.items()}


def test_each_field_has_a_state(error):
    assert states(error.conflict) == {
        "title": COLLIDING,
        "body": THEIRS,
        "amount": MINE,
        "currency": UNCHANGED,
        "data": UNCHANGED,
        "edited_by": SAME,
        "modified": THEIRS,
    }


def test_each_field_has_base_mine_and_theirs(error):
    change = error.conflict["title"]
    assert (change.base, change.mine, change.theirs) == (
        "Title",
        "my title",
        "their title",
    )


def test_collisions_are_named(error):
    assert error.conflict.collisions == ["title"]
    assert error.conflict["title"].collides


def test_the_versions_are_told(error):
    assert error.conflict.expected_version == 1
    assert error.conflict.current_version == 2


def test_nothing_is_queried_until_it_is_asked_for(django_assert_num_queries):
    mine, theirs = pair(PageFactory())
    theirs.save()
    with django_assert_num_queries(2):  # the UPDATE, and who else was there
        error = refused(mine)
    with django_assert_num_queries(1):
        assert error.conflict is error.conflict


def test_a_deleted_row_is_known_to_be_gone_without_a_query(django_assert_num_queries):
    mine, theirs = pair(PageFactory())
    theirs.delete()
    mine.title = "mine"
    error = refused(mine)
    assert isinstance(error, RecordDeletedError)
    with django_assert_num_queries(0):
        conflict = error.conflict
    assert conflict.deleted
    assert conflict.theirs is None
    assert conflict["title"].theirs is UNKNOWN
    assert conflict.names(MINE) == ["title"]


def test_a_row_deleted_after_the_error_is_gone(error):
    Page.objects.all().delete()
    assert error.conflict.theirs is None
    assert error.conflict.current_version is None


def test_the_row_is_read_from_the_database_that_refused():
    page = PageFactory()
    other = Page.objects.using("other").create(pk=page.pk, title="on the other")
    other.save()
    page.title = "mine"
    error = refused(page, lambda page: page.save(using="other", on_conflict="raise"))
    assert error.conflict["title"].theirs == "on the other"


def test_a_refused_delete_has_a_conflict_as_well():
    mine, theirs = pair(PageFactory())
    theirs.title = "theirs"
    theirs.save()
    error = refused(mine, lambda mine: mine.delete())
    assert error.conflict.names(THEIRS) == ["title", "modified"]


def test_a_refused_delete_of_a_parent_has_a_conflict_as_well():
    mine, theirs = pair(BookFactory())
    Loan.objects.filter(book=mine).delete()
    theirs.title = "theirs"
    theirs.save()
    error = refused(mine, lambda mine: mine.delete())
    assert error.conflict.names(THEIRS) == ["title"]


def test_text_of_a_conflict_shows_no_value(error):
    for text in (
        str(error.conflict),
        repr(error.conflict),
        repr(error.conflict["title"]),
    ):
        assert "their" not in text.replace("theirs", "")
        assert "my title" not in text
        assert "Title" not in text
    assert "title" in str(error.conflict)


def test_a_description_shows_the_values(error):
    text = error.conflict.describe()
    assert "  mine:   my title\n  theirs: their title" in text
    assert "currency" not in text


def test_a_description_shows_long_texts_as_a_diff(error):
    assert "-one\n-two\n-three\n+their body" in error.conflict.describe()


def test_a_description_of_a_deleted_row_says_so():
    mine, theirs = pair(PageFactory())
    theirs.delete()
    mine.title = "mine"
    text = refused(mine).conflict.describe()
    assert "the row was deleted" in text
    assert "  theirs: (unknown)" in text


def test_an_error_that_was_asked_keeps_its_conflict_when_pickled(error):
    assert error.conflict["title"].theirs == "their title"
    Page.objects.all().delete()
    again = pickled(error)
    assert again.conflict["title"].theirs == "their title"
    assert again.conflict["title"].base == "Title"


def test_an_error_that_was_not_asked_can_be_asked_when_unpickled(error):
    again = pickled(error)
    assert states(again.conflict) == states(error.conflict)


def test_a_deferred_field_is_not_compared():
    page = PageFactory()
    mine = Page.objects.defer("body").get(pk=page.pk)
    page.save()
    assert "body" not in refused(mine).conflict


def test_a_deferred_field_that_was_set_collides_if_it_differs():
    page = PageFactory()
    mine = Page.objects.defer("body").get(pk=page.pk)
    page.save()
    mine.body = "mine"
    change = refused(mine).conflict["body"]
    assert change.base is UNKNOWN
    assert change.collides


def test_without_memory_what_differs_collides():
    mine, theirs = pair(Forgetful.objects.create())
    mine.name, theirs.number = "mine", 1
    theirs.save()
    assert refused(mine).conflict.collisions == ["name", "number"]


def test_a_model_with_the_field_alone_has_conflicts_too():
    mine, theirs = pair(FieldAlone.objects.create())
    mine.name, theirs.name = "same", "same"
    theirs.number = 1
    theirs.save()
    conflict = refused(mine, lambda mine: mine.save()).conflict
    assert states(conflict) == {"name": SAME, "number": COLLIDING}


def test_a_child_is_compared_with_its_parents_fields():
    mine, theirs = pair(Bistro.objects.create(name="a", tables=1))
    mine.name, theirs.tables = "mine", 2
    theirs.save()
    conflict = refused(mine).conflict
    assert conflict.names(MINE) == ["name"]
    assert set(conflict.names(THEIRS)) == {"tables", "modified"}
    assert not any(name.endswith("_ptr") for name in conflict)


def test_foreign_keys_are_compared_by_key():
    mine, theirs = pair(BookFactory())
    author = AuthorFactory()
    theirs.author = author
    theirs.save()
    change = refused(mine).conflict["author"]
    assert (change.state, change.theirs) == (THEIRS, author.pk)


def test_generated_fields_are_theirs_and_never_collide():
    mine, theirs = pair(Computed.objects.create(name="a"))
    mine.name, theirs.name = "b", "c"
    theirs.save()
    conflict = refused(mine).conflict
    assert conflict.collisions == ["name"]
    assert (conflict["shout"].state, conflict["shout"].theirs) == (THEIRS, "C")


def test_an_expression_of_mine_collides_with_their_value():
    mine, theirs = pair(BookFactory(stock=3))
    mine.stock = F("stock") - 1
    theirs.stock = 5
    theirs.save()
    assert refused(mine).conflict.collisions == ["stock"]


TZ = dt.timezone(dt.timedelta(hours=5))


@pytest.mark.parametrize(
    ("field", "one", "other", "equal"),
    [
        ("binary", b"a", memoryview(b"a"), True),
        ("binary", b"a", b"b", False),
        ("boolean", True, 1, True),
        ("char", "1", 1, True),
        ("char", "a", "A", False),
        ("date", dt.date(2024, 2, 29), "2024-02-29", True),
        (
            "datetime",
            dt.datetime(2024, 1, 1, 5, tzinfo=TZ),
            dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc),
            True,
        ),
        (
            "datetime",
            dt.datetime(2024, 1, 1, 5),  # naive: the default zone is meant
            dt.datetime(2024, 1, 1, 11, tzinfo=dt.timezone.utc),
            True,
        ),
        (
            "datetime",
            dt.date(2024, 1, 1),
            dt.datetime(2024, 1, 1, 6, tzinfo=dt.timezone.utc),
            True,
        ),
        ("decimal", Decimal("1.50"), Decimal("1.5"), True),
        ("decimal", Decimal("1.50"), "1.5", True),
        ("decimal", Decimal("1.50"), 1.5, True),
        ("decimal", Decimal("1.50"), Decimal("1.504"), True),
        ("decimal", Decimal("1.50"), Decimal("1.51"), False),
        ("decimal", Decimal("1.50"), "not a number", False),
        ("duration", dt.timedelta(hours=1), dt.timedelta(minutes=60), True),
        ("file", "", None, True),
        ("integer", 5, "5", True),
        ("integer", 0, None, False),
        ("json", {"a": 1, "b": [1, 2]}, {"b": (1, 2), "a": 1}, True),
        ("json", {"a": 1}, {"a": True}, False),
        ("json", None, {}, False),
        ("tag", 1, "1", True),
        ("text", "", None, False),
        ("uuid", uuid.UUID(int=1), str(uuid.UUID(int=1)), True),
        ("uuid", uuid.UUID(int=1), "no uuid", False),
    ],
)
def test_values_are_compared_as_the_database_would(field, one, other, equal):
    field = Everything._meta.get_field(field)
    assert same(field, one, other) is equal
    assert same(field, other, one) is equal


def test_what_is_unknown_equals_only_itself():
    field = Everything._meta.get_field("char")
    assert same(field, UNKNOWN, UNKNOWN)
    assert not same(field, UNKNOWN, "")
    assert comparable(field, UNKNOWN) is UNKNOWN


def test_a_value_that_cannot_be_compared_differs():
    class Odd:
        def __eq__(self, other):
            raise TypeError

        __hash__ = object.__hash__

    field = Everything._meta.get_field("duration")
    assert not same(field, Odd(), Odd())


def test_a_conflict_can_be_made_from_values():
    """As a form has them: a signed base, cleaned data, and a fresh row."""
    row = PageFactory(title="theirs", body="b")
    conflict = Conflict(
        Page,
        base={"title": "base", "body": "b"},
        mine={"title": "mine", "body": "b"},
        theirs=row,
    )
    assert states(conflict) == {"title": COLLIDING, "body": UNCHANGED}
    assert conflict.current_version == 1
    assert conflict.resolve({"title": "mine"}) == {"title": "mine", "body": "b"}


def test_a_conflict_can_be_made_from_plain_mappings():
    conflict = Conflict(
        Page, base={"title": "a"}, mine={"title": "a"}, theirs={"title": "b"}
    )
    assert states(conflict) == {"title": THEIRS}
    assert conflict.resolve() == {"title": "b"}


def test_cleaned_data_of_a_form_can_be_compared_as_they_are():
    row = BookFactory()
    author = AuthorFactory()
    conflict = Conflict(
        Book,
        base={"title": row.title, "author": row.author_id},
        mine={"title": row.title, "author": author, "send_mail": True},
        theirs=row,
    )
    assert states(conflict) == {"title": UNCHANGED, "author": MINE}
    assert conflict.resolve()["author"] == author.pk


def test_a_conflict_can_be_given_its_own_idea_of_sameness():
    """Of a base value its maker may have no more than a digest."""
    title, body = (Page._meta.get_field(name) for name in ("title", "body"))
    conflict = Conflict.from_changes(
        Page,
        [
            FieldChange(title, THEIRS, UNKNOWN, "four", "fours"),
            FieldChange(body, MINE, UNKNOWN, "xy", "x"),
        ],
    )
    assert states(conflict) == {"title": THEIRS, "body": MINE}
    assert conflict.resolve() == {"title": "fours", "body": "xy"}
    assert "fours" in conflict.describe()


def test_fields_that_were_compared_elsewhere_collide_as_groups_all_the_same():
    title, body = (Page._meta.get_field(name) for name in ("title", "body"))
    conflict = Conflict.from_changes(
        Page,
        [
            FieldChange(title, THEIRS, "a", "a", "b"),
            FieldChange(body, MINE, "a", "b", "a"),
        ],
        merge_together=[("title", "body")],
    )
    assert conflict.collisions == ["title", "body"]


def test_of_a_deleted_row_that_was_compared_elsewhere_nothing_is_merged():
    title = Page._meta.get_field("title")
    change = FieldChange(title, MINE, "a", "b", UNKNOWN)
    conflict = Conflict.from_changes(Page, [change], deleted=True)
    assert conflict.deleted
    with pytest.raises(MergeConflict):
        conflict.resolve()


def test_a_conflict_can_be_given_its_own_groups():
    values = {"title": "a", "body": "a"}
    conflict = Conflict(
        Page,
        base=values,
        mine=values | {"title": "b"},
        theirs=values | {"body": "b"},
        merge_together=[("title", "body")],
    )
    assert conflict.collisions == ["title", "body"]


def test_an_instance_can_be_compared_before_it_is_saved():
    mine, theirs = pair(PageFactory())
    theirs.title = "theirs"
    theirs.save()
    assert Conflict.of(mine).names(THEIRS) == ["title", "modified"]


def test_fields_that_move_together_collide_together():
    mine, theirs = pair(PageFactory())
    mine.amount, theirs.currency = 2, "USD"
    theirs.save()
    assert refused(mine).conflict.collisions == ["amount", "currency"]


def test_a_group_that_only_one_side_changed_does_not_collide():
    mine, theirs = pair(PageFactory())
    mine.amount, mine.currency = 2, "USD"
    theirs.title = "theirs"
    theirs.save()
    conflict = refused(mine).conflict
    assert conflict.collisions == []
    assert conflict.names(MINE) == ["amount", "currency"]


def test_a_conflict_is_announced(error):
    seen = []

    def receiver(sender, **kwargs):
        seen.append((sender, kwargs["error"], kwargs["instance"], kwargs["using"]))

    conflict_detected.connect(receiver)
    try:
        again = refused(error.instance)
    finally:
        conflict_detected.disconnect(receiver)
    assert seen == [(Page, again, error.instance, "default")]


@pytest.mark.filterwarnings("default")
def test_a_receiver_that_fails_does_not_hide_the_conflict(error):
    def receiver(**kwargs):
        raise KeyError

    conflict_detected.connect(receiver)
    try:
        refused(error.instance)
    finally:
        conflict_detected.disconnect(receiver)


def test_in_a_transaction_the_row_is_read_as_it_is_now(error):
    with transaction.atomic():
        again = refused(error.instance)
        assert again.conflict["title"].theirs == "their title"


def test_a_field_says_what_people_call_it(error):
    assert error.conflict["edited_by"].label == "edited by"


def test_a_conflict_of_no_fields_is_one_all_the_same():
    assert Conflict(Page, base={}, mine={}, theirs={})


def test_without_memory_all_of_a_deleted_row_is_mine():
    mine, theirs = pair(Forgetful.objects.create(name="a"))
    theirs.delete()
    assert refused(mine).conflict.names(MINE) == ["name", "number"]


def test_what_nobody_changed_of_a_group_does_not_collide():
    conflict = Conflict(
        Page,
        base={"title": "a", "body": "a", "amount": 1},
        mine={"title": "mine", "body": "a", "amount": 1},
        theirs={"title": "a", "body": "theirs", "amount": 1},
        merge_together=[("title", "body", "amount")],
    )
    assert states(conflict) == {
        "title": COLLIDING,
        "body": COLLIDING,
        "amount": UNCHANGED,
    }


def test_rows_without_a_version_can_be_compared_and_merged_too():
    mine, theirs = pair(Tag.objects.create(name="base"))
    mine.name, theirs.name = "mine", "theirs"
    theirs.save()
    assert Conflict.of(mine).collisions == ["name"]
    conflict = Conflict.of(mine, base={"name": "base"})
    assert (conflict.expected_version, conflict.current_version) == (None, None)
    assert conflict.merge({"name": "theirs"}).name == "theirs"


@isolate_apps("testapp")
def test_a_merge_that_the_instance_refuses_leaves_it_as_it_was():
    class Picky(Page):
        class Meta:
            proxy = True
            app_label = "testapp"

        def __setattr__(self, name, value):
            if (name, value) == ("body", "theirs"):
                raise ValueError("not that")
            super().__setattr__(name, value)

    row = PageFactory(title="a", body="a")
    mine = Picky.objects.get(pk=row.pk)
    row.title = row.body = "theirs"
    row.save()
    mine.amount = 7
    with pytest.raises(ValueError, match="not that"):
        Conflict.of(mine).merge()
    assert (mine.title, mine.body, mine.amount, mine.version) == ("a", "a", 7, 1)
    assert mine.changed_fields() == ["amount"]
