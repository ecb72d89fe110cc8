from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.messages.storage.cookie import CookieStorage as SessionlessMessages
from django.db import connection
from django.db.models import QuerySet
from django.forms import modelformset_factory
from django.http import Http404
from django.test import Client, RequestFactory
from django.urls import path, reverse
from factories import MemoFactory
from pages import Page
from testapp.models import CompositeKey, Memo, Parcel
from testapp.views import MemoForm, MemoUpdate, ParcelDelete, ParcelUpdate

from optilock.forms import VersionedModelFormSet, draft_media

pytestmark = pytest.mark.django_db


@pytest.fixture
def memo():
    return MemoFactory(subject="old", body="old")


def open_page(name, memo, *args):
    client, url = Client(), reverse(name, args=args or [memo.pk])
    return Page(client, url, client.get(url))


def values(memo):
    return Memo.objects.values_list("subject", "body", "version").get(pk=memo.pk)


def test_a_form_saves_what_nobody_else_changed(memo):
    assert open_page("memo", memo).post(subject="new").redirects
    assert values(memo) == ("new", "old", 2)


def test_changes_of_different_fields_are_merged(memo):
    mine, theirs = open_page("memo", memo), open_page("memo", memo)
    theirs.post(body="theirs")
    done = mine.post(subject="mine")
    assert done.redirects
    assert values(memo) == ("mine", "theirs", 3)
    assert done.messages == ["Merged: bob had changed Body; that was kept."]


@pytest.mark.parametrize("name", ["memo", "own"])
def test_a_collision_shows_a_page_on_which_to_decide(memo, name):
    mine, theirs = open_page(name, memo), open_page(name, memo)
    theirs.post(body="theirs")
    asked = mine.post(body="mine")
    assert asked.response.status_code == 200
    assert values(memo) == ("old", "theirs", 2)
    assert "bob saved this memo" in asked.panel
    assert asked.data["body"] == "mine"
    assert not asked.post().redirects
    done = asked.post(optilock_decision_body="mine")
    assert done.redirects
    assert values(memo) == ("old", "mine", 3)
    [message] = done.messages
    assert message.startswith("You have overwritten what bob had saved: Body.")


@pytest.mark.parametrize("name", ["memo", "own"])
def test_a_collision_is_told_once(memo, name):
    mine, theirs = open_page(name, memo), open_page(name, memo)
    theirs.post(body="theirs")
    asked = mine.post(body="mine")
    assert "while you were editing" in asked.panel
    assert asked.text.count("while you were editing") == 1


def test_the_style_of_the_questions_comes_with_the_form(memo):
    mine, theirs = open_page("memo", memo), open_page("memo", memo)
    theirs.post(body="theirs")
    asked = mine.post(body="mine")
    for name in ("optilock/conflict.css", "optilock/conflict.js"):
        assert name in str(asked.response.context["form"].media)
        assert asked.text.count(name) == 1
        assert name not in str(mine.response.context["form"].media)


def test_what_only_the_urlconf_says_is_not_in_the_token(memo):
    page = open_page("keyed", memo)
    assert page.tokens
    assert not any("SECRET" in token for token in page.tokens)
    memo.delete()
    assert page.post(subject="mine").panel


@pytest.mark.parametrize("template", ["optilock/conflict_page.html", None])
@pytest.mark.parametrize("status", [200, 409, 422])
def test_a_conflict_is_shown_with_the_status_that_the_view_says(memo, status, template):
    view = MemoUpdate.as_view(conflict_status=status, conflict_template_name=template)
    mine, theirs = open_page("memo", memo), open_page("memo", memo)
    theirs.post(body="theirs")
    request = RequestFactory().post(mine.url, {**mine.data, "body": "mine"})
    request.resolver_match = None
    assert view(request, pk=memo.pk).status_code == status
    # An ordinary error is answered as ever.
    request = RequestFactory().post(mine.url, {**mine.data, "subject": ""})
    assert view(request, pk=memo.pk).status_code == 200


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
    done = asked.post(optilock_decision_="mine")
    assert done.redirects
    assert Memo.objects.get().subject == "mine"
    assert done.messages == ["You have added again what bob had deleted: Memo “old”."]


def test_a_view_without_messages_says_nothing(memo, settings):
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if "messages" not in name
    ]
    mine, theirs = open_page("memo", memo), open_page("memo", memo)
    theirs.post(body="theirs")
    assert mine.post(subject="mine").redirects


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


def test_a_page_that_saves_and_shows_its_form_again_goes_on_from_what_was_saved(memo):
    mine = open_page("autosave", memo).post(subject="mine")
    assert mine.response.status_code == 200
    open_page("memo", memo).post(subject="old")
    mine.post(body="mine")
    assert values(memo) == ("old", "mine", 4)


# --- renamed isn't deleted ---------------------------------------------------


@pytest.fixture
def parcel():
    return Parcel.objects.create(code="old", weight=1)


def parcels():
    return list(Parcel.objects.values_list("code", "weight").order_by("code"))


def rename(parcel, code="new"):
    assert open_page("parcel", parcel, parcel.code).post(code=code).redirects


@pytest.mark.parametrize("name", ["parcel", "weight"])
def test_an_object_that_was_renamed_is_found(parcel, name):
    mine = open_page(name, parcel, "old")
    rename(parcel)
    assert mine.post(weight="5").redirects
    assert parcels() == [("new", 5)]


def test_the_name_is_merged_as_any_field(parcel):
    mine = open_page("parcel", parcel, "old")
    rename(parcel)
    asked = mine.post(code="mine")
    assert "bob saved this parcel" in asked.text
    assert parcels() == [("new", 1)]
    assert asked.post(optilock_decision_code="mine").redirects
    assert parcels() == [("mine", 1)]


def test_the_way_back_to_a_renamed_object_leads_to_its_new_url(parcel):
    mine = open_page("parcel", parcel, "old")
    rename(parcel)
    asked = mine.post(code="mine")
    assert f'href="{reverse("parcel", args=["new"])}"' in asked.panel


def test_another_object_that_got_the_old_name_is_left_alone(parcel):
    mine = open_page("parcel", parcel, "old")
    rename(parcel)
    Parcel.objects.create(code="old", weight=2)
    assert mine.post(weight="5").redirects
    assert parcels() == [("new", 5), ("old", 2)]


def test_a_renamed_object_is_found_only_where_the_view_looks(parcel):
    mine = open_page("parcel", parcel, "old")
    Parcel.objects.update(code="new", weight=100)
    refused = mine.post(weight="5")
    assert not refused.redirects
    assert parcels() == [("new", 100)]


def test_the_page_of_another_url_finds_nothing(parcel):
    page = open_page("parcel", parcel, "old")
    rename(parcel)
    url = reverse("parcel", args=["nothing"])
    assert page.client.post(url, page.data).status_code == 404


def test_an_object_renamed_before_it_is_deleted_is_confirmed_again(parcel):
    page = open_page("delete_parcel", parcel, "old")
    rename(parcel)
    refused = page.post()
    assert "“new” was changed" in refused.text
    assert refused.post().redirects
    assert parcels() == []


def test_the_form_of_a_deleted_object_with_a_composite_key_is_shown_again():
    row = CompositeKey.objects.create(tenant=1, number=2, name="old")
    page = open_page("composite", row, 1, 2)
    CompositeKey.objects.all().delete()
    asked = page.post(name="mine")
    assert asked.response.status_code == 200
    assert asked.data["name"] == "mine"
    assert asked.post(optilock_decision_="mine").redirects
    assert CompositeKey.objects.values_list("tenant", "number", "name").get() == (
        1,
        2,
        "mine",
    )


def test_changes_of_an_object_with_a_composite_key_are_merged():
    row = CompositeKey.objects.create(tenant=1, number=2, name="old")
    page = open_page("composite", row, 1, 2)
    open_page("composite", row, 1, 2).post(name="theirs")
    assert not page.post(name="mine").redirects
    assert CompositeKey.objects.get().name == "theirs"


# --- not visible isn't deleted -----------------------------------------------


def test_an_object_that_left_the_queryset_is_not_told_about(parcel):
    mine = open_page("parcel", parcel, "old")
    Parcel.objects.update(weight=100, code="top secret")
    refused = mine.post(weight="5")
    assert "not there any more, or not visible to you" in refused.panel
    for word in ("bob", "deleted", "top secret"):
        assert word not in refused.text
    assert refused.data["weight"] == "5"
    assert "optilock_decision_" not in refused.inputs.radios
    assert not refused.post(optilock_decision_="mine").redirects
    assert parcels() == [("top secret", 100)]


def test_a_deleted_object_is_told_by_its_name(parcel):
    mine = open_page("parcel", parcel, "old")
    parcel.delete()
    assert "bob deleted “old”" in mine.post(weight="5").panel


def test_a_deleted_object_is_not_called_what_was_typed(parcel):
    mine = open_page("parcel", parcel, "old")
    parcel.delete()
    asked = mine.post(code="typed", weight="5")
    assert "bob deleted “old”" in asked.panel
    assert "<h1>old" in asked.text
    assert asked.data["code"] == "typed"


def test_an_object_is_called_what_it_is_saved_as(parcel):
    mine = open_page("parcel", parcel, "old")
    Parcel.objects.update(code="theirs")
    asked = mine.post(code="typed", weight="5")
    assert "“typed”" not in asked.panel
    assert "<h1>theirs" in asked.text


# --- without a token ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"), [("memo", "too old"), ("delete", "Look at it again")]
)
def test_a_missing_token_claims_no_change(memo, name, text):
    page = open_page(name, memo).post(without=["optilock_token"], subject="mine")
    assert text in page.text
    for word in ("bob changed", "bob saved", "was changed", "DEBUG"):
        assert word not in page.text


@pytest.mark.parametrize("name", ["memo", "delete"])
def test_a_developer_is_told_which_input_is_missing(memo, name, settings):
    settings.DEBUG = True
    page = open_page(name, memo).post(without=["optilock_token"], subject="mine")
    assert "the hidden input “optilock_token” wasn&#x27;t sent" in page.text
    garbled = open_page(name, memo).post(optilock_token="x", subject="mine")  # noqa: S106
    assert "hidden input" not in garbled.text


def test_what_was_changed_without_a_version_is_confirmed_again(memo):
    page = open_page("delete", memo)
    QuerySet(Memo).update(body="theirs")
    assert not page.post().redirects
    assert Memo.objects.exists()


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_two_pages_that_save_and_stay_lose_nothing_of_each_other(memo):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def write(name):
        try:
            page = open_page("autosave", memo)
            for number in range(1, 21):
                page = page.post(**{name: f"{name} {number}"})
                assert page.response.status_code == 200
                assert not page.panel
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, name) for name in ("subject", "body")]:
            done.result()
    assert values(memo) == ("subject 20", "body 20", 41)


# --- what is typed, kept by the browser --------------------------------------


def drafting(memo, method="get", cookies="", **data):
    request = getattr(RequestFactory(), method)("/", data)
    request.COOKIES["optilock_saved"] = cookies
    return MemoUpdate.as_view(keep_drafts=True)(request, pk=memo.pk)


def test_a_view_that_keeps_drafts_brings_the_script(memo):
    response = drafting(memo)
    media = str(response.context_data["form"].media)
    assert "optilock/draft.js" in media
    assert "data-posted" not in media
    assert "draft.js" not in str(open_page("memo", memo).response.context["form"].media)
    response = drafting(memo, "post", subject="")
    assert "data-posted" in str(response.context_data["form"].media)


def test_the_script_is_told_what_not_to_keep(memo, rf):
    class Secret(MemoForm):
        secret_fields = ["body"]

    formset = modelformset_factory(Memo, MemoForm, formset=VersionedModelFormSet)
    media = draft_media(rf.get("/"), Secret(instance=memo), formset())
    assert 'data-secret="body"' in str(media)


def test_a_draft_that_was_saved_is_forgotten(memo):
    data = drafting(memo).context_data["form"]
    sent = {"optilock_token": data["optilock_token"].value(), "subject": "new"}
    done = drafting(memo, "post", "a.B.b", **sent, optilock_draft="c")
    assert done.status_code == 302
    assert done.cookies["optilock_saved"].value == "a.b.c"


@pytest.mark.parametrize("draft", ["", "No!", "x" * 33])
def test_what_is_no_draft_is_not_spoken_of(memo, draft):
    form = drafting(memo).context_data["form"]
    sent = {"optilock_token": form["optilock_token"].value(), "subject": "new"}
    done = drafting(memo, "post", **sent, optilock_draft=draft)
    assert done.status_code == 302
    assert "optilock_saved" not in done.cookies


# --- where an object went ----------------------------------------------------


def test_what_leaves_the_view_while_its_deletion_begins_is_not_told(parcel, rf):
    page = open_page("delete_parcel", parcel, "old")

    class Slow(ParcelDelete):
        def get_form(self, *args):
            Parcel.objects.update(weight=100)
            return super().get_form(*args)

    with pytest.raises(Http404):
        Slow.as_view()(rf.post("/", page.data), code="old")
    assert Parcel.objects.exists()


urlpatterns = [path("parcels/<code>/", ParcelUpdate.as_view())]


def test_without_a_name_for_its_url_a_renamed_object_has_no_way_back(parcel, settings):
    settings.ROOT_URLCONF = __name__
    client, url = Client(), "/parcels/old/"
    mine = Page(client, url, client.get(url))
    Parcel.objects.update(code="new")
    asked = mine.post(code="mine")
    assert "bob saved this parcel" in asked.panel
    assert "parcels/new" not in asked.panel
    assert asked.post(optilock_decision_code="mine").redirects


def test_without_a_session_nothing_is_offered_to_be_put_back(memo, rf):
    mine = open_page("memo", memo)
    open_page("memo", memo).post(body="theirs")
    asked = mine.post(body="mine")
    request = rf.post("/", {**asked.data, "optilock_decision_body": "mine"})
    request._messages = SessionlessMessages(request)
    assert MemoUpdate.as_view()(request, pk=memo.pk).status_code == 302
    assert values(memo) == ("old", "mine", 3)
    [told] = request._messages
    assert str(told) == "You have overwritten what bob had saved: Body."
