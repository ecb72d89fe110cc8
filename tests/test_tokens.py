from __future__ import annotations

import datetime
import decimal
import uuid

import pytest
from django.core import signing
from django.db import models
from testapp.models import (
    Account,
    AccountProxy,
    Assorted,
    Author,
    Book,
    Place,
    Restaurant,
)

from optilock import tokens
from optilock.tokens import BadToken, Row, Token


def text(model=Account, **row):
    return Token({"7": Row(**{"version": 3, **row})}).sign(model)


def test_a_token_comes_back_as_it_was_signed():
    token = Token(
        {"7": Row(3, {"owner": "Ann"}, {"owner": "Bob"})}, loaded=1_700_000_000
    )
    assert tokens.read(token.sign(Account), Account) == token


@pytest.mark.parametrize(
    "garbled",
    [None, "", "x", "a:b:c", text()[:-1], text()[1:], text() + "x", "é" * 10],
)
def test_what_is_missing_or_garbled_is_no_token(garbled):
    with pytest.raises(BadToken):
        tokens.read(garbled, Account)


def test_another_models_token_is_refused():
    with pytest.raises(BadToken, match=r"testapp\.Author"):
        tokens.read(text(Account), Author)


def test_a_token_for_something_else_on_the_site_is_refused():
    with pytest.raises(BadToken):
        tokens.read(signing.dumps({"f": 1, "t": 0, "r": {}}), Account)


def test_another_releases_format_is_refused():
    salt = "optilock.token:testapp.account"
    with pytest.raises(BadToken, match="format 99"):
        tokens.read(signing.dumps({"f": 99}, salt=salt), Account)


def test_a_proxys_token_is_its_models():
    assert tokens.read(text(AccountProxy), Account)


def test_a_token_signed_with_an_old_key_is_read_while_the_key_is_a_fallback(settings):
    settings.SECRET_KEY = "old"  # noqa: S105 -- for this test
    old = text()
    settings.SECRET_KEY = "new"  # noqa: S105
    with pytest.raises(BadToken):
        tokens.read(old, Account)
    settings.SECRET_KEY_FALLBACKS = ["old"]
    assert tokens.read(old, Account).row(7).version == 3


def test_a_row_the_token_does_not_know_has_no_version():
    assert tokens.read(text(), Account).row(8) is tokens.UNKNOWN


def test_looking_at_a_childs_row_finds_its_parents_version():
    assert tokens.look(Restaurant(version=5)).version == 5


ZONE = datetime.timezone(datetime.timedelta(hours=5))
VALUES = [
    ("text", "text\nof two lines"),
    ("text", ""),
    ("boolean", True),
    ("null_boolean", None),
    ("integer", -5),
    ("float", 0.1),
    ("decimal", decimal.Decimal("12.50")),
    ("date", datetime.date(2024, 2, 29)),
    ("time", datetime.time(23, 59, 59, 5)),
    ("moment", datetime.datetime(2024, 2, 29, 12, 30, 1, 999, tzinfo=ZONE)),
    ("duration", datetime.timedelta(days=1, microseconds=3)),
    ("uuid", uuid.UUID(int=7)),
    ("json", {"b": [1, None, "é"], "a": True}),
    ("json", "a string"),
    ("json", 5),
    ("address", "10.0.0.1"),
]


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_value_thaws_to_what_was_frozen(name, value):
    field = Assorted._meta.get_field(name)
    row = tokens.look(Account(), {"x": tokens.freeze(field, value)})
    token = tokens.read(Token({"1": row}).sign(Account), Account)
    frozen = token.row(1).base["x"]
    assert tokens.thaw(field, frozen) == value
    assert tokens.freeze(field, value) == frozen


def test_a_foreign_key_is_frozen_as_its_value():
    field = Book._meta.get_field("author")
    assert tokens.thaw(field, tokens.freeze(field, 12)) == 12


def test_many_to_many_is_the_same_in_any_order():
    field = Assorted._meta.get_field("friends")
    ann, bob = Account(pk=1), Account(pk=10)
    assert tokens.freeze(field, [ann, bob]) == tokens.freeze(field, [10, 1])
    assert tokens.thaw(field, tokens.freeze(field, [bob, ann])) == [1, 10]


def test_a_long_value_is_a_digest_that_tells_whether_it_changed():
    field = Place._meta.get_field("name")
    long = "x" * 3000
    frozen = tokens.freeze(field, long)
    assert tokens.is_digest(frozen)
    assert frozen == tokens.freeze(field, long)
    assert frozen != tokens.freeze(field, long + " ")


@pytest.mark.parametrize("length", [5, 3000])
def test_what_a_form_does_to_a_text_is_not_a_change(length):
    field = Place._meta.get_field("name")
    stored = "x\n" * length
    frozen = tokens.freeze(field, stored)
    assert tokens.is_typed(field, stored.replace("\n", "\r\n").strip(), frozen)
    assert not tokens.is_typed(field, stored + "y", frozen)


def test_a_text_as_long_as_a_digest_allows_is_compared_too():
    field = Place._meta.get_field("name")
    frozen = tokens.freeze(field, "x" * (tokens.LONG + 1))
    assert not tokens.is_typed(field, "x", frozen)


def test_the_token_of_long_texts_is_short():
    row = tokens.look(Account(), {"x": tokens.freeze(models.TextField(), "é" * 10**6)})
    assert len(Token({"1": row}).sign(Account)) < 300
