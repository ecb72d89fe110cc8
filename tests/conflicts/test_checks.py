"""Wrong options for merging are found by the system checks."""

from __future__ import annotations

import pytest
from django.db import models
from django.test.utils import isolate_apps

from optilock import VersionedModel
from optilock.checks import check_versioned_models


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, []),
        ({"on_conflict": "merge"}, []),
        ({"on_conflict": "merg"}, ["optilock.E020"]),
        ({"on_conflict": "merge", "remember_loaded": False}, ["optilock.W020"]),
        ({"remember_loaded": False}, []),
        ({"merge_together": [("amount", "currency")]}, []),
        ({"merge_together": ("amount", "currency")}, ["optilock.E021"]),
        ({"merge_together": [("amount", "money")]}, ["optilock.E022"]),
        ({"merge_decisions": {"amount": "mine"}}, []),
        ({"merge_decisions": {"amount": max}}, []),
        ({"merge_decisions": {"money": "mine"}}, ["optilock.E022"]),
        ({"merge_decisions": {"amount": "yours"}}, ["optilock.E023"]),
    ],
)
def test_wrong_options_are_found(options, ids):
    with isolate_apps("testapp") as apps:
        fields = {
            "amount": models.IntegerField(),
            "currency": models.CharField(max_length=3),
        }
        meta = {"Meta": type("Meta", (), {"app_label": "testapp"})}
        body = {"__module__": __name__, **fields, **options, **meta}
        type("Price", (VersionedModel,), body)
        messages = check_versioned_models(app_configs=apps.get_app_configs())
    assert [message.id for message in messages] == ids
