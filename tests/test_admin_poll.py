from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from factories import MemoFactory, OrderFactory, StaffFactory, UserFactory
from pages import Page

pytestmark = pytest.mark.django_db


@pytest.fixture
def memo():
    return MemoFactory(subject="Hello")


@pytest.fixture
def page(memo):
    return Page.change(UserFactory(username="ann"), memo)


def url(page):
    return html.unescape(re.search(r'data-optilock-poll="([^"]+)"', page.text)[1])


def test_nothing_is_told_while_nobody_saves(page):
    assert page.client.get(url(page)).json() == {"version": 1}


def test_who_saved_meanwhile_is_told(page, memo):
    Page.change(UserFactory(username="bob"), memo).save(subject="Hi")
    answer = page.client.get(url(page)).json()
    assert answer["version"] == 2
    assert answer["text"].startswith("bob changed “Hi” a moment ago")


def test_asking_reads_only(page, django_assert_max_num_queries):
    with django_assert_max_num_queries(3) as captured:
        page.client.get(url(page))
    assert all(q["sql"].startswith("SELECT") for q in captured.captured_queries)


@pytest.mark.parametrize("permissions", [None, []])
def test_who_may_not_see_the_object_gets_a_404(page, permissions):
    client = Client()
    if permissions is not None:
        client.force_login(StaffFactory(permissions=permissions))
    assert client.get(url(page)).status_code == 404


def test_an_object_that_is_gone_is_a_404(page, memo):
    address = url(page)
    memo.delete()
    assert page.client.get(address).status_code == 404


@pytest.mark.parametrize("query", ["", "?version=x&loaded=y"])
def test_a_question_without_sense_is_answered(page, query):
    address = url(page).partition("?")[0] + query
    assert page.client.get(address).json()["version"] == 1


def test_forms_do_not_ask_unless_they_are_told_to():
    assert "data-optilock-poll" not in Page.change(UserFactory(), OrderFactory()).text
