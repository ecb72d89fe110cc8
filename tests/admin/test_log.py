"""The log of edit conflicts: what is kept, for how long, and the page that shows it."""

from __future__ import annotations

import datetime
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from factories import CustomerFactory, LineFactory, StaffFactory
from pages import Inputs, Page
from testapp.admin import OrderAdmin
from testapp.models import Colour

from optilock.log.models import EditConflict

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("english"),
]


@pytest.fixture
def config():
    return apps.get_app_config("optilock_log")


def collide(ann, bob, order, **typed):
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", status="paid")
    return mine.save(**{"note": "ann's", **typed})


def test_what_forms_have_found_is_kept_by_name(ann, bob, order):
    collide(ann, bob, order).save().save(optilock_decision_note="mine")
    entry = EditConflict.objects.get()
    assert (entry.model, entry.object_id) == ("testapp.order", str(order.pk))
    assert (entry.colliding, entry.merged) == (["note"], ["status"])
    assert (entry.user, entry.author, entry.found_in) == (ann, bob, "form")
    assert entry.values is None
    assert timezone.now() - entry.when < datetime.timedelta(minutes=1)


def test_values_are_kept_if_the_project_says_so_but_no_secret_ones(
    ann, bob, order, config, monkeypatch
):
    monkeypatch.setattr(config, "keep_values", True)
    monkeypatch.setattr(OrderAdmin, "optilock_secret_fields", ["note"])
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(note="bob's", amount="7.50")
    mine.save(note="ann's", amount="8")
    entry = EditConflict.objects.get()
    assert sorted(entry.colliding) == ["amount", "note"]
    assert entry.values["amount"] == {"base": "10.00", "mine": "8", "theirs": "7.50"}
    assert "note" not in entry.values


def test_entries_that_are_old_or_too_many_are_deleted(
    ann, bob, order, config, monkeypatch
):
    monkeypatch.setattr(config, "days", 30)
    old = timezone.now() - datetime.timedelta(days=31)
    EditConflict.objects.create(model="a.b", object_id="old", found_in="form", when=old)
    for _ in range(4):
        EditConflict.objects.create(model="a.b", object_id="new", found_in="form")
    monkeypatch.setattr(config, "most", 3)
    collide(ann, bob, order)
    kept = EditConflict.objects.order_by("pk").values_list("object_id", flat=True)
    assert list(kept) == ["new", "new", str(order.pk)]


def test_a_log_that_cannot_be_written_disturbs_nobody(ann, bob, order, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no log")

    monkeypatch.setattr(EditConflict, "save", fail)
    asked = collide(ann, bob, order)
    assert "optilock-conflict" in asked.text
    assert asked.save(optilock_decision_note="mine").redirects


def test_a_request_without_a_conflict_writes_nothing(
    ann, order, django_assert_num_queries
):
    page = Page.change(ann, order)
    assert page.save(note="new").redirects
    assert not EditConflict.objects.exists()


def log_page(user, query=""):
    client = Client()
    client.force_login(user)
    return client.get(reverse("admin:optilock_log_editconflict_changelist") + query)


def test_the_page_shows_who_collides_where(ann, bob, order):
    line = LineFactory(order=order, product="fountain", quantity=1)
    collide(ann, bob, order)
    mine, theirs = Page.change(bob, order), Page.change(ann, order)
    theirs.save(**{"lines-0-quantity": "2"})
    mine.save(**{"lines-0-quantity": "3"})
    EditConflict.objects.create(
        model="gone.model", object_id="1", found_in="form", colliding=["field"]
    )
    response = log_page(StaffFactory(permissions=["view_editconflict"]))
    charts = {
        str(chart.title): [(bar.label, bar.count, bar.percent) for bar in chart.bars]
        for chart in response.context["optilock_charts"]
    }
    assert {*charts["Models"]} == {
        ("Order", 1, 100),
        ("Line", 1, 100),
        ("gone.model", 1, 100),
    }
    assert ("Order: Note", 1, 100) in charts["Fields that both have changed"]
    assert ("Line: Quantity", 1, 100) in charts["Fields that both have changed"]
    assert charts["People"] == [("ann and bob", 2, 100)]
    assert [n for _, n, _ in charts["Weeks, by their first day"]] == [3]
    text = response.content.decode()
    assert "ann and bob" in text
    assert line.product not in text
    assert "bob&#x27;s" not in text


def test_the_page_counts_what_its_filters_show(ann, bob, order):
    collide(ann, bob, order)
    EditConflict.objects.create(model="a.b", object_id="1", found_in="list")
    response = log_page(ann, "?found_in__exact=list")
    models, fields, people, _ = response.context["optilock_charts"]
    assert [bar.label for bar in models.bars] == ["a.b"]
    assert (fields.bars, people.bars) == ([], [])


def test_the_page_is_called_what_it_is_and_names_models_as_people_do(ann, bob, order):
    collide(ann, bob, order)
    EditConflict.objects.create(model="gone.model", object_id="1", found_in="list")
    response = log_page(ann)
    assert response.context["title"] == "Edit conflicts"
    [by_model] = [
        spec for spec in response.context["cl"].filter_specs if spec.title == "model"
    ]
    choices = list(by_model.choices(response.context["cl"]))
    assert [choice["display"] for choice in choices] == ["All", "gone.model", "Order"]
    narrowed = log_page(ann, choices[2]["query_string"])
    assert [entry.model for entry in narrowed.context["cl"].result_list] == [
        "testapp.order"
    ]


def test_the_page_can_only_be_read(ann, bob, order):
    collide(ann, bob, order)
    entry = EditConflict.objects.get()
    response = log_page(ann)
    names = Inputs(response.content.decode()).data
    assert not {"action", "_save"} & names.keys()
    client = Client()
    client.force_login(ann)
    for page in ("add/", f"{entry.pk}/delete/"):
        assert client.get(f"/admin/optilock_log/editconflict/{page}").status_code == 403
    client.post(f"/admin/optilock_log/editconflict/{entry.pk}/change/", {"model": "x"})
    entry.refresh_from_db()
    assert entry.model == "testapp.order"


def test_who_has_no_permission_sees_nothing():
    assert log_page(StaffFactory(permissions=["view_order"])).status_code == 403


def test_its_migrations_are_complete():
    out = StringIO()
    call_command("makemigrations", "optilock_log", check=True, stdout=out)
    assert "No changes" in out.getvalue()


def test_a_filter_that_makes_no_sense_is_answered_as_django_does(ann):
    response = log_page(ann, "?found_in__nonsense=1")
    assert (response.status_code, response.url[-4:]) == (302, "?e=1")


def test_a_field_that_the_model_has_no_more_is_called_as_it_was(ann, order):
    EditConflict.objects.create(
        model="testapp.order", object_id="1", found_in="form", colliding=["colour"]
    )
    [_, fields, *_] = log_page(ann).context["optilock_charts"]
    assert [bar.label for bar in fields.bars] == ["Order: Colour"]


def test_who_collides_with_what_they_did_elsewhere_is_told_apart(ann, order):
    collide(ann, ann, order)
    [_, _, people, _] = log_page(ann).context["optilock_charts"]
    assert [bar.label for bar in people.bars] == ["ann, in two windows"]


def test_values_of_each_kind_are_kept(ann, bob, order, config, monkeypatch):
    monkeypatch.setattr(config, "keep_values", True)
    monkeypatch.setattr(OrderAdmin, "optilock_merge_decisions", {"tags": "ask"})
    red, blue = (Colour.objects.create(name=name) for name in ("red", "blue"))
    customers = CustomerFactory(), CustomerFactory()
    mine, theirs = Page.change(ann, order), Page.change(bob, order)
    theirs.save(tags=[red.pk], customer=customers[0].pk)
    mine.save(tags=[blue.pk], customer=customers[1].pk)
    values = EditConflict.objects.get().values
    assert values["customer"] == {
        "base": None,
        "mine": customers[1].pk,
        "theirs": customers[0].pk,
    }
    assert values["tags"] == {"base": [], "mine": [blue.pk], "theirs": [red.pk]}
