from __future__ import annotations

import pytest
from django.test import Client
from factories import MemoFactory, OrderFactory, StaffFactory, UserFactory
from pages import Inputs, Page, Script
from testapp.admin import MemoAdmin
from testapp.models import Memo

pytestmark = pytest.mark.django_db


@pytest.fixture
def memo():
    return MemoFactory(subject="Hello")


@pytest.fixture
def page(ann, memo):
    return Page.change(ann, memo)


def test_nothing_is_told_while_nobody_saves(page):
    assert Script(page).look() == {"version": 1}


def test_who_saved_meanwhile_is_told_and_what(page, memo):
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    answer = Script(page).look()
    assert answer["version"] == 2
    assert answer["text"].startswith("bob changed “Hi” a moment ago")
    assert answer["text"].endswith("What changed: Subject.")


def test_nobody_is_told_twice(page, memo, django_assert_num_queries):
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    with django_assert_num_queries(3):  # session, user, and the object
        assert Script(page).look(optilock_told="2") == {"version": 2}


def test_asking_reads_only(page, django_assert_num_queries):
    script = Script(page)
    with django_assert_num_queries(3) as captured:
        script.look()
    assert all(q["sql"].startswith("SELECT") for q in captured.captured_queries)


def test_a_get_is_refused(page):
    assert page.client.get(Script(page).url).status_code == 405


def test_a_question_needs_the_pages_secret(page):
    script = Script(page)
    client = Client(enforce_csrf_checks=True)
    client.cookies = page.client.cookies
    assert client.post(script.url, script.data).status_code == 403


@pytest.mark.parametrize("permissions", [None, []])
def test_who_may_not_see_the_object_gets_a_404(page, memo, permissions):
    script, client = Script(page), Client()
    if permissions is not None:
        client.force_login(StaffFactory(permissions=permissions))
    for _ in range(2):
        response = client.post(script.url, script.data)
        assert response.status_code == 404
        Memo.objects.all().delete()


def test_whoever_may_only_look_is_told_too(memo):
    reader = StaffFactory(permissions=["view_memo"])
    script = Script(Page.change(reader, memo))
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    answer = script.look()
    assert answer["text"].startswith("bob changed “Hi” a moment ago")
    assert (answer["advice"], answer["show"]) == ("", False)


def test_a_deletion_is_told_and_who_it_was(page, memo):
    script = Script(page)
    Page.delete(UserFactory(username="bob"), memo).post(post="yes")
    answer = script.look()
    assert answer["gone"]
    assert answer["text"] == "bob deleted “Hello” a moment ago."


def test_what_is_only_out_of_sight_is_told_as_that(page, memo, monkeypatch):
    script = Script(page)
    monkeypatch.setattr(MemoAdmin, "get_queryset", lambda *args: Memo.objects.none())
    assert script.look() == {
        "gone": True,
        "text": "This is not there any more, or not visible to you.",
    }


def test_who_has_not_seen_an_object_learns_nothing_of_its_deletion(page, memo):
    script = Script(page)
    memo.delete()
    assert script.ask(optilock_token="").status_code == 404


def test_a_question_without_sense_is_answered(page):
    assert Script(page).look(optilock_token="")["version"] == 1


def test_forms_do_not_ask_unless_they_are_told_to():
    assert "data-optilock-poll" not in Page.change(UserFactory(), OrderFactory()).text


def test_times_without_zones(settings, memo):
    settings.USE_TZ = False
    script = Script(Page.change(UserFactory(), memo))
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    assert script.look()["text"].startswith("bob changed “Hi” a moment ago")


# New values, where nothing was typed


def test_new_values_come_with_a_token_that_knows_them(page, memo):
    script = Script(page)
    Page.change(UserFactory(username="bob"), memo).save(subject="bob's", body="bob's")
    assert script.look()["show"]
    answer = script.ask("show", optilock_touched=["body"]).json()
    assert answer["text"] == "Shown now: Subject. Still as it was: Body."
    assert Inputs(answer["inputs"].pop("subject")).data == {"subject": ["bob's"]}
    assert answer["inputs"] == {}
    # Mine over what I was shown is no conflict, over what I wasn't it is one.
    sent = {"subject": "bob's", "body": "mine", "optilock_token": answer["token"]}
    page = page.save(**sent)
    assert page.panel
    assert "Subject" not in page.panel


def test_what_was_shown_may_be_changed_without_a_question(page, memo):
    Page.change(UserFactory(), memo).save(subject="bob's")
    answer = Script(page).ask("show").json()
    assert page.save(subject="mine", optilock_token=answer["token"]).redirects
    memo.refresh_from_db()
    assert memo.subject == "mine"


def test_who_saves_after_that_is_asked_about(page, memo):
    Page.change(UserFactory(), memo).save(subject="bob's")
    answer = Script(page).ask("show").json()
    Page.change(UserFactory(), memo).save(subject="eve's")
    again = Script(page).look(optilock_token=answer["token"])
    assert again["text"].endswith("What changed: Subject.")
    assert page.save(subject="mine", optilock_token=answer["token"]).panel


def test_a_page_that_asks_shows_no_new_values(page, memo):
    Page.change(UserFactory(), memo).save(subject="bob's")
    page = page.save(subject="mine")
    Page.change(UserFactory(), memo).save(subject="eve's")
    assert page.attributes["data-optilock-show"] == "false"
    assert Script(page).ask("show").json()["inputs"] == {}


def test_whoever_may_only_look_has_no_inputs_for_new_values(memo):
    user = StaffFactory(permissions=["view_memo"])
    script = Script(Page.change(user, memo))
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    assert script.ask("show").json() == {"version": 2}
