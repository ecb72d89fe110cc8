"""django-treebeard's form, by which a node is moved in the admin."""

from __future__ import annotations

import pytest
from pages import Page

from contracts.packages import CHOSEN, NAME

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "treebeard":
    pytest.skip("about django-treebeard", allow_module_level=True)

from contracts.models import Genre  # noqa: E402 -- only where it is


def parent(name):
    found = Genre.objects.get(name=name).get_parent()
    return found and found.name


@pytest.fixture
def pages(ann, bob):
    """Two people's pages of one node, opened at the same time."""
    for root in ("prose", "verse", "drama"):
        Genre.add_root(name=root)
    Genre.objects.get(name="prose").add_child(name="ode")
    ode = Genre.objects.get(name="ode")
    return Page.change(ann, ode), Page.change(bob, ode)


def target(name):
    """What is to be chosen on the page to move the node to another one."""
    pk = Genre.objects.get(name=name).pk
    return {"treebeard_position": "first-child", "treebeard_ref_node": str(pk)}


def test_a_node_they_moved_is_not_moved_back(pages):
    mine, theirs = pages
    assert theirs.save(**target("verse")).redirects
    assert parent("ode") == "verse"
    saved = mine.save(name="Ode")
    assert saved.redirects, saved.text
    assert parent("Ode") == "verse"
    assert not any(Genre.find_problems())


def test_a_node_that_both_moved_is_asked_about(pages):
    mine, theirs = pages
    assert theirs.save(**target("verse")).redirects
    asked = mine.save(**target("drama"))
    assert not asked.redirects
    assert parent("ode") == "verse"
    assert asked.save(optilock_decision_treebeard_ref_node="mine").redirects
    assert parent("ode") == "drama"
    assert not any(Genre.find_problems())


def test_a_name_and_a_move_are_merged(pages):
    mine, theirs = pages
    assert theirs.save(name="Ode").redirects
    assert mine.save(**target("verse")).redirects
    assert parent("Ode") == "verse"
