"""A locked user model: people log in, and do so twice at once."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import backends
from django.contrib.auth.hashers import MD5PasswordHasher, make_password
from django.contrib.auth.models import update_last_login
from django.core import checks
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import isolate_apps
from testapp.models import Member, UnpreparedMember

from optilock import IntegerVersionField, RecordModifiedError, VersionedModel
from optilock.checks import check_versioned_models

PASSWORD = "correct horse"  # noqa: S105 -- it opens nothing

#: What the hashers and backends below wait at; each test makes its own.
meeting = Barrier(1)


class OldHasher(MD5PasswordHasher):
    """The hash that is to be replaced: both have checked it when one goes on."""

    algorithm = "old"

    def verify(self, password, encoded):
        is_right = super().verify(password, encoded)
        meeting.wait(30)
        return is_right


class MeetingBackend(backends.ModelBackend):
    """Django's own: both have loaded the user when one goes on."""

    def authenticate(self, *args, **kwargs):
        user = super().authenticate(*args, **kwargs)
        meeting.wait(30)
        return user


HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    f"{__name__}.OldHasher",
]


@pytest.fixture
def user_model(request, monkeypatch):
    model = request.param
    monkeypatch.setattr(backends, "UserModel", model)
    with override_settings(AUTH_USER_MODEL=model._meta.label):
        yield model


@pytest.fixture
def meet(monkeypatch):
    def meet(parties):
        monkeypatch.setitem(globals(), "meeting", Barrier(parties))

    return meet


PREPARED = pytest.mark.parametrize("user_model", [Member], indirect=True)
UNPREPARED = pytest.mark.parametrize("user_model", [UnpreparedMember], indirect=True)
race = pytest.mark.django_db(transaction=True)


def at_once(*functions):
    """Run them side by side; return what each returned."""
    results = [None] * len(functions)

    def run(number, function):
        try:
            results[number] = function()
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def log_in():
    """Log in at the admin's page; return the status and whose session it is."""
    # Of two clients at once, both would raise what one of them has met.
    client = Client(raise_request_exception=False)
    data = {"username": "ann", "password": PASSWORD, "next": "/"}
    response = client.post("/admin/login/", data)
    return response.status_code, client.session.get("_auth_user_id")


@race
@PREPARED
def test_two_logins_at_once_both_succeed(user_model, meet):
    user = user_model.objects.create_user("ann", password=PASSWORD, is_staff=True)
    meet(2)
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.MeetingBackend"]):
        assert at_once(log_in, log_in) == [(302, str(user.pk))] * 2
    user.refresh_from_db()
    assert user.last_login is not None
    assert user.version == 1


@race
@UNPREPARED
def test_without_it_one_of_two_logins_fails(user_model, meet):
    user_model.objects.create_user("ann", password=PASSWORD, is_staff=True)
    meet(2)
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.MeetingBackend"]):
        results = at_once(log_in, log_in)
    assert sorted(status for status, _ in results) == [302, 500]


def old_user(model):
    user = model(username="ann")
    user.password = make_password(PASSWORD, hasher="old")
    user.save()
    return user


@race
@PREPARED
def test_a_better_hash_is_stored_once_by_two_logins_at_once(user_model, meet):
    with override_settings(PASSWORD_HASHERS=HASHERS):
        user = old_user(user_model)
        meet(2)
        assert at_once(log_in, log_in) == [(302, str(user.pk))] * 2
    user.refresh_from_db()
    assert user.password.startswith("md5$")
    assert user.version == 2


@race
@UNPREPARED
def test_without_it_one_of_two_better_hashes_fails(user_model, meet):
    with override_settings(PASSWORD_HASHERS=HASHERS):
        old_user(user_model)
        meet(2)
        results = at_once(log_in, log_in)
    assert sorted(status for status, _ in results) == [302, 500]


@pytest.mark.django_db
@PREPARED
def test_a_password_that_was_changed_meanwhile_is_not_undone(user_model, meet):
    with override_settings(PASSWORD_HASHERS=HASHERS):
        user = old_user(user_model)
        meet(1)
        logging_in = user_model.objects.get()
        user.set_password("another")
        user.save()
        assert not logging_in.check_password(PASSWORD)
        assert user_model.objects.get().check_password("another")


@pytest.mark.django_db
@PREPARED
def test_what_somebody_edits_is_still_protected(user_model, meet):
    with override_settings(PASSWORD_HASHERS=HASHERS):
        user = old_user(user_model)
        meet(1)
        stale = user_model.objects.get()
        assert user.check_password(PASSWORD)
    update_last_login(None, stale)  # as a login of the stale object does
    stale.email = "ann@example.com"
    with pytest.raises(RecordModifiedError):
        stale.save()
    assert user_model.objects.get().email == ""


@pytest.mark.django_db(transaction=True)
@PREPARED
def test_a_better_hash_is_stored_by_async_code(user_model, meet):
    from asgiref.sync import async_to_sync

    with override_settings(PASSWORD_HASHERS=HASHERS):
        user = old_user(user_model)
        meet(1)
        stale = user_model.objects.get()
        user.save()
        assert async_to_sync(stale.acheck_password)(PASSWORD)
    user.refresh_from_db()
    assert user.password.startswith("md5$")


# The check


def found(model):
    class Config:
        def get_models(self):
            return [model]

    return [
        m for m in check_versioned_models(app_configs=[Config()]) if m.id[9:] == "W022"
    ]


@UNPREPARED
def test_a_user_model_that_logins_make_stale_is_found(user_model):
    (message,) = found(user_model)
    assert isinstance(message, checks.Warning)
    assert message.obj is user_model
    assert 'exclude=["last_login"]' in message.hint
    assert "docs/packages.md" in message.hint


@PREPARED
def test_a_user_model_that_is_prepared_is_not_found(user_model):
    assert found(user_model) == []


def test_a_model_that_nobody_logs_in_by_is_not_found():
    assert django_settings.AUTH_USER_MODEL == "auth.User"
    assert found(UnpreparedMember) == []


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        (["last_login"], "better password hash"),
        (["password"], "last_login"),
        (["last_login", "password"], None),
    ],
)
@isolate_apps("testapp")
def test_half_of_it_is_not_enough(excluded, said):
    from django.contrib.auth.models import AbstractBaseUser

    class Someone(VersionedModel, AbstractBaseUser):
        version = IntegerVersionField(exclude=excluded)

        class Meta:
            app_label = "testapp"

    with override_settings(AUTH_USER_MODEL="testapp.Someone"):
        messages = found(Someone)
    assert [said in m.msg for m in messages] == ([True] if said else [])
