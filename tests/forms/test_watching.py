"""Pages outside the admin that say who else has them open, and who has saved."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.forms import modelform_factory
from django.test import RequestFactory
from django.urls import reverse
from factories import MemoFactory, UserFactory
from pages import Page, Script
from testapp.models import Memo
from testapp.views import MemoForm, WatchedMemo

from optilock.presence import people
from optilock.presence.models import OpenPage
from optilock.view_checks import check_views
from optilock.watching import Watch

pytestmark = pytest.mark.django_db


@pytest.fixture
def memo():
    return MemoFactory(subject="old", body="old")


def change(**values):
    """Save as somebody else."""
    memo = Memo.objects.get()
    vars(memo).update(values)
    memo.save()


@pytest.fixture(params=["watched", "edit"])
def url(request, memo):
    return reverse(request.param, args=[memo.pk])


@pytest.fixture
def page(url):
    return Page.get(UserFactory(username="ann"), url)


@pytest.fixture
def bob(url):
    script = Script(Page.get(UserFactory(username="bob"), url))
    script.look()
    return script


def test_a_page_says_who_else_has_it_open(bob, page):
    assert 'class="optilock-people">bob has just opened this.</p>' in page.text
    assert Script(page).look()["who"] == ["bob"]
    bob.ask("leave")
    assert Script(page).look() == {"version": 1, "who": [], "people": ""}


def test_the_page_brings_its_script(page):
    assert "optilock/poll.js" in page.text
    assert "optilock/conflict.css" in page.text
    assert page.attributes["data-optilock-presence"] == "true"


def test_who_saved_meanwhile_is_told_and_what(page, memo):
    change(body="theirs")
    answer = Script(page).look()
    assert answer["version"] == 2
    assert " changed " in answer["text"]
    assert answer["text"].endswith("What changed: Body.")


def test_asking_saves_nothing(page, memo):
    Script(page).ask("show", subject="new")
    Script(page).ask("leave", subject="new")
    assert Memo.objects.values_list("subject", "version").get() == ("old", 1)


def test_new_values_come_with_a_token_that_knows_them(page):
    change(subject="theirs", body="theirs")
    answer = Script(page).ask("show", optilock_touched="body").json()
    assert list(answer["inputs"]) == ["subject"]
    sent = {"optilock_token": answer["token"], "subject": "mine", "body": "old"}
    assert page.post(**sent).redirects
    assert Memo.objects.values_list("subject", "body").get() == ("mine", "theirs")


def test_what_i_touched_is_asked_about_all_the_same(page):
    change(subject="theirs", body="theirs")
    answer = Script(page).ask("show", optilock_touched="body").json()
    sent = {"optilock_token": answer["token"], "subject": "theirs", "body": "mine"}
    assert not page.post(**sent).redirects
    assert Memo.objects.get().body == "theirs"


def test_who_is_not_logged_in_is_nobody_and_learns_nothing(bob, memo, page):
    page.client.logout()
    response = page.client.post(page.url, Script(page).data)
    assert response.status_code == 302
    assert OpenPage.objects.get().user.username == "bob"


def test_a_page_for_everybody_asks_without_names(client, memo):
    url = reverse("polled", args=[memo.pk])
    page = Page(client, url, client.get(url))
    assert page.attributes["data-optilock-seconds"] == "30"
    change(body="theirs")
    answer = Script(page).look()
    assert answer["text"].startswith("bob changed “old”")
    assert "who" not in answer


def test_a_deletion_is_told(page):
    script = Script(page)
    Memo.objects.all().delete()
    response = script.ask()
    assert response.status_code == 404 or response.json()["gone"]


def test_what_left_the_queryset_is_told_without_its_name(memo):
    page = Page.get(UserFactory(), reverse("watched", args=[memo.pk]))
    change(subject="hidden")
    assert Script(page).look() == {
        "gone": True,
        "text": "This is not there any more, or not visible to you.",
    }


def test_a_page_that_is_not_watched_is_as_before(memo, client):
    url = reverse("memo", args=[memo.pk])
    page = Page(client, url, client.get(url))
    assert "data-optilock-poll" not in page.text
    assert "poll.js" not in page.text


def test_opening_a_page_costs_one_query_more(client, memo, django_assert_num_queries):
    client.force_login(UserFactory())
    with django_assert_num_queries(4):  # session, user, memo, and others
        client.get(reverse("watched", args=[memo.pk]))
    with django_assert_num_queries(1):
        client.get(reverse("polled", args=[memo.pk]))
    with django_assert_num_queries(1):
        client.get(reverse("memo", args=[memo.pk]))


def test_without_the_table_the_first_page_says_what_to_do(memo, monkeypatch):
    configs = dict(apps.app_configs)
    del configs[people.LABEL]
    monkeypatch.setattr(apps, "app_configs", configs)
    request = RequestFactory().get("/")
    request.user = UserFactory()
    with pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        str(Watch(request, MemoForm(instance=memo), presence=True))


def test_a_view_that_needs_the_table_is_told_when_checks_run(monkeypatch):
    assert not [m for m in check_views() if m.id == "optilock.E060"]
    monkeypatch.setattr(people, "is_installed", lambda: False)
    found = [m.obj for m in check_views() if m.id == "optilock.E060"]
    assert found == [WatchedMemo]


def test_a_page_that_would_ask_all_the_time_is_refused(memo):
    request = RequestFactory().get("/")
    with pytest.raises(ValueError, match="seconds is 0"):
        Watch(request, MemoForm(instance=memo), seconds=0)


def test_fields_that_count_as_one_are_shown_together_or_not_at_all(memo):
    class Together(MemoForm):
        merge_together = [("subject", "body")]

    page = Page.get(UserFactory(), reverse("edit", args=[memo.pk]))
    change(subject="theirs", body="theirs")
    request = RequestFactory().post(
        "/", {**Script(page).data, "optilock_poll": "show", "optilock_touched": "body"}
    )
    answer = Watch(request, Together(request.POST, instance=Memo.objects.get())).answer
    assert b'"inputs": {}' in answer.content


def test_a_form_with_a_prefix(memo):
    form = MemoForm(instance=memo, prefix="memo")
    name, token = form["optilock_token"].html_name, form["optilock_token"].value()
    change(subject="theirs", body="theirs")
    request = RequestFactory().post(
        "/", {"optilock_poll": "show", name: token, "optilock_touched": "memo-body"}
    )
    form = MemoForm(request.POST, instance=Memo.objects.get(), prefix="memo")
    assert list(json.loads(Watch(request, form).answer.content)["inputs"]) == [
        "memo-subject"
    ]


def test_the_table_is_what_the_migration_makes():
    call_command("makemigrations", "optilock_presence", check=True, verbosity=0)


def test_a_form_without_a_token_is_refused(memo):
    form = modelform_factory(Memo, fields=["subject"])(instance=memo)
    with pytest.raises(TypeError, match="derive from VersionedModelForm"):
        Watch(RequestFactory().get("/"), form)


def test_a_secret_value_is_never_sent(memo):
    class Secret(MemoForm):
        secret_fields = ["body"]

    token = Secret(instance=memo)["optilock_token"].value()
    change(subject="theirs", body="theirs")
    data = {"optilock_poll": "show", "optilock_token": token}
    request = RequestFactory().post("/", data)
    answer = Watch(request, Secret(request.POST, instance=Memo.objects.get())).answer
    told = json.loads(answer.content)
    assert list(told["inputs"]) == ["subject"]
    assert told["text"] == "Shown now: Subject. Still as it was: Body."


def test_a_page_that_is_watched_saves_as_any_other(page, memo):
    change(body="theirs")
    assert page.post(subject="mine").redirects
    assert Memo.objects.values_list("subject", "body").get() == ("mine", "theirs")


def test_the_page_for_a_new_object_asks_nothing():
    request = RequestFactory().get("/")
    request.user = UserFactory()
    form = MemoForm()
    watch = Watch(request, form, presence=True)
    assert (watch.answer, str(watch)) == (None, "")
    assert "data-optilock-poll" not in form.as_p()


def test_fields_that_count_as_one_are_shown_if_none_of_them_was_touched(memo):
    class Together(MemoForm):
        merge_together = [("subject", "body")]

    token = Together(instance=memo)["optilock_token"].value()
    change(subject="theirs", body="theirs")
    request = RequestFactory().post(
        "/", {"optilock_poll": "show", "optilock_token": token}
    )
    form = Together(request.POST, instance=Memo.objects.get())
    told = json.loads(Watch(request, form).answer.content)
    assert sorted(told["inputs"]) == ["body", "subject"]


def test_an_open_page_is_called_by_its_row_where_developers_see_it(bob, memo):
    assert str(OpenPage.objects.get()) == f"testapp.memo {memo.pk}"
