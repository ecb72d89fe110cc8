"""A version on the child of another package's model, which can't be locked itself."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps

from optilock import IntegerVersionField, RecordModifiedError, VersionedManager

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def team_model(transactional_db):
    with isolate_apps("testapp", "django.contrib.auth", "django.contrib.contenttypes"):

        class Team(Group):
            version = IntegerVersionField()
            motto = models.CharField(max_length=20, default="")

            objects = VersionedManager()

            class Meta:
                app_label = "testapp"

    with connection.schema_editor() as editor:
        editor.create_model(Team)
    yield Team
    with connection.schema_editor() as editor:
        editor.delete_model(Team)


def test_a_stale_save_writes_neither_table(team_model):
    team_model.objects.create(name="old", motto="old")
    mine, theirs = team_model.objects.get(), team_model.objects.get()
    theirs.motto = "theirs"
    theirs.save()
    mine.name = "mine"
    with pytest.raises(RecordModifiedError):
        mine.save()
    found = team_model.objects.get()
    assert (found.name, found.motto, found.version) == ("old", "theirs", 2)


def test_a_field_of_the_parent_alone_is_checked_too(team_model):
    team_model.objects.create(name="old")
    mine, theirs = team_model.objects.get(), team_model.objects.get()
    theirs.name = "theirs"
    theirs.save(update_fields=["name"])
    assert theirs.version == 2
    mine.name = "mine"
    with pytest.raises(RecordModifiedError):
        mine.save(update_fields=["name"])
    assert Group.objects.get().name == "theirs"


def test_an_update_of_both_tables_is_one_transaction(team_model):
    team_model.objects.create(name="old")
    with CaptureQueriesContext(connection) as queries:
        team_model.objects.update(name="new", motto="new")
    begun = [q["sql"] for q in queries if q["sql"].startswith("BEGIN")]
    assert begun or connection.vendor == "mysql"
    found = team_model.objects.get()
    assert (found.name, found.motto, found.version) == ("new", "new", 2)


def test_what_is_saved_as_the_parent_is_not_seen(team_model):
    team_model.objects.create(name="old")
    team, group = team_model.objects.get(), Group.objects.get()
    group.name = "new"
    group.save()
    team.save()  # what the warning is about
    assert Group.objects.get().name == "old"
