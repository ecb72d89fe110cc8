"""The page that asks whether an object is to be deleted."""

from __future__ import annotations

import pytest
from pages import Page, admin_url
from testapp.models import Order

pytestmark = pytest.mark.django_db


def test_what_was_confirmed_is_deleted(ann, order):
    assert Page.delete(ann, order).post(post="yes").redirects
    assert not Order.objects.exists()


def test_what_was_changed_meanwhile_is_confirmed_again(ann, bob, order):
    page = Page.delete(ann, order)
    Page.change(bob, order).save(note="bob's")
    refused = page.post(post="yes")
    assert Order.objects.exists()
    assert refused.messages[0].startswith("bob changed “17” a moment ago")
    url = refused.response.url
    again = Page(page.client, url, page.client.get(url))
    assert again.post(post="yes").redirects
    assert not Order.objects.exists()


def test_what_is_gone_already_is_no_error(ann, bob, order):
    page = Page.delete(ann, order)
    Page.delete(bob, order).post(post="yes")
    done = page.post(post="yes")
    assert done.response.url == admin_url(order, "changelist")
    assert done.messages == ["The order was deleted already, by bob."]
