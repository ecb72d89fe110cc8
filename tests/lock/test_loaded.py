"""What instances remember of the values they were loaded with."""

from __future__ import annotations

import copy
import json

import pytest
from around import pickled, undone
from django.db import transaction
from django.db.models import F
from django.test.utils import isolate_apps
from factories import AccountFactory, EverythingFactory, PageFactory
from testapp.models import (
    Account,
    Bistro,
    Everything,
    Forgetful,
    HeadedBoard,
    Page,
    Place,
    Restaurant,
)

from optilock import RecordModifiedError
from optilock.loaded import UNKNOWN, frozen
from optilock.values import base_values

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.fixture
def page():
    return Page.objects.get(pk=PageFactory(data={"tags": ["new"]}).pk)


def test_a_loaded_instance_has_no_changed_fields(page):
    assert page.changed_fields() == []


def test_changed_fields_are_named_in_the_models_order(page):
    page.amount = 2
    page.title = "Other"
    assert page.changed_fields() == ["title", "amount"]


def test_a_value_changed_back_is_not_changed(page):
    page.title = "Other"
    page.title = "Title"
    assert page.changed_fields() == []


def test_a_change_in_place_is_seen(page):
    page.data["tags"].append("old")
    assert page.changed_fields() == ["data"]


def test_a_true_that_becomes_1_inside_json_is_a_change():
    page = PageFactory(data={"sure": True})
    page.data["sure"] = 1
    assert page.changed_fields() == ["data"]


def test_a_change_in_place_is_seen_after_a_save_too():
    page = PageFactory(data={"tags": []})
    page.data["tags"].append("old")
    assert page.changed_fields() == ["data"]


def test_of_a_new_instance_every_field_is_changed():
    assert Page().changed_fields() == [
        field.name
        for field in Page._meta.concrete_fields
        if field.name not in ("id", "version", "modified")
    ]


def test_what_the_save_sets_itself_is_never_a_change(page):
    page.modified = None
    assert page.changed_fields() == []


def test_nothing_is_changed_after_an_insert():
    assert PageFactory().changed_fields() == []


def test_nothing_is_changed_after_a_save(page):
    page.title = "Other"
    page.save()
    assert page.changed_fields() == []


def test_after_a_partial_save_the_rest_is_still_changed(page):
    page.title, page.body = "Other", "other"
    page.save(update_fields=["title"])
    assert page.changed_fields() == ["body"]


def test_changed_fields_can_be_saved_alone(page, django_assert_num_queries):
    page.title = "Other"
    with django_assert_num_queries(1) as queries:
        page.save(update_fields=page.changed_fields())
    assert "body" not in queries[0]["sql"]


def test_what_a_receiver_changes_after_the_save_is_still_to_be_saved(page):
    from django.db.models.signals import post_save

    def receiver(instance, **kwargs):
        instance.title = "from the receiver"

    post_save.connect(receiver, sender=Page)
    try:
        page.save()
    finally:
        post_save.disconnect(receiver, sender=Page)
    assert page.changed_fields() == ["title"]


def test_nothing_is_changed_after_a_refresh(page):
    page.title = "Other"
    page.refresh_from_db()
    assert page.changed_fields() == []


def test_after_a_partial_refresh_the_rest_is_still_changed(page):
    page.title, page.body = "Other", "other"
    page.refresh_from_db(fields=["title"])
    assert page.changed_fields() == ["body"]


def test_a_refresh_remembers_what_was_read_and_not_what_was_loaded_first(page):
    Page.objects.filter(pk=page.pk).update(title="theirs")
    page.refresh_from_db(fields=["title"])
    assert base_values(page)["title"] == "theirs"


def test_a_refresh_through_a_queryset_that_defers_leaves_that_field_changed(page):
    page.title, page.body = "Other", "other"
    page.refresh_from_db(from_queryset=Page.objects.defer("body"))
    assert page.changed_fields() == ["body"]


def test_a_change_in_place_is_seen_after_a_refresh(page):
    page.refresh_from_db()
    page.data["tags"].append("old")
    assert page.changed_fields() == ["data"]


def test_a_deferred_field_is_unknown_and_not_changed():
    page = Page.objects.defer("body").get(pk=PageFactory().pk)
    assert "body" not in base_values(page)
    assert page.changed_fields() == []


def test_a_deferred_field_is_known_once_it_is_read():
    page = Page.objects.defer("body").get(pk=PageFactory(body="text").pk)
    assert page.body == "text"
    assert base_values(page)["body"] == "text"


def test_a_deferred_field_that_is_set_counts_as_changed():
    page = Page.objects.defer("body").get(pk=PageFactory().pk)
    page.body = "text"
    assert page.changed_fields() == ["body"]


def test_an_expression_counts_as_changed_until_its_value_is_known(page):
    page.amount = F("amount") + 1
    assert page.changed_fields() == ["amount"]
    page.save()
    page.refresh_from_db(fields=["amount"])
    assert page.changed_fields() == []
    assert base_values(page)["amount"] == 2


def test_what_an_expression_wrote_is_not_taken_for_what_was_loaded(page):
    page.amount = F("amount") + 1
    page.save()
    assert base_values(page).get("amount") in (None, 2)  # Django 6.0 may know it


def test_an_upload_is_a_change_even_by_the_same_name():
    from django.core.files.base import ContentFile

    thing = EverythingFactory(file="a.txt")
    thing = Everything.objects.get(pk=thing.pk)
    thing.file = ContentFile(b"new", name="a.txt")
    assert thing.changed_fields() == ["file"]


def test_looking_at_a_file_is_no_change():
    thing = Everything.objects.get(pk=EverythingFactory(file="a.txt").pk)
    assert thing.file.name == "a.txt"
    assert thing.changed_fields() == []


def test_generated_fields_are_never_changed_by_hand():
    thing = Everything.objects.get(pk=EverythingFactory(char="a").pk)
    thing.char = "b"
    assert thing.changed_fields() == ["char"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_remember_too(page, copied):
    page.title = "Other"
    assert copied(page).changed_fields() == ["title"]


def test_a_deep_copy_of_a_deferred_instance_still_knows_what_it_does_not_know():
    page = Page.objects.defer("body").get(pk=PageFactory().pk)
    assert "body" not in base_values(copy.deepcopy(page))


def test_binary_values_survive_pickling():
    thing = EverythingFactory(binary=memoryview(b"abc"))
    again = pickled(thing)
    assert again.changed_fields() == []


def test_a_rollback_puts_the_memory_back(page):
    page.title = "Other"
    undone(page.save)
    assert page.changed_fields() == ["title"]


def test_a_rolled_back_savepoint_puts_the_memory_back(page):
    page.title = "Other"
    with transaction.atomic():
        page.save()
        page.body = "other"
        undone(page.save)
    assert page.changed_fields() == ["body"]


def test_a_refused_save_changes_no_memory(page):
    Page.objects.get(pk=page.pk).save()
    page.body = "other"
    page.on_conflict = "raise"
    with pytest.raises(RecordModifiedError):
        page.save()
    assert page.changed_fields() == ["body"]


def test_a_refused_save_changes_no_memory_of_a_parent_written_before():
    board = HeadedBoard.objects.create()
    stale = HeadedBoard.objects.get()
    board.save()
    stale.heading = "b"
    with transaction.atomic():
        with pytest.raises(RecordModifiedError):
            stale.save()
        transaction.set_rollback(True)
        assert stale.changed_fields() == ["heading"]


def test_children_remember_their_parents_fields():
    Bistro.objects.create(name="a", stars=1, tables=2)
    bistro = Bistro.objects.get()
    bistro.name, bistro.tables = "b", 3
    assert bistro.changed_fields() == ["name", "tables"]
    bistro.save()
    assert bistro.changed_fields() == []


def test_of_a_child_only_the_saved_table_is_remembered_anew():
    Restaurant.objects.create(name="a", stars=1)
    restaurant = Restaurant.objects.get()
    restaurant.name, restaurant.stars = "b", 3
    restaurant.save(update_fields=["stars"])
    assert restaurant.changed_fields() == ["name"]
    assert Place.objects.get().name == "a"


def test_the_memory_can_be_turned_off():
    Forgetful.objects.create(name="a")
    forgetful = Forgetful.objects.get()
    assert base_values(forgetful) == {}
    assert forgetful.changed_fields() == ["name", "number"]


def test_only_state_carries_the_memory():
    """Nothing squats on names that a model may want."""
    account = Account.objects.get(pk=AccountFactory().pk)
    fields = {field.attname for field in Account._meta.concrete_fields}
    assert set(vars(account)) == {*fields, "_state"}


def test_a_row_of_a_raw_query_is_remembered(page):
    (raw,) = Page.objects.raw(
        f"SELECT title, version, id FROM {Page._meta.db_table} WHERE id = {page.pk}"
    )
    assert base_values(raw) == {"title": "Title"}


def test_a_row_read_along_with_another_is_remembered():
    from factories import BookFactory
    from testapp.models import Book

    BookFactory(author__name="Ada")
    book = Book.objects.select_related("author").get()
    assert base_values(book.author) == {"name": "Ada"}


def test_what_bulk_update_wrote_is_remembered(page):
    page.title, page.body = "Other", "other"
    Page.objects.bulk_update([page], ["title"])
    assert page.changed_fields() == ["body"]
    theirs = Page.objects.get()
    theirs.amount = 2
    theirs.save()
    page.save()
    assert (Page.objects.get().title, Page.objects.get().amount) == ("Other", 2)


def test_a_rolled_back_bulk_update_puts_the_memory_back(page):
    page.title = "Other"
    undone(lambda: Page.objects.bulk_update([page], ["title"]))
    assert page.changed_fields() == ["title"]


def test_json_as_deep_as_it_can_be_read_is_remembered():
    deep = json.loads('[{"a":' * 300 + "0" + "}]" * 300)
    (copied,) = frozen(deep)
    assert copied is not deep[0]
    assert [*copied] == ["a"]


def test_what_is_not_known_says_so():
    assert repr(UNKNOWN) == "UNKNOWN"


class KeptElsewhere:
    """A descriptor of somebody's own, which keeps the value under another name."""

    def __get__(self, instance, owner=None):
        return vars(instance)["kept"]

    def __set__(self, instance, value):
        vars(instance)["kept"] = value


@isolate_apps("testapp")
def test_a_value_that_is_kept_elsewhere_counts_as_deferred_as_in_django():
    class Keeping(Account):
        owner = KeptElsewhere()

        class Meta:
            proxy = True
            app_label = "testapp"

    account = Keeping.objects.create(owner="a")
    account.balance = 7
    assert account.changed_fields() == ["balance"]
    account.save()
    assert (account.version, Account.objects.get().owner) == (2, "a")


def test_a_parents_state_is_not_taken_for_the_childs():
    place = Place.objects.create(name="a")
    child = Restaurant(place_ptr=place, stars=3)
    child.__dict__.update(place.__dict__)  # as Django's users make a child of it
    assert "stars" in child.changed_fields()
    child.save()
    assert (child.version, Restaurant.objects.get().stars) == (2, 3)
