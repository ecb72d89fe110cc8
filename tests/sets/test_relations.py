"""The managers that Django makes for relations of a ``VersionedManager``."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from factories import BookFactory
from testapp.models import Book, Label, Labelled, Order, Parcel, Remark, Remarked

from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db


def again(instance):
    return type(instance).objects.get(pk=instance.pk)


def test_counting_a_many_to_many_relation_needs_no_join():
    label = Label.objects.create()
    for _ in range(2):
        Labelled.objects.create().labels.add(label)
    with CaptureQueriesContext(connection) as queries:
        assert label.labelled_set.count() == 2
        assert label.labelled_set.exists()
    assert not any("JOIN" in query["sql"] for query in queries.captured_queries)


def test_a_prefetched_relation_is_counted_without_a_query(django_assert_num_queries):
    Labelled.objects.create().labels.add(Label.objects.create())
    label = Label.objects.prefetch_related("labelled_set").get()
    with django_assert_num_queries(0):
        assert label.labelled_set.count() == 1
        assert label.labelled_set.exists()


def test_other_relations_and_managers_count_as_ever():
    book = BookFactory()
    assert book.author.books.count() == Book.objects.count() == 1
    assert book.author.books.exists()
    assert Book.objects.exists()


# set(…, clear=True, bulk=False): what was removed is set again


def order_with_parcels(codes="abc"):
    order = Order.objects.create(number=codes)
    return order, [Parcel.objects.create(order=order, code=code) for code in codes]


@pytest.mark.parametrize("is_async", [False, True])
def test_rows_that_are_cleared_and_set_again_are_no_conflict(is_async):
    order, parcels = order_with_parcels()
    kept = [again(parcel) for parcel in parcels[:2]]
    put = async_to_sync(order.parcels.aset) if is_async else order.parcels.set
    put(kept, clear=True, bulk=False)
    assert set(order.parcels.all()) == set(kept)
    assert [parcel.version for parcel in kept] == [again(p).version for p in kept]
    for parcel in kept:
        parcel.save()
    with pytest.raises(RecordModifiedError):
        parcels[0].save()


def test_a_row_changed_by_somebody_else_is_not_set_again():
    order, [parcel, *_] = order_with_parcels()
    stale = again(parcel)
    parcel.save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        order.parcels.set([stale], clear=True, bulk=False)
    assert order.parcels.count() == 3


def test_new_rows_and_rows_of_others_are_set_as_ever():
    order, _ = order_with_parcels()
    other = again(order_with_parcels("x")[1][0])
    order.parcels.set([other, Parcel(code="y")], clear=True, bulk=False)
    assert order.parcels.count() == 2
    assert other.version == again(other).version


def test_what_cannot_be_set_is_refused_with_djangos_words():
    order, _ = order_with_parcels()
    wrong = pytest.raises(TypeError, match="'Parcel' instance expected")
    with wrong, transaction.atomic():
        order.parcels.set([order], clear=True, bulk=False)
    order, [parcel] = order_with_parcels("x")
    order.parcels.set([parcel], clear=True)
    order.parcels.set([], bulk=False)
    assert not order.parcels.exists()


@pytest.mark.parametrize("clear", [False, True])
def test_an_argument_that_django_does_not_know_is_refused(clear):
    order, _ = order_with_parcels()
    with pytest.raises(TypeError, match="through_defaults"):
        order.parcels.set([], clear=clear, bulk=False, through_defaults={})
    assert order.parcels.count() == 3


def test_generic_rows_that_are_deleted_and_set_again_are_new_ones():
    about = Remarked.objects.create()
    remarks = [Remark.objects.create(about=about) for _ in range(2)]
    with transaction.atomic():
        about.remarks.set(remarks, clear=True, bulk=False)
        assert set(about.remarks.all()) == set(remarks)
        transaction.set_rollback(True)
    for remark in remarks:
        remark.save()
        assert remark.version == again(remark).version == 2


def test_whoever_holds_a_generic_row_that_was_set_again_is_told():
    about = Remarked.objects.create()
    remark = Remark.objects.create(about=about)
    theirs = again(remark)
    about.remarks.set([remark], clear=True, bulk=False)
    with pytest.raises(RecordModifiedError):
        theirs.save()
    remark.save()
    assert remark.version == again(remark).version
