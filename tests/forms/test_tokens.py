from __future__ import annotations

import datetime
import decimal
import uuid
from random import Random
from string import ascii_letters

import pytest
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from testapp.models import (
    Account,
    AccountProxy,
    Assorted,
    Author,
    Book,
    Place,
    Restaurant,
    StringKey,
)

from optilock.forms import tokens
from optilock.forms.tokens import BadToken, OpenedRow, Token


def text(model=Account, **row):
    return Token({"7": OpenedRow(**{"version": 3, **row})}).sign(model)


def test_a_token_comes_back_as_it_was_signed():
    token = Token(
        {"7": OpenedRow(3, {"owner": "Ann"}, {"owner": "Bob"})}, loaded=1_700_000_000
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
    assert tokens.read(text(), Account).row(8) is tokens.UNSEEN


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


def test_a_moment_without_a_zone_is_one_of_the_sites():
    field = Assorted._meta.get_field("moment")
    naive = datetime.datetime(2024, 2, 29, 12, 30)
    aware = timezone.make_aware(naive, timezone.get_default_timezone())
    assert tokens.freeze(field, naive) == tokens.freeze(field, aware)


class OneWay(models.CharField):
    """A field that can't read what it writes."""

    def to_python(self, value):
        raise ValidationError("never")


def test_what_a_field_cannot_read_itself_stays_as_it_is():
    field = OneWay(name="code")
    field.set_attributes_from_name("code")
    assert tokens.thaw(field, tokens.freeze(field, "a")) == "a"


@pytest.mark.parametrize(
    ("model", "posted", "is_one"),
    [
        (Account, "7", True),
        (Account, "seven", False),
        (Account, "", False),
        (StringKey, "seven", True),
        (StringKey, "se\x00ven", False),
        (Restaurant, "7", True),
        (Restaurant, "seven", False),
    ],
)
def test_what_can_be_a_key_is_told_from_what_cannot(model, posted, is_one):
    assert tokens.is_key(model, posted) is is_one


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
    frozen = tokens.brief(tokens.freeze(field, long))
    assert tokens.is_digest(frozen)
    assert tokens.brief(frozen) == frozen
    assert frozen == tokens.brief(tokens.freeze(field, long))
    assert frozen != tokens.brief(tokens.freeze(field, long + " "))


@pytest.mark.parametrize("length", [5, 3000])
def test_what_a_form_does_to_a_text_is_not_a_change(length):
    field = Place._meta.get_field("name")
    stored = "x\n" * length
    frozen = tokens.brief(tokens.freeze(field, stored))
    assert tokens.is_typed(field, stored.replace("\n", "\r\n").strip(), frozen)
    assert not tokens.is_typed(field, stored + "y", frozen)


def test_a_text_as_long_as_a_digest_allows_is_compared_too():
    field = Place._meta.get_field("name")
    frozen = tokens.brief(tokens.freeze(field, "x" * (tokens.LONG + 1)))
    assert not tokens.is_typed(field, "x", frozen)


def test_a_token_of_ten_short_fields_stays_below_a_kilobyte():
    random = Random(7)

    def size(fields, letters):
        values = {
            f"field_{number}": "".join(random.choices(ascii_letters, k=letters))
            for number in range(fields)
        }
        return len(text(Account, base=values))

    assert size(10, 20) <= 450
    assert size(10, 50) <= 1000
    # It is all but linear: what a row adds is its values, and little else.
    assert size(40, 20) <= 4 * size(10, 20)


def prose(letters, seed=7):
    """Return a text that can be compressed as little as one that people write."""
    chance = Random(seed)
    words = ["".join(chance.choices("etaoinshrdlu", k=6)) for _ in range(2000)]
    return " ".join(chance.choices(words, k=letters // 7))


def thawed(texts):
    """Return which of the texts, by name, a token gives back."""
    base = {name: tokens.freeze(models.TextField(), one) for name, one in texts.items()}
    signed = text(base=base)
    assert len(signed) < tokens.MOST * 4 / 3 + 1000
    base = tokens.read(signed, Account).row(7).base
    for name, frozen in base.items():
        assert tokens.is_frozen(models.TextField(), texts[name], frozen)
    return {
        name
        for name, frozen in base.items()
        if not tokens.is_digest(frozen)
        and tokens.thaw(models.TextField(), frozen) == texts[name]
    }


def test_a_long_text_is_in_the_token_as_it_is():
    texts = {"a": prose(100_000), "b": "长" * 3000, "c": "\ud800\r\n" * 3000}
    assert thawed(texts) == {"a", "b", "c"}


def test_of_texts_that_are_too_long_together_the_longest_are_digests():
    texts = {"a": prose(90_000), "b": prose(180_000, 8), "c": "short", "d": prose(5000)}
    texts["e"] = prose(10**6)
    assert thawed(texts) == {"a", "c", "d"}


def test_rows_of_a_formset_share_the_room_for_long_texts():
    rows = {
        str(pk): OpenedRow(1, {"x": tokens.freeze(models.TextField(), prose(9000, pk))})
        for pk in range(100)
    }
    signed = Token(rows).sign(Account)
    assert len(signed) < tokens.MOST * 4 / 3 + 40_000
    read = tokens.read(signed, Account).rows.values()
    assert 0 < sum(tokens.is_digest(row.base["x"]) for row in read) < 100
    assert not tokens.is_digest(rows["99"].base["x"])


def test_a_text_that_is_too_long_to_be_compressed_costs_no_time():
    assert thawed({"x": "é" * 10**7}) == set()


def test_letters_of_all_languages_are_short():
    long = {"x": "\u6587\u5b57" * 40}
    assert len(text(base=long)) < len(text(base={"x": "ab" * 40})) + 40


# --- digests ----------------------------------------------------------------

PIN = Account._meta.get_field("balance")


@pytest.mark.parametrize("field", [PIN, Place._meta.get_field("name")])
def test_a_secret_is_never_in_its_token_and_never_the_same_twice(field):
    value = 471147 if field is PIN else "471147"
    one, two = (tokens.freeze(field, value, secret=True) for _ in range(2))
    assert tokens.is_digest(one)
    assert "471147" not in str(one)
    assert one["exact"] != two["exact"]
    assert tokens.is_frozen(field, value, one)
    assert tokens.is_typed(field, value, one)
    other = 471148 if field is PIN else "471148"
    assert not tokens.is_frozen(field, other, one)
    assert not tokens.is_typed(field, other, one)


def test_nothing_known_of_a_secret_is_not_an_empty_one():
    field = Assorted._meta.get_field("null_boolean")
    frozen = tokens.freeze(field, None, secret=True)
    assert tokens.is_frozen(field, None, frozen)
    assert not tokens.is_frozen(field, False, frozen)


def test_a_digest_cannot_be_made_without_the_sites_key(settings):
    field, long = Place._meta.get_field("name"), "x" * 3000
    frozen = tokens.brief(tokens.freeze(field, long))
    settings.SECRET_KEY = "another"  # noqa: S105 -- for this test
    assert tokens.brief(tokens.freeze(field, long)) != frozen
    assert not tokens.is_frozen(field, long, frozen)
    assert not tokens.is_typed(field, long, frozen)
    settings.SECRET_KEY_FALLBACKS = ["not a secret"]
    assert tokens.is_frozen(field, long, frozen)
    assert tokens.is_typed(field, long, frozen)


def test_fingerprints_tell_which_fields_have_changed(settings):
    account = Account(owner="Ann", balance=1234)
    fields = [Account._meta.get_field(name) for name in ("owner", "balance")]
    row = tokens.look(account, tokens.fingerprints(account, fields))
    again = tokens.fingerprints(account, fields)
    assert not set(row.base.values()) & set(again.values())
    assert tokens.changed(account, fields, row) == []
    assert tokens.changed(Account(owner="Ann", balance=0), fields, row) == [PIN]
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert tokens.changed(account, fields, row) == []
    settings.SECRET_KEY_FALLBACKS = []
    assert tokens.changed(account, fields, row) == fields


def test_a_token_keeps_the_place_of_its_page():
    token = Token({"7": OpenedRow(1)}, place="here")
    assert tokens.read(token.sign(Account), Account).place == "here"


@pytest.mark.parametrize(
    "pk", [(1, 2), (1, datetime.date(2024, 2, 29)), (uuid.UUID(int=7), "é|,")]
)
def test_the_row_of_a_composite_key_is_found(pk):
    token = tokens.read(Token({tokens.key(pk): OpenedRow(3)}).sign(Account), Account)
    assert token.row(pk).version == 3
    assert token.row(pk[::-1]) is tokens.UNSEEN
