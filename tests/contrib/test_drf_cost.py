"""What a precondition costs the database: nothing, where there is one UPDATE."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from django.db import connection, transaction
from django.db.models import CharField
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext
from testapp.models import (
    Account,
    Bistro,
    ConcurrentModel,
    Label,
    Labelled,
    Renamed,
    Restaurant,
    StringKey,
    Unlocked,
)

from optilock import RecordModifiedError

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from rest_framework import serializers, viewsets
from rest_framework.test import APIRequestFactory

from optilock.contrib.rest_framework import ConditionalMixin

pytestmark = pytest.mark.django_db(transaction=True)


def serializer_of(served, *names, **others):
    meta = type("Meta", (), {"model": served, "fields": list(names)})
    return type("Serializer", (serializers.ModelSerializer,), {"Meta": meta, **others})


def view_of(serializer, *mixins, **others):
    options = {
        "queryset": serializer.Meta.model._default_manager.all(),
        "serializer_class": serializer,
        "authentication_classes": (),
        "permission_classes": (),
        **others,
    }
    return type("View", (*mixins, viewsets.ModelViewSet), options)


def send(method, view, instance, body=None, **headers):
    make = getattr(APIRequestFactory(), method.lower())
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make("/", body, format="json", headers=headers)
    actions = {"get": "retrieve", "put": "update", "patch": "partial_update"}
    return view.as_view(actions)(request, pk=instance.pk)


def statements(method, view, instance, body=None, *, status=200, **headers):
    with CaptureQueriesContext(connection) as captured:
        answer = send(method, view, instance, body, **headers)
    assert answer.status_code == status
    return [query["sql"].split()[0] for query in captured]


@pytest.fixture(params=[nullcontext, transaction.atomic], ids=["autocommit", "atomic"])
def around(request):
    return request.param


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("served", [Account, ConcurrentModel, Renamed, StringKey])
def test_a_change_sends_what_the_same_view_sends_without_the_mixin(
    served, method, around
):
    name = "owner" if served is Account else "name"
    serializer = serializer_of(served, name)
    plain, ours = view_of(serializer), view_of(serializer, ConditionalMixin)
    instance = served._default_manager.create()
    with around():
        without = statements(method, plain, instance, {name: "plain"})
        tag = send("GET", ours, instance)["ETag"]
        with_tag = statements(method, ours, instance, {name: "ours"}, If_Match=tag)
        optional = statements(method, ours, instance, {name: "optional"})
    assert with_tag == optional == without == ["SELECT", "UPDATE"]


def test_neither_a_get_nor_a_304_sends_more_than_the_select():
    account = Account.objects.create()
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin)
    tag = send("GET", view, account)["ETag"]
    assert statements("GET", view, account) == ["SELECT"]
    fresh = statements("GET", view, account, status=304, If_None_Match=tag)
    assert fresh == ["SELECT"]


def test_a_lost_race_is_refused_without_a_transaction_too(around):
    serializer = serializer_of(Account, "owner")
    account = Account.objects.create(owner="first")

    class Losing(view_of(serializer, ConditionalMixin)):
        def get_serializer(self, *args, **kwargs):
            Account.objects.filter(pk=account.pk).update(owner="theirs")
            return super().get_serializer(*args, **kwargs)

    with around():
        answer = send("PATCH", Losing, account, {"owner": "mine"}, If_Match='"1"')
        assert answer.status_code == 412
        assert answer.data["current_version"] > 1
    assert Account.objects.get().owner in ("first", "theirs")


# --- where it is more than one UPDATE, it is done or none of it ------------


class RefusedError(Exception):
    pass


def refuse(*args, **kwargs):
    raise RefusedError


def refuse_after(method):
    def refusing(self, *args, **kwargs):
        method(self, *args, **kwargs)
        raise RefusedError

    return refusing


def is_undone(view, instance, body, name):
    """Tell whether nothing stays of a request that fails after its UPDATE."""
    with pytest.raises(RefusedError):
        send("PATCH", view, instance, body, If_Match='"1"')
    row = type(instance)._default_manager.get(pk=instance.pk)
    return getattr(row, name) != body[name] and row.version == 1


@pytest.mark.parametrize("signal", [pre_save, post_save], ids=["pre", "post"])
def test_what_receivers_write_is_undone(signal):
    def receiver(**kwargs):
        Unlocked.objects.create(name="written by a receiver")
        raise RecordModifiedError(
            instance=account, using="default", expected_version=1, current_version=2
        )

    account = Account.objects.create(owner="first")
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin)
    signal.connect(receiver, sender=Account)
    try:
        answer = send("PATCH", view, account, {"owner": "mine"}, If_Match='"1"')
    finally:
        signal.disconnect(receiver, sender=Account)
    assert answer.status_code == 412
    assert not Unlocked.objects.exists()
    assert Account.objects.get().owner == "first"


@pytest.mark.parametrize("name", ["save", "save_base", "_save_table", "_do_update"])
def test_what_a_model_does_in_a_method_of_its_own_is_undone(name, monkeypatch):
    account = Account.objects.create(owner="first")
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin)
    monkeypatch.setattr(Account, name, refuse_after(getattr(Account, name)))
    assert is_undone(view, account, {"owner": "mine"}, "owner")


@pytest.mark.parametrize("name", ["save", "update"])
def test_what_a_serializer_does_in_a_method_of_its_own_is_undone(name):
    method = refuse_after(getattr(serializers.ModelSerializer, name))
    serializer = serializer_of(Account, "owner", **{name: method})
    account = Account.objects.create(owner="first")
    view = view_of(serializer, ConditionalMixin)
    assert is_undone(view, account, {"owner": "mine"}, "owner")


@pytest.mark.parametrize("name", ["perform_update", "update", "partial_update"])
def test_what_a_view_does_in_a_method_of_its_own_is_undone(name):
    account = Account.objects.create(owner="first")
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin)
    own = {name: refuse_after(getattr(view, name))}
    view = type("Own", (view,), own)
    assert is_undone(view, account, {"owner": "mine"}, "owner")


def test_what_a_mixin_behind_ours_writes_is_undone():
    class Audited:
        def perform_update(self, serializer):
            Unlocked.objects.create(name="about to be changed")
            Account.objects.update(owner="theirs")
            super().perform_update(serializer)

    account = Account.objects.create(owner="first")
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin, Audited)
    answer = send("PATCH", view, account, {"owner": "mine"}, If_Match='"1"')
    assert answer.status_code == 412
    assert not Unlocked.objects.exists()


def test_what_a_field_writes_in_pre_save_is_undone(monkeypatch):
    class Counting(CharField):
        def pre_save(self, instance, add):
            Unlocked.objects.create(name="counted")
            Account.objects.update(balance=5)
            return super().pre_save(instance, add)

    account = Account.objects.create(owner="first")
    view = view_of(serializer_of(Account, "owner"), ConditionalMixin)
    field = Account._meta.get_field("owner")
    monkeypatch.setattr(field, "__class__", Counting)
    field.model._meta.get_field("version").lock.plain_fields.clear()
    try:
        answer = send("PATCH", view, account, {"owner": "mine"}, If_Match='"1"')
    finally:
        field.model._meta.get_field("version").lock.plain_fields.clear()
    assert answer.status_code == 412
    assert not Unlocked.objects.exists()


def test_what_goes_before_many_to_many_fields_is_undone(monkeypatch):
    labelled, label = Labelled.objects.create(), Label.objects.create()
    view = view_of(serializer_of(Labelled, "labels"), ConditionalMixin)
    monkeypatch.setattr(Labelled.labels.related_manager_cls, "set", refuse)
    with pytest.raises(RefusedError):
        send("PATCH", view, labelled, {"labels": [label.pk]}, If_Match='"1"')
    assert Labelled.objects.get().version == 1


@pytest.mark.parametrize("served", [Restaurant, Bistro])
def test_rows_of_several_tables_are_written_in_a_transaction(served):
    instance = served.objects.create()
    view = view_of(serializer_of(served, "name"), ConditionalMixin)
    sent = statements("PATCH", view, instance, {"name": "mine"}, If_Match='"1"')
    assert sent[1] == "BEGIN"
    assert sent[-1] == "COMMIT"
