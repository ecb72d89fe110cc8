from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from factories import MemoFactory
from pages import Page
from testapp.models import Memo

pytestmark = pytest.mark.django_db


@pytest.fixture
def memo():
    return MemoFactory(subject="old", body="old")


def open_page(name, memo):
    client, url = Client(), reverse(name, args=[memo.pk])
    return Page(client, url, client.get(url))


def values(memo):
    return Memo.objects.values_list("subject", "body", "version").get(pk=memo.pk)


def test_a_form_saves_what_nobody_else_changed(memo):
    assert open_page("memo", memo).post(subject="new").redirects
    assert values(memo) == ("new", "old", 2)


def test_changes_of_different_fields_are_merged(memo):
    mine, theirs = open_page("memo", memo), open_page("memo", memo)
    theirs.post(body="theirs")
    assert mine.post(subject="mine").redirects
    assert values(memo) == ("mine", "theirs", 3)


@pytest.mark.parametrize("name", ["memo", "own"])
def test_a_collision_shows_a_page_on_which_to_decide(memo, name):
    mine, theirs = open_page(name, memo), open_page(name, memo)
    theirs.post(body="theirs")
    asked = mine.post(body="mine")
    assert asked.response.status_code == 200
    assert values(memo) == ("old", "theirs", 2)
    assert "bob changed" in asked.panel
    assert asked.data["body"] == "mine"
    assert not asked.post().redirects
    assert asked.post(optilock_choice_body="mine").redirects
    assert values(memo) == ("old", "mine", 3)


def test_an_ordinary_error_uses_the_views_own_template(memo):
    page = open_page("memo", memo).post(subject="")
    assert page.response.templates[0].name == "testapp/memo_form.html"
    assert page.post(subject="new").redirects


def test_the_form_of_a_deleted_object_is_shown_again(memo):
    page = open_page("memo", memo)
    Memo.objects.all().delete()
    asked = page.post(subject="mine")
    assert asked.response.status_code == 200
    assert asked.data["subject"] == "mine"
    assert not asked.post().redirects
    assert asked.post(optilock_choice_="mine").redirects
    assert Memo.objects.get().subject == "mine"


def test_another_objects_form_does_not_bring_a_deleted_one_back(memo):
    page = open_page("memo", MemoFactory())
    memo.delete()
    url = reverse("memo", args=[99])
    assert page.client.post(url, page.data).status_code == 404


def test_a_confirmed_object_is_deleted(memo):
    assert open_page("delete", memo).post().redirects
    assert not Memo.objects.exists()


def test_an_object_changed_after_the_confirmation_is_confirmed_again(memo):
    page = open_page("delete", memo)
    open_page("memo", memo).post(subject="theirs")
    refused = page.post()
    assert not refused.redirects
    assert "“theirs” was changed after you opened this page." in refused.text
    assert refused.post().redirects
    assert not Memo.objects.exists()


def test_a_confirmation_without_a_token_deletes_nothing(memo):
    assert not open_page("delete", memo).post(without=["optilock_token"]).redirects
    assert Memo.objects.exists()
