"""django-fsm-2: transitions, and a state that can't be assigned to."""

from __future__ import annotations

import pytest
from django.db import transaction
from django_fsm import TransitionNotAllowed

from contracts.packages import CHOSEN, NAME
from optilock import RecordModifiedError

pytestmark = pytest.mark.django_db

if not CHOSEN or NAME != "django_fsm":
    pytest.skip("about django-fsm-2", allow_module_level=True)

from contracts.models import MODELS  # noqa: E402 -- only where there are any

BOTH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


@pytest.fixture
def pair(model):
    model.objects.create(name="old")
    return model.objects.get(), model.objects.get()


@BOTH
def test_of_two_transitions_at_once_one_is_refused(model, pair):
    for one in pair:
        one.close()
    pair[0].save()
    with pytest.raises(RecordModifiedError), transaction.atomic():
        pair[1].save()
    assert model.objects.values_list("state", "version").get() == ("closed", 2)
    with pytest.raises(TransitionNotAllowed):
        model.objects.get().close()


@BOTH
def test_a_protected_state_is_merged_and_refreshed(model, pair):
    mine, theirs = pair
    theirs.close()
    theirs.save()
    mine.name = "mine"
    mine.save(on_conflict="merge")
    found = model.objects.get()
    assert (found.name, found.state, mine.state) == ("mine", "closed", "closed")
    model.objects.update(state="open")
    mine.refresh_from_db()
    assert mine.state == "open"
    mine.close()
    mine.save()


@BOTH
def test_a_merge_that_is_rolled_back_takes_the_state_back(model, pair):
    mine, theirs = pair
    theirs.close()
    theirs.save()
    mine.name = "mine"
    with transaction.atomic():
        mine.save(on_conflict="merge")
        transaction.set_rollback(True)
    assert (mine.name, mine.state, mine.version) == ("mine", "open", 1)
