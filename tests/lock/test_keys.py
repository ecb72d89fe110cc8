"""A row is the one that was loaded only under the key it was loaded with."""

from __future__ import annotations

import copy
import pickle

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Lower
from django.db.models.signals import post_save, pre_save
from django.forms import modelform_factory
from django.test.utils import CaptureQueriesContext, isolate_apps
from testapp.models import (
    Account,
    Article,
    BorrowedKey,
    CompositeKey,
    ConcurrentModel,
    Named,
    Place,
    Restaurant,
    StringKey,
    StringKeyAlone,
    StringKeyAloneLoading,
    StringKeyForgetting,
    StringKeyLoading,
    UUIDKey,
)

from optilock import RecordDeletedError, RecordModifiedError, VersionedModel, keys

pytestmark = pytest.mark.django_db(databases=["default", "other"])

NATURAL = [
    StringKey,
    StringKeyAlone,
    StringKeyForgetting,
    StringKeyLoading,
    StringKeyAloneLoading,
]
WHOLE = [StringKey, StringKeyForgetting, StringKeyLoading]
natural = pytest.mark.parametrize("model", NATURAL)
whole = pytest.mark.parametrize("model", WHOLE)


def two(model):
    """Two rows at the same version, the first of them loaded."""
    model.objects.create(code="A", name="alice")
    model.objects.create(code="B", name="bob")
    return model.objects.get(code="A")


def names(model):
    return dict(model.objects.order_by("pk").values_list("pk", "name"))


BOTH = {"A": "alice", "B": "bob"}


@natural
def test_another_row_is_not_overwritten(model):
    instance = two(model)
    instance.code, instance.name = "B", "changed"
    instance.full_clean(validate_unique=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    assert names(model) == BOTH


@natural
def test_validation_finds_the_other_row(model):
    instance = two(model)
    instance.full_clean()
    instance.code = "B"
    with pytest.raises(ValidationError, match="already exists"):
        instance.full_clean()
    instance.code = "C"
    instance.full_clean()
    assert not instance._state.adding


def test_form_tells_of_the_other_row():
    instance = two(StringKey)
    form_class = modelform_factory(StringKey, fields=["code", "name"])
    form = form_class({"code": "B", "name": "changed"}, instance=instance)
    assert list(form.errors) == ["code"]
    assert names(StringKey) == BOTH


@natural
def test_refused_insert_leaves_the_instance_as_it_was(model):
    instance = two(model)
    instance.save()
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    assert (instance.code, instance.version) == ("B", 2)
    instance.code, instance.name = "A", "anna"
    instance.save()
    assert names(model) == {"A": "anna", "B": "bob"}
    assert model.objects.get(code="A").version == 3


@natural
def test_refused_copy_doesn_t_lend_its_key(model):
    instance = two(model)
    instance.code, instance._state.adding = "C", True
    instance.name = None  # which the column doesn't take
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    instance.code, instance.name, instance._state.adding = "A", "anna", False
    instance.save()
    assert names(model) == {"A": "anna", "B": "bob"}


@natural
def test_free_key_gives_a_new_row(model):
    instance = two(model)
    instance.save()
    instance.code, instance.name = "C", "carol"
    instance.save()
    assert names(model) == {**BOTH, "C": "carol"}
    assert instance.version == model.objects.get(code="C").version == 1


@natural
@pytest.mark.parametrize("repeats", [1, 2])
def test_new_row_is_then_the_instance_s_own(model, repeats):
    instance = two(model)
    for code in "CD"[:repeats]:
        instance.code = code
        instance.save()
    stale = model.objects.get(code=code)
    instance.name = "again"
    instance.save()
    assert names(model)[code] == "again"
    with pytest.raises(RecordModifiedError):
        stale.save()
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    assert names(model)["B"] == "bob"


@natural
def test_created_object_is_another_row_under_another_key(model):
    model.objects.create(code="B", name="bob")
    instance = model.objects.create(code="A", name="alice")
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    assert names(model) == BOTH


@natural
def test_bulk_created_object_is_another_row_under_another_key(model):
    model.objects.create(code="B", name="bob")
    (instance,) = model.objects.bulk_create([model(code="A", name="alice")])
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    instance.code, instance.name = "A", "anna"
    instance.save()
    assert names(model) == {"A": "anna", "B": "bob"}


@natural
@pytest.mark.parametrize(
    "options", [{"force_update": True}, {"update_fields": ["name"]}], ids=str
)
@pytest.mark.parametrize("code", ["B", "C"])
def test_forced_update_of_an_unread_row_is_refused(model, options, code):
    instance = two(model)
    instance.code, instance.name = code, "changed"
    with pytest.raises(ValueError, match="another primary key"), transaction.atomic():
        instance.save(**options)
    assert names(model) == BOTH


@natural
@pytest.mark.parametrize(
    "options", [{"force_update": True}, {"update_fields": ["name"]}, "raw"], ids=str
)
def test_key_of_an_object_that_was_saved_without_being_loaded_is_known(model, options):
    two(model)
    instance = model(code="A", name="anna", version=1)
    if options == "raw":
        instance.save_base(raw=True)
    else:
        instance.save(**options)
    # The other row has come to the very number that the object holds.
    model.objects.filter(code="B").update(version=instance.version)
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    assert names(model) == {"A": "anna", "B": "bob"}
    instance.code, instance.name = "A", "again"
    instance.save()
    assert names(model) == {"A": "again", "B": "bob"}


@natural
def test_force_insert_inserts(model):
    instance = two(model)
    instance.code = "C"
    instance.save(force_insert=True)
    instance.save()
    assert names(model) == {**BOTH, "C": "alice"}


@whole
def test_unread_row_is_not_deleted(model):
    instance = two(model)
    instance.code = "B"
    with pytest.raises(ValueError, match=r"so delete\(\) would write a row nobody"):
        instance.delete()
    assert names(model) == BOTH


@whole
def test_unread_row_is_not_touched(model):
    instance = two(model)
    instance.code = "B"
    with pytest.raises(ValueError, match=r"so touch\(\) would write a row nobody"):
        instance.touch()
    assert model.objects.get(code="B").version == 1


@whole
def test_unread_row_is_not_bulk_updated(model):
    instance = two(model)
    instance.code, instance.name = "B", "changed"
    with pytest.raises(ValueError, match=r"so bulk_update\(\) would write a row"):
        model.objects.bulk_update([instance], ["name"])
    assert names(model) == BOTH


@natural
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda obj: pickle.loads(pickle.dumps(obj))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle"],
)
def test_duplicate_knows_the_key_too(model, duplicate):
    twin = duplicate(two(model))
    twin.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save()
    twin.code, twin.name = "A", "anna"
    twin.save()
    assert names(model) == {"A": "anna", "B": "bob"}


@natural
@pytest.mark.parametrize("fields", [None, ["name", "version"]], ids=str)
def test_refreshed_object_is_the_row_it_was_refreshed_from(model, fields):
    instance = two(model)
    instance.code = "B"
    instance.refresh_from_db(fields=fields)
    instance.name = "bert"
    instance.save()
    assert names(model) == {"A": "alice", "B": "bert"}


@natural
@pytest.mark.parametrize("field", ["name", "code"])
def test_refresh_without_the_version_reads_no_row(model, field):
    instance = two(model)
    instance.code = "B"
    instance.refresh_from_db(fields=[field])
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()


@natural
def test_refresh_through_a_queryset_that_leaves_the_version_out_reads_no_row(model):
    instance = two(model)
    instance.code = "B"
    rows = models.QuerySet(model).defer("version")
    instance.refresh_from_db(from_queryset=rows)
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()


@natural
def test_deferred_fields_don_t_hide_the_key(model):
    two(model)
    instance = model.objects.only("version").get(code="A")
    instance.code = "B"
    with pytest.raises(ValueError, match="another primary key"), transaction.atomic():
        instance.save()
    assert names(model) == BOTH


@natural
def test_key_changed_by_a_receiver_of_pre_save_counts(model):
    instance = two(model)

    def rename(instance, **kwargs):
        instance.code = "B"

    pre_save.connect(rename, sender=model)
    try:
        with pytest.raises(IntegrityError), transaction.atomic():
            instance.save()
    finally:
        pre_save.disconnect(rename, sender=model)
    assert names(model) == BOTH


@natural
def test_new_row_that_is_rolled_back_leaves_the_loaded_one(model):
    instance = two(model)
    instance.save()
    instance.code = "C"
    with transaction.atomic():
        instance.save()
        transaction.set_rollback(True)
    assert names(model) == BOTH
    assert instance.version == 2
    instance.save()
    assert names(model) == {**BOTH, "C": "alice"}


@natural
def test_rolled_back_new_row_doesn_t_lend_its_key(model):
    instance = two(model)
    instance.code = "C"
    with transaction.atomic():
        instance.save()
        transaction.set_rollback(True)
    model.objects.create(code="C", name="somebody else")
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    instance.code, instance.name = "A", "anna"
    instance.save()
    assert names(model) == {"A": "anna", "B": "bob", "C": "somebody else"}


@natural
def test_other_database_is_no_other_row(model):
    instance = two(model)
    model.objects.using("other").create(code="B", name="bob")
    instance.code = "B"
    with pytest.raises(IntegrityError), transaction.atomic(using="other"):
        instance.save(using="other")
    instance.code = "C"
    instance.save(using="other")
    assert set(model.objects.using("other").values_list("pk", flat=True)) == {"B", "C"}


@natural
def test_object_said_to_be_new_is_inserted(model):
    instance = two(model)
    instance._state.adding = True
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    instance.code = "C"
    instance.save()
    assert names(model) == {**BOTH, "C": "alice"}


@pytest.mark.parametrize("model", [Account, ConcurrentModel])
def test_key_of_another_type_is_the_same_key(model):
    instance = model.objects.get(pk=model.objects.create().pk)
    instance.pk = str(instance.pk)
    instance.save()
    assert model.objects.get().version == 2


@pytest.mark.parametrize("model", [Account, ConcurrentModel])
def test_number_nobody_has_is_a_new_row(model):
    instance = model.objects.get(pk=model.objects.create().pk)
    instance.pk += 1000
    instance.save()
    instance.save()
    assert model.objects.count() == 2
    assert model.objects.get(pk=instance.pk).version == 2


def test_text_of_a_uuid_is_the_same_key():
    instance = UUIDKey.objects.get(pk=UUIDKey.objects.create(name="a").pk)
    instance.pk = str(instance.pk)
    instance.save()
    assert UUIDKey.objects.get().version == 2


def test_another_uuid_is_another_row():
    taken = UUIDKey.objects.create(name="b")
    instance = UUIDKey.objects.get(pk=UUIDKey.objects.create(name="a").pk)
    instance.pk = taken.pk
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()


@pytest.mark.parametrize("new", [{"pk": (1, 2)}, {"number": 2}], ids=str)
def test_any_part_of_a_composite_key_counts(new):
    for number in (1, 2):
        CompositeKey.objects.create(tenant=1, number=number, name=str(number))
    instance = CompositeKey.objects.get(pk=(1, 1))
    for name, value in new.items():
        setattr(instance, name, value)
    instance.name = "changed"
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    with pytest.raises(ValueError, match="another primary key"):
        instance.delete()
    instance.number = 3
    instance.save()
    found = CompositeKey.objects.order_by("number").values_list("number", "name")
    assert list(found) == [(1, "1"), (2, "2"), (3, "changed")]


def test_key_that_is_a_relation_counts():
    first, second, third = (Named.objects.create(title=t) for t in "abc")
    BorrowedKey.objects.create(named=second)
    instance = BorrowedKey.objects.get(pk=BorrowedKey.objects.create(named=first).pk)
    instance.named = second
    with pytest.raises(IntegrityError), transaction.atomic():
        instance.save()
    with pytest.raises(ValueError, match="another primary key"):
        instance.delete()
    instance.named = third
    instance.save()
    assert BorrowedKey.objects.count() == 3


@pytest.fixture
def restaurants():
    for name in ("a", "b"):
        Restaurant.objects.create(name=name)
    return Restaurant.objects.order_by("pk")


def test_parent_s_key_counts(restaurants):
    first, second = restaurants
    first.id, first.name = second.id, "changed"
    with pytest.raises(IntegrityError), transaction.atomic():
        first.save()
    assert [r.name for r in restaurants.all()] == ["a", "b"]
    with pytest.raises(ValueError, match="another primary key"):
        first.delete()


def test_free_key_of_a_parent_gives_two_new_rows(restaurants):
    first, second = restaurants
    first.id = second.id + 1000
    first.save()
    first.save()
    assert Restaurant.objects.count() == Place.objects.count() == 3
    assert Place.objects.get(pk=first.pk).version == 2


def test_child_s_own_key_alone_means_its_parent_s_row_as_in_django(restaurants):
    first, second = restaurants
    key, first.pk, first.name = first.pk, second.pk, "changed"
    for refused in (first.delete, first.touch):
        with pytest.raises(ValueError, match="another primary key"):
            refused()
    with pytest.raises(ValueError, match="another primary key"):
        Restaurant.objects.bulk_update([first], ["stars"])
    first.save()
    assert first.pk == key
    assert [r.name for r in restaurants.all()] == ["changed", "b"]


def test_child_whose_parent_s_key_was_not_asked_for_is_saved():
    pk = Restaurant.objects.create(name="a").pk
    instance = Restaurant.objects.only("stars").get(pk=pk)
    assert "id" in instance.get_deferred_fields()
    instance.stars = 3
    instance.save()
    assert Restaurant.objects.get().version == 2


@pytest.mark.parametrize("is_loaded", [True, False])
def test_state_shared_with_the_parent_says_nothing_of_the_child(is_loaded):
    place = Place.objects.create(pk=5, name="a")
    if is_loaded:
        place = Place.objects.get()
    child = Restaurant(place_ptr=place, stars=5)
    child.__dict__.update(place.__dict__)
    child.save()
    assert Restaurant.objects.get().version == 2


@natural
def test_copy_without_a_key_stays_a_copy(model):
    instance = two(model)
    instance.pk = None
    instance.code = "C"
    instance.save()
    assert names(model) == {**BOTH, "C": "alice"}


def test_row_that_is_gone_is_still_told_as_gone():
    instance = Account.objects.create()
    Account.objects.filter(pk=instance.pk).delete()
    with pytest.raises(RecordDeletedError):
        instance.save()


@natural
def test_nothing_is_asked_before_the_insert(model):
    instance = two(model)
    instance.code = "C"
    with CaptureQueriesContext(connection) as queries:
        instance.save()
    assert [q["sql"].split()[0] for q in queries] == ["INSERT"]


def test_key_that_the_database_has_yet_to_make_is_not_the_one_to_be_known_by():
    new = StringKeyAlone(code=Lower(models.Value("C")), name="carol")
    (instance,) = StringKeyAlone.objects.bulk_create([new])
    instance.code, instance.name = "c", "again"
    instance.save()
    assert names(StringKeyAlone) == {"c": "again"}


@isolate_apps("testapp")
def test_key_that_is_stored_as_the_same_is_the_same_key():
    class Lowered(models.CharField):
        def get_prep_value(self, value):
            return super().get_prep_value(value).lower()

    class Word(VersionedModel):
        code = Lowered(primary_key=True, max_length=20)

        class Meta:
            app_label = "testapp"

    names = [field.attname for field in Word._meta.concrete_fields]
    word = Word.from_db(
        "default", names, [{"code": "a"}.get(name, 1) for name in names]
    )
    word.code = "A"
    assert not keys.has_new_key(word)
    word.code = "B"
    assert keys.has_new_key(word)


def test_what_was_inserted_under_another_key_can_be_saved_by_a_receiver():
    first, other = Article.objects.create(views=1), Article.objects.create()
    other.delete()

    def save_again(instance, created, **kwargs):
        if created:
            instance.views = 8
            instance.save()

    first.pk, first.views = other.pk or first.pk + 1, 7
    post_save.connect(save_again, sender=Article)
    try:
        first.save()
    finally:
        post_save.disconnect(save_again, sender=Article)
    row = Article.objects.get(pk=first.pk)
    assert (row.views, row.version, first.version) == (8, 2, 2)
    first.save()
    assert Article.objects.get(pk=first.pk).version == 3
    assert Article.objects.count() == 2


def test_a_key_that_can_be_none_is_another_one():
    account = Account.objects.create()
    account.pk = "nobody's"
    with pytest.raises(ValueError, match="under another primary key"):
        account.delete()
    assert Account.objects.exists()


def test_what_nobody_is_protected_from_is_written_under_any_key():
    first, second = Article.objects.create(), Article.objects.create()
    first.pk, first.views = second.pk, 7
    first.save(update_fields=["views"])
    second.refresh_from_db()
    assert (second.views, second.version) == (7, 1)
