"""Wagtail's snippets with drafts, in code and on its pages."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import models
from django.db.migrations.state import ModelState
from django.test import Client
from django.test.utils import isolate_apps
from django.urls import reverse

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError
from optilock.checks import check_versioned_models

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "wagtail":
    pytest.skip("about Wagtail", allow_module_level=True)

from contracts.models import Notice  # noqa: E402 -- only where it is
from optilock.contrib.wagtail import VersionedRevisionMixin  # noqa: E402 -- the same


def row(notice):
    found = Notice.objects.get(pk=notice.pk)
    return found.text, found.live, found.has_unpublished_changes


@pytest.fixture
def notice():
    return Notice.objects.create(text="old")


def test_a_revision_is_published(notice):
    notice.text = "new"
    notice.save_revision().publish()
    assert row(notice) == ("new", True, False)


def test_a_draft_is_published_later(notice):
    notice.text = "new"
    notice.save_revision()
    Notice.objects.get().latest_revision.publish()
    assert row(notice) == ("new", True, False)


def test_a_draft_is_published_after_the_row_was_saved(notice):
    notice.text = "new"
    notice.save_revision()
    Notice.objects.get().save()
    Notice.objects.get().latest_revision.publish()
    assert row(notice) == ("new", True, False)


def test_a_draft_is_edited_and_published(notice):
    notice.text = "first"
    notice.save_revision()
    draft = Notice.objects.get().get_latest_revision_as_object()
    draft.text = "second"
    draft.save_revision().publish()
    assert row(notice) == ("second", True, False)


def test_what_is_live_is_taken_back(notice):
    notice.save_revision().publish()
    Notice.objects.get().unpublish()
    assert row(notice) == ("old", False, True)


def test_a_stale_object_overwrites_nothing_that_was_published(notice):
    stale = Notice.objects.get()
    notice.text = "new"
    notice.save_revision().publish()
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert row(notice) == ("new", True, False)


def test_a_revision_overwrites_nothing_that_was_saved_meanwhile(notice):
    notice.text = "new"
    published = notice.save_revision().as_object()
    Notice.objects.filter(pk=notice.pk).update(text="theirs")
    with pytest.raises(RecordModifiedError):
        published.save()
    assert row(notice)[0] == "theirs"


def test_a_revision_can_be_merged(notice):
    notice.text = "new"
    published = notice.save_revision().as_object()
    Notice.objects.filter(pk=notice.pk).update(place="door")
    published.latest_revision = Notice.objects.get().latest_revision
    published.save(on_conflict="merge")
    found = Notice.objects.get()
    assert (found.text, found.place) == ("new", "door")


def post(client, notice, text, **more):
    url = reverse("wagtailsnippets_contracts_notice:edit", args=[notice.pk])
    return client.post(url, {"text": text, "place": "hall", **more})


def test_two_editors_save_drafts_and_publish_on_its_pages(notice, ann, bob):
    clients = [Client(), Client()]
    for client, user in zip(clients, (ann, bob), strict=True):
        user.is_superuser = True
        user.save()
        client.force_login(user)
    mine, theirs = clients
    publish = {"action-publish": "1"}
    for client, text in ((mine, "a"), (theirs, "b"), (mine, "c")):
        assert post(client, notice, text).status_code == 302
    assert row(notice) == ("old", True, True)
    for client, text in ((mine, "d"), (theirs, "e"), (mine, "f")):
        assert post(client, notice, text, **publish).status_code == 302
        assert row(notice) == (text, True, False)


@isolate_apps("contracts")
def test_what_has_no_version_is_left_as_it_is():
    class Recorded(
        models.Model
    ):  # in place of Wagtail's, whose relations need its tables
        text = models.CharField(max_length=20)

        class Meta:
            app_label = "contracts"
            abstract = True

        def with_content_json(self, content):
            return type(self)(pk=self.pk, **content)

    class Sign(VersionedRevisionMixin, Recorded):
        class Meta:
            app_label = "contracts"

    assert Sign(pk=1, text="new").with_content_json({"text": "stored"}).text == "stored"


def test_the_checks_and_makemigrations_have_nothing_to_say():
    config = apps.get_app_config("contracts")
    assert check_versioned_models(app_configs=[config]) == []
    state = ModelState.from_model(Notice)
    assert [manager.deconstruct()[1] for _, manager in state.managers] == [
        "optilock.VersionedManager"
    ]
