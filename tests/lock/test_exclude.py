"""``IntegerVersionField(exclude=...)``: fields that nobody is protected from."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, models
from django.db.models import F
from django.test.utils import isolate_apps
from factories import AuthorFactory
from testapp.models import Article

from optilock import IntegerVersionField, RecordModifiedError

pytestmark = pytest.mark.django_db


@pytest.fixture
def article():
    return Article.objects.create(title="a")


@pytest.fixture
def stale(article):
    stale = Article.objects.get()
    article.save()
    return stale


def version():
    return Article.objects.get().version


@pytest.mark.parametrize("fields", [["views"], ["reader"], ["reader_id", "views"]])
def test_saving_excluded_fields_leaves_the_version(article, fields):
    article.save(update_fields=fields)
    assert (article.version, version()) == (1, 1)


def test_saving_excluded_fields_is_not_checked(stale):
    stale.views = 5
    stale.save(update_fields=["views"])
    assert Article.objects.values_list("views", "version").get() == (5, 2)
    assert stale.version == 1


def test_an_instance_stays_stale_after_saving_excluded_fields(stale):
    stale.save(update_fields=["views"])
    with pytest.raises(RecordModifiedError):
        stale.save()


@pytest.mark.parametrize("fields", [["views", "title"], ["views", "version"], None])
def test_saving_others_with_them_checks(stale, fields):
    with pytest.raises(RecordModifiedError):
        stale.save(update_fields=fields)


def test_saving_others_with_them_bumps_the_version(article):
    article.save(update_fields=["views", "title"])
    assert (article.version, version()) == (2, 2)


def test_saving_excluded_fields_of_a_row_that_is_gone_is_djangos_error(article):
    Article.objects.all().delete()
    with pytest.raises(DatabaseError, match="did not affect any rows"):
        article.save(update_fields=["views"])


def test_updating_excluded_fields_leaves_the_version(article):
    Article.objects.update(views=F("views") + 1, reader_id=None)
    assert version() == 1


def test_updating_others_with_them_bumps_the_version(article):
    Article.objects.update(views=1, title="b")
    assert version() == 2


def test_bulk_updating_excluded_fields_is_neither_checked_nor_raises(stale):
    stale.views, stale.reader = 5, AuthorFactory()
    Article.objects.bulk_update([stale], ["views", "reader"])
    assert Article.objects.values_list("views", "version").get() == (5, 2)


def test_bulk_updating_others_with_them_checks(stale):
    with pytest.raises(RecordModifiedError):
        Article.objects.bulk_update([stale], ["views", "title"])


def test_the_option_is_kept_in_migrations():
    field = IntegerVersionField(exclude=["views"])
    _, path, args, kwargs = field.deconstruct()
    assert (path, args, kwargs) == (
        "optilock.IntegerVersionField",
        [],
        {"exclude": ["views"]},
    )


def test_a_single_name_is_refused():
    with pytest.raises(TypeError, match=r"exclude=\['views'\]"):
        IntegerVersionField(exclude="views")


@pytest.mark.parametrize("name", ["nothing", "version", "id", "tags", "pk"])
def test_a_name_that_cannot_be_excluded_fails_a_check(name):
    with isolate_apps("testapp"):

        class Wrong(models.Model):
            version = IntegerVersionField(exclude=[name])
            tags = models.ManyToManyField("self")

            class Meta:
                app_label = "testapp"

        (error,) = Wrong._meta.get_field("version").check()
    assert error.id == "optilock.E010"
