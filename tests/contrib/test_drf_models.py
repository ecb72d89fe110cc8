"""Models of each kind behind Django REST framework, and rows that others write, too."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial

import pytest
from clients import row, skip_where_nobody_can_write_meanwhile, theirs
from django.db import connection, models
from django.db.models.signals import post_save
from factories import AccountFactory, LineFactory
from levels import LEVELS, connected
from testapp.models import (
    Account,
    Article,
    GuardedPage,
    Label,
    Labelled,
    Line,
    Order,
    Place,
    Renamed,
    Restaurant,
    Unlocked,
)

from optilock.testing import _in_another_connection, write_meanwhile

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from api_clients import send

pytestmark = [pytest.mark.django_db, pytest.mark.urls("testapp.api")]
racing = pytest.mark.django_db(transaction=True)

#: The URL, how a row is made, what changes it, the model that has the version.
KINDS = {
    "field alone, of another name": (
        "renames",
        partial(Renamed.objects.create, name="first"),
        {"name": "mine"},
        Renamed,
    ),
    "two tables": (
        "restaurants",
        partial(Restaurant.objects.create, name="first"),
        {"name": "mine", "stars": 3},
        Place,
    ),
    "the child's own field": (
        "restaurants",
        partial(Restaurant.objects.create, name="first"),
        {"stars": 3},
        Place,
    ),
    "a trigger": (
        "guarded",
        partial(GuardedPage.objects.create, text="first"),
        {"text": "mine"},
        GuardedPage,
    ),
}
each_kind = pytest.mark.parametrize(
    ("name", "make", "change", "model"), KINDS.values(), ids=KINDS
)


@contextmanager
def locked_meanwhile(model):
    """Somebody commits just before a row is locked here."""
    written = []

    def overtake(execute, sql, params, many, context):
        if "FOR UPDATE" in sql or "FOR NO KEY UPDATE" in sql:
            written.append(sql)
            _in_another_connection(lambda: model.objects.get().save())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(overtake):
        yield
    assert len(written) == 1


def values(model):
    return list(model.objects.values())


@each_kind
def test_a_row_of_each_kind_is_changed_once_with_each_tag(name, make, change, model):
    instance = make()
    url = f"/{name}/{instance.pk}/"
    tag = send("GET", url)["ETag"]
    changed = send("PATCH", url, change, If_Match=tag)
    assert changed.status_code == 200
    before = values(type(instance))
    refused = send("PATCH", url, change, If_Match=tag)
    assert refused.status_code == 412
    assert refused["ETag"] == changed["ETag"] == send("GET", url)["ETag"]
    assert values(type(instance)) == before
    assert send("PATCH", url, change).status_code == 428
    assert send("DELETE", url, If_Match=tag).status_code == 412
    assert send("DELETE", url, If_Match=changed["ETag"]).status_code == 204


@racing
@each_kind
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_race_over_a_row_of_each_kind_is_412(method, name, make, change, model):
    skip_where_nobody_can_write_meanwhile()
    instance = make()
    url = f"/{name}/{instance.pk}/"
    tag = send("GET", url)["ETag"]
    # Django's own delete() looks at nothing: the row is locked first.
    is_locked = model is Renamed and method == "DELETE"
    with locked_meanwhile(model) if is_locked else write_meanwhile(model):
        refused = send(method, url, change, If_Match=tag)
    assert refused.status_code == 412
    assert refused.json()["current_version"] == 2
    assert all(refused.json()["current"][key] != change[key] for key in change)


def test_what_a_trigger_counts_makes_the_tag_stale():
    page = GuardedPage.objects.create(text="first")
    url = f"/guarded/{page.pk}/"
    tag = send("GET", url)["ETag"]
    # What no manager sees.
    models.QuerySet(GuardedPage).filter(pk=page.pk).update(text="theirs")
    assert send("GET", url, If_None_Match=tag).status_code == 200
    refused = send("PATCH", url, {"text": "mine"}, If_Match=tag)
    assert refused.status_code == 412
    assert refused.json()["current"] == {"text": "theirs"}


# --- what is excluded, and receivers that write ------------------------------


def test_what_is_excluded_does_not_make_a_tag_stale():
    article = Article.objects.create(title="first")
    url = f"/visits/{article.pk}/"
    tag = send("GET", url)["ETag"]
    Article.objects.update(views=7)
    assert send("PATCH", url, {"title": "mine"}, If_Match=tag).status_code == 200
    assert Article.objects.get().views == 7


@pytest.fixture
def visit(request):
    """A receiver that counts each save in the row itself."""

    def count(sender, instance, **kwargs):
        rows = sender.objects.filter(pk=instance.pk)
        rows.update(**{request.param: models.F(request.param) + 1})

    model = Article if request.param == "views" else Account
    post_save.connect(count, sender=model)
    yield
    post_save.disconnect(count, sender=model)


@pytest.mark.parametrize("visit", ["views"], indirect=True)
def test_a_receiver_that_writes_what_is_excluded_leaves_the_tag_true(visit):
    article = Article.objects.create(title="first")
    url = f"/visits/{article.pk}/"
    tag = send("GET", url)["ETag"]
    for number in range(3):
        answer = send("PATCH", url, {"title": str(number)}, If_Match=tag)
        assert answer.status_code == 200
        tag = answer["ETag"]
    assert Article.objects.get().views == 4


@pytest.mark.parametrize("visit", ["balance"], indirect=True)
def test_a_receiver_that_writes_the_row_makes_the_answers_tag_stale(visit):
    """Documented in docs/http.md: a 412 too many, and nothing is lost."""
    account = AccountFactory(balance=0)
    url = f"/accounts/{account.pk}/"
    tag = send("GET", url)["ETag"]
    answer = send("PATCH", url, {"owner": "mine"}, If_Match=tag)
    refused = send("PATCH", url, {"owner": "again"}, If_Match=answer["ETag"])
    assert refused.status_code == 412
    again = send("PATCH", url, {"owner": "again"}, If_Match=refused["ETag"])
    assert again.status_code == 200
    assert row(account)[:2] == ("again", 3)


# --- what has rows of its own ------------------------------------------------


def test_a_change_of_many_to_many_alone_is_checked_and_bumps_the_version():
    labelled, label = Labelled.objects.create(), Label.objects.create(name="a")
    url = f"/labelledrows/{labelled.pk}/"
    tag = send("GET", url)["ETag"]
    changed = send("PATCH", url, {"labels": [label.pk]}, If_Match=tag)
    assert changed.status_code == 200
    assert changed["ETag"] != tag
    assert send("PATCH", url, {"labels": []}, If_Match=tag).status_code == 412
    assert list(labelled.labels.all()) == [label]


def test_many_to_many_that_is_changed_elsewhere_needs_a_touch_or_a_tag_of_the_content():
    labelled, label = Labelled.objects.create(), Label.objects.create(name="a")
    urls = [f"/{name}/{labelled.pk}/" for name in ("labelledrows", "contents")]
    tags = [send("GET", url)["ETag"] for url in urls]

    def statuses():
        return [
            send("GET", url, If_None_Match=tag).status_code
            for url, tag in zip(urls, tags, strict=True)
        ]

    labelled.labels.add(label)
    assert statuses() == [304, 200]
    labelled.touch()
    assert statuses() == [200, 200]


def test_a_tag_of_the_content_is_one_for_if_match_as_well():
    labelled, label = Labelled.objects.create(), Label.objects.create(name="a")
    url = f"/contents/{labelled.pk}/"
    tag = send("GET", url)["ETag"]
    changed = send("PATCH", url, {"labels": [label.pk]}, If_Match=tag)
    assert changed.status_code == 200
    refused = send("PATCH", url, {"labels": []}, If_Match=tag)
    assert refused.status_code == 412
    # The tag is of what is shown, not of what the request was about to write.
    assert refused["ETag"] == changed["ETag"] == send("GET", url)["ETag"]


def test_who_changes_another_part_of_a_claimed_whole_is_refused():
    first = LineFactory(quantity=1)
    LineFactory(order=first.order, quantity=1)
    url = f"/claimed/{first.order_id}/"
    got = send("GET", url)
    bodies = [json.loads(got.content) for _ in range(2)]
    for number, body in enumerate(bodies):
        body["lines"][number]["quantity"] = 5
    answers = [send("PUT", url, body, If_Match=got["ETag"]) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 412]
    quantities = Line.objects.order_by("pk").values_list("quantity", flat=True)
    assert list(quantities) == [5, 1]
    shown = answers[1].json()["current"]["lines"]
    assert [line["quantity"] for line in shown] == [5, 1]


@racing
@pytest.mark.parametrize("atomic", [False, True])
def test_a_part_deleted_meanwhile_is_a_conflict_without_a_version(atomic, monkeypatch):
    skip_where_nobody_can_write_meanwhile()
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
    line = LineFactory(quantity=1)
    body = {"note": "mine", "lines": [{"product": "Pen", "quantity": 99}]}
    with write_meanwhile(Line, Line.objects.all().delete):
        refused = send("PUT", f"/orders/{line.order_id}/", body, If_Match='"1"')
    assert refused.status_code == 409
    assert "current_version" not in refused.json()
    assert "ETag" not in refused
    assert Order.objects.get().version == 1


# --- who asks, and at which level --------------------------------------------


@pytest.mark.parametrize("header", ['"0"', "0", "*"])
def test_who_is_not_known_is_told_401_before_anything_else(header):
    account = AccountFactory()
    for pk in (account.pk, 99):
        url = f"/unauthenticated/{pk}/"
        refused = send("PATCH", url, {"balance": "x"}, If_Match=header)
        assert refused.status_code == 401
        assert "ETag" not in refused


@racing
@pytest.mark.race
@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="who has written first, has SQLite's lock"
)
@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "atomic_requests"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_at_repeatable_read_a_lost_race_is_412_or_503(method, atomic, monkeypatch):
    account = AccountFactory(owner="first")
    url = f"/accounts/{account.pk}/"
    with connected(LEVELS["REPEATABLE_READ"]):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
        with write_meanwhile(Account, theirs(account)):
            refused = send(method, url, {"balance": 1}, If_Match='"1"')
    assert refused.status_code in ((412, 503) if atomic else (412,))
    if refused.status_code == 412:
        assert refused.json()["current_version"] == 2
        assert refused.json().get("current", {}).get("owner") in ("theirs", None)
    else:
        assert refused["Retry-After"]
    assert row(account) == ("theirs", 100, 2)
    assert not Unlocked.objects.exists()
