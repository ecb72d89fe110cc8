"""What becomes of the lock on a Django that saves in another way."""

from __future__ import annotations

from functools import partial
from inspect import signature

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models as django_models
from django.db.models import base
from django.test.utils import isolate_apps
from factories import AccountFactory
from testapp.models import Account, LockedByField

from optilock import (
    IntegerVersionField,
    RecordModifiedError,
    VersionedModel,
    fast_update,
    keys,
)

pytestmark = pytest.mark.django_db


def djangos(source):
    """Return the function of a Django to come."""
    exec(source, namespace := dict(vars(base)))  # noqa: S102 -- the test's own
    return namespace["method"]


PAST_THE_GUARD = djangos(
    """
def method(self, raw=False, cls=None, force_insert=False, force_update=False,
           using=None, update_fields=None):
    values = {f.attname: f.pre_save(self, False)
              for f in cls._meta.local_concrete_fields if not f.primary_key}
    return bool(cls._base_manager.using(using).filter(pk=self.pk).update(**values))
"""
)


@pytest.fixture
def account():
    return Account.objects.get(pk=AccountFactory().pk)


def test_a_django_that_comes_past_the_guard_is_told_at_the_first_save(
    monkeypatch, account
):
    monkeypatch.setattr(django_models.Model, "_save_table", PAST_THE_GUARD)
    monkeypatch.setattr(fast_update, "IS_KNOWN", False)
    with pytest.raises(RuntimeError, match=r"doesn't call Model\._do_update\(\)"):
        account.save()


def test_another_package_that_saves_in_its_own_way_is_left_in_peace(
    monkeypatch, account
):
    def method(self, *args, **kwargs):
        return PAST_THE_GUARD(self, *args, **kwargs)

    monkeypatch.setattr(django_models.Model, "_save_table", method)
    account.save()


@pytest.mark.parametrize("model", [Account, LockedByField])
def test_rows_are_locked_on_a_django_nobody_knows(monkeypatch, model):
    monkeypatch.setattr(fast_update, "IS_KNOWN", False)
    monkeypatch.setattr(keys, "IS_KNOWN", False)
    pk = model.objects.create().pk
    fresh, stale = model.objects.get(pk=pk), model.objects.get(pk=pk)
    fresh.save()
    with pytest.raises(RecordModifiedError):
        stale.save()
    stale.refresh_from_db()
    stale.save()
    assert model.objects.get(pk=pk).version == 3


def test_nothing_is_sent_the_short_way_on_a_django_nobody_knows(monkeypatch, account):
    def fail(*args, **kwargs):
        raise AssertionError("the short way was taken")

    monkeypatch.setattr(fast_update, "statement_of", fail)
    monkeypatch.setattr(fast_update, "IS_KNOWN", False)
    account.save()
    assert account.version == 2


@isolate_apps("testapp")
def test_a_django_that_can_not_be_locked_is_refused_when_a_model_is_made(monkeypatch):
    monkeypatch.setattr(
        django_models.Model, "_do_update", djangos("def method(self, row): ...")
    )
    with pytest.raises(ImproperlyConfigured, match=r"no Model\._do_update\(\)"):

        class Unlockable(django_models.Model):
            version = IntegerVersionField()

            class Meta:
                app_label = "testapp"


def test_a_receiver_that_saves_the_instance_again_is_no_reason_to_complain(account):
    def again(instance, **kwargs):
        if instance.version < 4:
            instance.save()

    django_models.signals.post_save.connect(again, sender=Account)
    try:
        account.save()
    finally:
        django_models.signals.post_save.disconnect(again, sender=Account)
    assert Account.objects.get().version == 4
    assert "_optilock_guarded" not in vars(account._state)


def test_an_insert_forced_for_a_loaded_object_is_no_reason_to_complain(account):
    Account.objects.all()._raw_delete("default")
    account.save(force_insert=True)
    assert Account.objects.get().pk == account.pk


@isolate_apps("testapp")
def test_a_models_own_refresh_is_called_as_it_is():
    class Own(VersionedModel):
        class Meta:
            app_label = "testapp"

        def refresh_from_db(self, db=None, fields=None):
            self.asked = db, fields

    own = Own()
    own.refresh_from_db("default", ["version"])
    assert own.asked == ("default", ["version"])


@pytest.mark.parametrize(
    "name",
    [
        "from_db",
        "refresh_from_db",
        "save_base",
        "validate_constraints",
        "validate_unique",
    ],
)
def test_methods_are_described_as_djangos(name):
    ours, theirs = getattr(LockedByField, name), getattr(django_models.Model, name)
    assert signature(ours) == signature(theirs)
    assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)


@isolate_apps("testapp")
def test_a_method_of_a_mixin_may_be_anything_that_can_be_called():
    class Mixin:
        validate_unique = staticmethod(partial(print, end=""))

    class Mixed(Mixin, django_models.Model):
        version = IntegerVersionField()

        class Meta:
            app_label = "testapp"

    Mixed().validate_unique()
