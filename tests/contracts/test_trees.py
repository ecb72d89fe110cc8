"""Trees that django-mptt and django-treebeard keep by SQL of their own."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import transaction
from django.db.migrations.state import ModelState
from pages import Page

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError
from optilock.checks import check_versioned_models

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME not in ("mptt", "treebeard"):
    pytest.skip("about trees", allow_module_level=True)

from contracts import models  # noqa: E402 -- they are only there then

Genre = models.Genre


def get(name):
    return Genre.objects.get(name=name)


def add(name, parent=None):
    if NAME == "mptt":
        return Genre.objects.create(name=name, parent=parent and get(parent))
    return get(parent).add_child(name=name) if parent else Genre.add_root(name=name)


def move(node, target):
    if NAME == "mptt":
        node.move_to(target)
    else:
        node.move(target, "first-child")


def assert_tree(**parents):
    """Assert who is whose child, and that the columns of the tree agree."""
    if NAME == "treebeard":
        assert not any(Genre.find_problems())
    else:
        names = ["name", "lft", "rght", "level"]
        before = list(Genre.objects.order_by("pk").values_list(*names))
        Genre.objects.rebuild()
        assert list(Genre.objects.order_by("pk").values_list(*names)) == before
    found = {
        node.name: parent and parent.name
        for node in Genre.objects.all()
        for parent in [node.get_parent() if NAME == "treebeard" else node.parent]
    }
    assert found == parents


@pytest.fixture(autouse=True, params=[models.Genre, models.OtherGenre])
def tree(request, monkeypatch):
    """Each of two models, with the bases in either order."""
    monkeypatch.setitem(globals(), "Genre", request.param)
    for name in ("prose", "verse"):
        add(name)
    for name in ("novel", "ode"):
        add(name, "prose")


def test_a_node_just_loaded_can_be_moved_and_saved():
    node = get("ode")
    move(node, get("verse"))
    node.name = "Ode"
    node.save()
    assert_tree(prose=None, verse=None, novel="prose", Ode="verse")


def test_a_node_whose_siblings_move_can_be_saved():
    node = get("ode")
    move(get("novel"), get("verse"))
    node.name = "Ode"
    node.save()
    assert_tree(prose=None, verse=None, novel="verse", Ode="prose")


def test_a_node_that_gets_a_child_can_be_saved():
    node = get("verse")
    add("sonnet", "verse")
    node.name = "Verse"
    node.save()
    assert_tree(prose=None, Verse=None, novel="prose", ode="prose", sonnet="Verse")


def test_a_node_can_be_deleted_with_what_is_below_it():
    get("prose").delete()
    assert_tree(verse=None)


def test_a_node_is_deleted_in_the_admin_together_with_one_below_it(ann):
    if not admin.site.is_registered(Genre):
        pytest.skip("one model is enough")
    page, chosen = Page.list(ann, Genre), [get("prose").pk, get("ode").pk]
    confirm = page.post(action="delete_selected", index="0", _selected_action=chosen)
    assert confirm.save(button="post").redirects
    assert_tree(verse=None)


def test_a_stale_node_never_moves_another_one_back():
    stale = get("ode")
    move(get("ode"), get("verse"))
    stale.name = "stale"
    try:
        stale.save()
    except RecordModifiedError:
        stale.name = "ode"
    assert_tree(**{"prose": None, "verse": None, "novel": "prose", stale.name: "verse"})


def test_a_stale_node_overwrites_nothing():
    stale, fresh = get("ode"), get("ode")
    fresh.name = "fresh"
    fresh.save()
    stale.name = "stale"
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert_tree(prose=None, verse=None, novel="prose", fresh="prose")


def test_a_stale_node_is_not_deleted_unless_treebeard_does_it():
    stale, fresh = get("ode"), get("ode")
    fresh.name = "fresh"
    fresh.save()
    if NAME == "treebeard" and Genre is models.Genre:
        stale.delete()
        assert_tree(prose=None, verse=None, novel="prose")
    else:
        # Behind mptt's base it is looked at when mptt has written the tree already.
        with pytest.raises(RecordModifiedError), transaction.atomic():
            stale.delete()
        assert_tree(prose=None, verse=None, novel="prose", fresh="prose")


def test_update_makes_a_node_stale():
    stale = get("ode")
    Genre.objects.filter(name="ode").update(name="Ode")
    with pytest.raises(RecordModifiedError):
        stale.save()


def test_the_checks_and_makemigrations_have_nothing_new_to_say():
    config = apps.get_app_config("contracts")
    # treebeard's own delete() is the one thing that isn't checked.
    known = [("optilock.W021", models.Genre)] if NAME == "treebeard" else []
    messages = check_versioned_models(app_configs=[config])
    assert [(message.id, message.obj) for message in messages] == known
    state = ModelState.from_model(Genre)
    assert [manager.deconstruct()[1] for _, manager in state.managers] == [
        "optilock.VersionedManager"
    ]
