"""What does If-Match cost a request, and what does a 304 save?

A request is one call of the view, in this process: from Django's request to the
rendered answer. No server and no middleware, which would cost all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from django.db import transaction
from django.test import RequestFactory

from benchmarks import harness

#: Nobody is authenticated, so there is no need for users.
SETTINGS = {"REST_FRAMEWORK": {"UNAUTHENTICATED_USER": None}}

#: A view as Django calls it, and the key of the row that it is asked for.
Served = tuple[Callable[..., Any], int]


def tables(plan: harness.Plan) -> Iterator[harness.Table]:
    patches, gets = ways()
    yield harness.cpu(plan, "PATCH", patches)
    yield harness.cpu(
        plan,
        "PATCH, ATOMIC_REQUESTS",
        {name: in_transaction(way) for name, way in patches.items()},
    )
    yield harness.cpu(plan, "GET", gets)


def ways() -> tuple[harness.Ways, harness.Ways]:
    """Return what sends a PATCH, and what sends a GET of other rows."""
    plain, locked = "Django REST framework, no lock", "a locked model"
    ours, alone = "optilock", "optilock, the field alone"
    served = contenders()
    patches = {
        plain: patching(served[plain]),
        "a locked model, no If-Match": patching(served[locked]),
        "optilock, If-Match": patching(served[ours], is_tagged=True),
        "optilock, the field alone, If-Match": patching(served[alone], is_tagged=True),
    }
    read = contenders()
    gets = {
        plain: getting(read[plain]),
        "optilock, 200": getting(read[ours]),
        "optilock, 304": getting(read[ours], is_known=True),
    }
    if theirs := read.get("drf-extensions"):
        tagged = patching(served["drf-extensions"], is_tagged=True)
        patches["drf-extensions, If-Match"] = tagged
        gets["drf-extensions, 200"] = getting(theirs)
        gets["drf-extensions, 304"] = getting(theirs, is_known=True)
    return patches, gets


def contenders() -> dict[str, Served]:
    """Return the same view of the same six fields, for each way to guard it."""
    from rest_framework import serializers, viewsets

    from benchmarks import models
    from optilock.contrib.rest_framework import ConditionalMixin

    def served(model_: Any, *mixins: type) -> Served:
        class Serializer(serializers.ModelSerializer):
            class Meta:
                model = model_
                fields = ["id", *(f.name for f in models.SixFields._meta.fields)]

        class View(*mixins, viewsets.ModelViewSet):  # type: ignore[misc]
            queryset = model_._default_manager.all()
            serializer_class = Serializer
            authentication_classes = ()
            permission_classes = ()

        actions = {"get": "retrieve", "patch": "partial_update"}
        return View.as_view(actions), model_._default_manager.create().pk

    found = {
        "Django REST framework, no lock": served(models.Unlocked),
        "a locked model": served(models.Locked),
        "optilock": served(models.Locked, ConditionalMixin),
        "optilock, the field alone": served(models.LockedByField, ConditionalMixin),
    }
    try:
        from rest_framework_extensions.etag.mixins import APIETAGMixin
    except ImportError:
        return found
    return found | {"drf-extensions": served(models.Unlocked, APIETAGMixin)}


def ask(served: Served, request: Any, status: int) -> Any:
    view, pk = served
    response = view(request, pk=pk)
    if not response.is_rendered:
        response.render()
    if response.status_code != status:
        raise RuntimeError(f"{response.status_code}: {response.content}")
    return response


def patching(served: Served, *, is_tagged: bool = False) -> harness.Way:
    """Return a function that changes one field by a PATCH."""
    factory, numbers = RequestFactory(), count()
    headers = (
        {"If-Match": ask(served, factory.get("/"), 200)["ETag"]} if is_tagged else {}
    )

    def way() -> None:
        body = json.dumps({"owner": f"Ada {next(numbers)}"})
        request = factory.patch("/", body, "application/json", headers=headers)
        response = ask(served, request, 200)
        if is_tagged:
            headers["If-Match"] = response["ETag"]

    return way


def in_transaction(way: harness.Way) -> harness.Way:
    def inside() -> None:
        with transaction.atomic():
            way()

    return inside


def getting(served: Served, *, is_known: bool = False) -> harness.Way:
    factory = RequestFactory()
    headers = {}
    if is_known:
        headers["If-None-Match"] = ask(served, factory.get("/"), 200)["ETag"]

    def way() -> None:
        request = factory.get("/", headers=headers)
        ask(served, request, 304 if is_known else 200)

    return way


if __name__ == "__main__":
    harness.main("requests", tables, rounds=60, also=SETTINGS)
