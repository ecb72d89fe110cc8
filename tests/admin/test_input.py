"""Whatever a request says, the answer is no error."""

from __future__ import annotations

import random
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from examples import examples
from factories import LineFactory, MemoFactory, OrderFactory, UserFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Page, Script
from testapp.models import Line, Memo, Order, Parcel

pytestmark = pytest.mark.django_db

HUGE = "9" * 400
WRONG = [
    None,
    "",
    "x",
    "-1",
    HUGE,
    str(2**63),
    "1.5",
    "٣",
    "1\x00",
    "[]",
    "optilock:x",
    ["1", "2"],
    ["x", "\x00", "9" * 5000],
]


@pytest.fixture
def order():
    return LineFactory(order=OrderFactory(number="1", amount=10)).order


def send(page, value, *names, **more):
    """Post a page with a value in the place of others, or without these."""
    data = page.inputs.data | more | dict.fromkeys(names, value)
    data = {name: value for name, value in data.items() if value is not None}
    return page.client.post(page.url, data)


def wrong(*about):
    """Return all wrong values where .ci/run asks for them, else some for each test."""
    return random.Random(repr(about)).sample(WRONG, examples(len(WRONG)))


def send_all(page, *names, **more):
    """Post a page with wrong values; return the status codes."""
    return {
        repr(value)[:20]: send(page, value, *names, **more).status_code
        for value in wrong(names, more.keys())
    }


def untouched():
    rows = list(Order.objects.values_list("number", "status", "amount", "note"))
    assert rows == [("1", "open", 10, "")]
    assert Line.objects.count() == 1


FORM = [
    "optilock_token",
    "optilock_decision_",
    "optilock_decision_note",
    "optilock_decision_for_all",
    "lines-optilock_token",
    "lines-0-optilock_decision_",
    "lines-0-optilock_decision_quantity",
    "lines-0-id",
    "parcels-optilock_token",
    "_to_field",
    "CHANGE_FORM-action",
]


@pytest.mark.parametrize("name", FORM)
def test_a_change_form(ann, order, name):
    page = Page.change(ann, order)
    Order.objects.filter(pk=order.pk).update(currency="USD")
    codes = send_all(page, name, _save="1", status="open")
    assert {*codes.values()} <= {200, 302, 400}, codes
    untouched()


@pytest.mark.parametrize("name", FORM)
def test_a_change_form_of_what_is_gone(ann, order, name):
    page = Page.change(ann, order)
    Order.objects.all().delete()
    codes = send_all(page, name, _save="1")
    assert {*codes.values()} <= {200, 302, 400}, codes
    assert not Order.objects.exists()


LIST = [
    "form-optilock_token",
    "optilock_token",
    "form-0-optilock_decision_",
    "form-0-optilock_decision_amount",
    "form-0-id",
    "action",
    "index",
    "_selected_action",
    "select_across",
    "optilock_run",
    "optilock_changed",
    "post",
]


@pytest.mark.parametrize("name", LIST)
def test_a_list_that_is_saved(ann, order, name):
    page = Page.list(ann, Order)
    codes = send_all(page, name, _save="1")
    assert {*codes.values()} <= {200, 302}, codes
    untouched()


@pytest.mark.parametrize("name", [n for n in LIST if not n.startswith("form-")])
@pytest.mark.parametrize("action", ["do_nothing", "delete_selected"])
def test_an_action(ann, order, name, action):
    page = Page.list(ann, Order)
    data = {
        "action": action,
        "index": "0",
        "_selected_action": [str(order.pk)],
        "optilock_run": "unchanged",
    }
    codes = send_all(page, name, **data)
    assert {*codes.values()} <= {200, 302}, codes
    if name != "post":
        untouched()


@pytest.mark.parametrize("name", ["index", "action", "_selected_action"])
def test_an_action_without_a_name(ann, order, name):
    page = Page.list(ann, Order)
    codes = send_all(page, name, action=None, index="0")
    assert {*codes.values()} <= {200, 302}, codes
    untouched()


def test_an_action_on_keys_that_are_no_numbers(ann):
    Parcel.objects.create(code="P")
    page = Page.list(ann, Parcel)
    more = {"action": "delete_selected", "index": "0", "optilock_run": "all"}
    codes = send_all(page, "_selected_action", **more)
    assert {*codes.values()} <= {200, 302}, codes
    assert Parcel.objects.exists()


@pytest.mark.parametrize("name", ["optilock_token", "_to_field"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_delete(ann, order, name, method):
    client = Client()
    client.force_login(ann)
    url = reverse("admin:testapp_order_delete", args=[order.pk])
    for value in wrong(name, method):
        values = value if isinstance(value, list) else [value]
        query = {name: [v for v in values if v is not None]}
        response = getattr(client, method)(url + "?" + urlencode(query, doseq=True))
        assert response.status_code in (200, 302, 400), value
    untouched()


def test_a_key_in_the_address(ann, order):
    client = Client()
    client.force_login(ann)
    page = Page.change(ann, order)
    for value in (v for v in WRONG if v and isinstance(v, str)):
        for view in ("change", "delete"):
            url = reverse(f"admin:testapp_order_{view}", args=[value])
            assert client.get(url).status_code in (200, 302, 404), value
            data = page.inputs.data | {"_save": "1", "post": "yes"}
            assert client.post(url, data).status_code in (200, 302, 404), value
        poll = reverse("admin:testapp_memo_optilock_poll", args=[value])
        data |= {"optilock_poll": "look"}
        assert client.post(poll, data).status_code == 404, value


# --- the poll ------------------------------------------------------------


@pytest.fixture
def memo():
    return MemoFactory(subject="Hello")


@pytest.mark.parametrize(
    "name", ["optilock_poll", "optilock_token", "optilock_told", "optilock_touched"]
)
@pytest.mark.parametrize("question", ["look", "show", "leave"])
def test_a_question_of_a_script(ann, memo, name, question):
    script = Script(Page.change(ann, memo))
    for value in wrong(name, question):
        data = {**script.data, "optilock_poll": question, name: value}
        data = {key: value for key, value in data.items() if value is not None}
        expected = 200 if "optilock_poll" in data else 404
        assert script.client.post(script.url, data).status_code == expected, value


def test_who_came_last_is_not_told_to_who_has_opened_nothing(ann, memo):
    script = Script(Page.change(ann, memo))
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    other = Script(Page.change(UserFactory(), MemoFactory()))
    for wrong in ("", "x", other.data["optilock_token"]):
        assert "bob" not in script.look(optilock_token=wrong)["text"]
    assert "bob" in script.look()["text"]


# --- the views -----------------------------------------------------------


@pytest.mark.parametrize("name", ["memo", "delete"])
@pytest.mark.parametrize(
    "field", ["optilock_token", "optilock_decision_", "optilock_decision_body"]
)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_view(ann, name, field, is_gone):
    memo = MemoFactory()
    page = Page.get(ann, reverse(name, args=[memo.pk]))
    if is_gone:
        Memo.objects.all().delete()
    else:
        Memo.objects.filter(pk=memo.pk).update(body="theirs", version=2)
    codes = send_all(page, field, body="mine")
    assert {*codes.values()} <= {200, 302, 404}, codes
    assert set(Memo.objects.values_list("body", flat=True)) == (
        set() if is_gone else {"theirs"}
    )


# --- anything at all -----------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.one_of(
    texts,
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from([v for v in WRONG if isinstance(v, str)]),
)


@given(
    data=st.dictionaries(
        st.sampled_from(sorted({*FORM, *LIST, "_save", "_continue", "_saveasnew"})),
        st.lists(values, max_size=3),
        max_size=6,
    )
)
@settings(
    max_examples=examples(9),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_nobody_has_thought_of(ann, order, data):
    for page in (Page.change(ann, order), Page.list(ann, Order)):
        response = page.client.post(page.url, page.inputs.data | data)
        assert response.status_code < 500
