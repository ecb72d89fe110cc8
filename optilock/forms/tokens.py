"""What a page remembers of the rows it shows, signed, until it is sent back.

A token tells the version of each row and the values its fields had when the
page was made: enough to know later who changed what, without a query now. It
is signed, not encrypted: only values that the page shows anyway belong in it. Of
other values, and of those that are too long together, it has digests that only this
site can make.
"""

from __future__ import annotations

import datetime
import decimal
import json
import secrets
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from optilock.forms.digests import (
    LONG,
    NONCE,
    Frozen,
    Plain,
    as_text,
    as_typed,
    brief,
    digest,
    digested,
    digests,
    is_digest,
    is_digest_of,
)
from optilock.rows import ModelField, target_field, version_field

__all__ = [
    "LONG",
    "MOST",
    "ROW",
    "UNSEEN",
    "BadToken",
    "FormValue",
    "Frozen",
    "OpenedRow",
    "Token",
    "brief",
    "changed",
    "fingerprints",
    "freeze",
    "is_digest",
    "is_frozen",
    "is_key",
    "is_typed",
    "key",
    "look",
    "read",
    "thaw",
    "trusted",
]

#: How many bytes the long values of a token may have together, compressed.
MOST = 100_000

_FORMAT = 2

#: Stands for the row as a whole among the fields of ``OpenedRow.shown``.
ROW = ""

#: Fields whose values are texts as they are.
_TEXTS = (models.CharField, models.TextField)

#: What a name in ``OpenedRow.base`` begins with, if there is no value for it.
_FINGERPRINT = "#"


class BadToken(Exception):  # noqa: N818 -- named as signing.BadSignature is
    """The text isn't a token for this model that this site has signed."""


@dataclass(frozen=True)
class OpenedRow:
    """A row as a page showed it.

    Attributes:
        version: its version, ``None`` if that isn't known.
        base: the frozen values of the fields on the page.
        shown: of the fields somebody has yet to decide about, the frozen value
            that a later page showed as the other person's.
        merged: of the fields that a later page showed as merged, the frozen value
            they had before. ``ROW`` is among them if all of the row was new then.
    """

    version: int | None
    base: Mapping[str, Frozen] = field(default_factory=dict)
    shown: Mapping[str, Frozen] = field(default_factory=dict)
    merged: Mapping[str, Frozen] = field(default_factory=dict)


#: Stands for a row nothing is known of: its token is missing or unreadable.
UNSEEN = OpenedRow(version=None)


@dataclass(frozen=True)
class Token:
    """Rows of one model as a page showed them.

    Attributes:
        rows: the rows by ``key(pk)``.
        loaded: when they were read, in milliseconds since the epoch.
        place: what the URL of the page said of the row, if that is known.
    """

    rows: dict[str, OpenedRow]
    loaded: int = field(default_factory=lambda: time.time_ns() // 10**6)
    place: str = ""

    def row(self, pk: object) -> OpenedRow:
        """Return what is known of the row with this primary key."""
        return self.rows.get(key(pk), UNSEEN)

    def sign(self, model: type[models.Model]) -> str:
        """Return the token as text for a hidden input or a URL."""
        bases = {pk: dict(row.base) for pk, row in self.rows.items()}
        merged = {pk: dict(row.merged) for pk, row in self.rows.items()}
        _shorten([*bases.values(), *merged.values()])
        rows = {
            pk: [row.version, bases[pk], row.shown, *filter(None, [merged[pk]])]
            for pk, row in self.rows.items()
        }
        payload = {"f": _FORMAT, "t": self.loaded, "r": rows}
        if self.place:
            payload["p"] = self.place
        return signing.dumps(
            payload, salt=_salt(model), serializer=_Serializer, compress=True
        )


class _Serializer:
    """Writes the letters of all languages as they are: escaped, they are long."""

    def dumps(self, obj: object) -> bytes:
        text = json.dumps(obj, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="surrogatepass")

    def loads(self, data: bytes) -> object:
        return json.loads(data.decode(errors="surrogatepass"))


def _shorten(bases: Iterable[dict[str, Frozen]]) -> None:
    """Put digests in the place of the longest values, if there is no room for all."""
    long = [
        (len(text), base, name, plain)
        for base in bases
        for name, plain in base.items()
        if not isinstance(plain, dict) and len(text := as_text(plain)) > LONG
    ]
    left = MOST
    for length, base, name, plain in sorted(long, key=itemgetter(0)):
        if length > 20 * MOST:  # to compress it would take too long
            left = 0
        if left > 0:
            left -= len(zlib.compress(as_text(plain).encode(errors="replace"), 1))
        if left <= 0:
            base[name] = digests(plain)


def read(text: str | None, model: type[models.Model]) -> Token:
    """Return the token that ``Token.sign()`` made into text.

    ``SECRET_KEY_FALLBACKS`` are honoured.

    Raises:
        BadToken: the text is missing, garbled, forged, another model's, or of
            another release's format.
    """
    try:
        payload = signing.loads(text or "", salt=_salt(model), serializer=_Serializer)
    except (signing.BadSignature, ValueError) as error:
        raise BadToken(f"not a token for {model._meta.label}") from error
    if payload.get("f") != _FORMAT:
        raise BadToken(f"a token of format {payload.get('f')!r}, not {_FORMAT}")
    return Token(
        rows={pk: OpenedRow(*row) for pk, row in payload["r"].items()},
        loaded=payload["t"],
        place=payload.get("p", ""),
    )


def trusted(text: str | None, model: type[models.Model]) -> Token | None:
    """Return the token as ``read()`` does, ``None`` if it can't be trusted."""
    try:
        return read(text, model)
    except BadToken:
        return None


def _salt(model: type[models.Model]) -> str:
    return f"optilock.token:{(model._meta.concrete_model or model)._meta.label_lower}"


def is_key(model: type[models.Model], posted: object) -> bool:
    """Return whether what was posted can be a primary key of the model."""
    key: ModelField = model._meta.pk
    while key.remote_field:
        key = target_field(key)
    try:
        key.clean(posted, None)
    except (ValidationError, ValueError, TypeError, OverflowError):
        return False
    return "\x00" not in str(posted)


def key(pk: object) -> str:
    """Return a primary key as text, from which its field makes the key again."""
    if isinstance(pk, tuple | list):  # what a composite key's field reads
        return json.dumps([str(part) for part in pk])
    return str(pk)


def look(
    instance: models.Model, values: Mapping[str, Frozen] | None = None
) -> OpenedRow:
    """Return the instance's row as it is in memory, with these frozen values."""
    version = version_field(type(instance))
    return OpenedRow(
        version=getattr(instance, version.attname) if version else None,
        base=values or {},
    )


def freeze(model_field: ModelField, value: object, *, secret: bool = False) -> Frozen:
    """Return a field's value as JSON from which it can be told whether it changed.

    Args:
        model_field: the field.
        value: what its ``value_from_object()`` returns; an iterable of objects
            or primary keys for a many-to-many field.
        secret: whether nobody may read the value, nor find it by guessing.
    """
    plain = _plain(model_field, value)
    if secret:
        # Whoever can save guesses of their own must not find the same digest again.
        return digests(plain, secrets.token_hex(NONCE))
    return plain


def is_frozen(model_field: ModelField, value: object, frozen: Frozen) -> bool:
    """Return whether this is what ``freeze()`` returned for such a value."""
    if not is_digest(frozen):
        return _plain(model_field, value) == frozen
    exact, _ = digested(_plain(model_field, value))
    return is_digest_of(frozen.get("nonce", "") + exact, frozen["exact"])


def fingerprints(
    instance: models.Model, fields: Iterable[ModelField]
) -> dict[str, str]:
    """Return a few characters for each field, from which changes can be told.

    For a row's ``base``, where there is no room for values. See ``changed()``.
    """
    return {
        _FINGERPRINT + one.name: _fingerprint(one, one.value_from_object(instance))
        for one in fields
    }


def changed(
    instance: models.Model, fields: Iterable[ModelField], row: OpenedRow
) -> list[ModelField]:
    """Return the fields whose values aren't those of the fingerprints of a row."""
    return [
        one
        for one in fields
        if (known := row.base.get(_FINGERPRINT + one.name))
        and not _is_fingerprint(one, one.value_from_object(instance), str(known))
    ]


def _fingerprint(model_field: ModelField, value: object) -> str:
    nonce = secrets.token_hex(NONCE // 2)
    exact, _ = digested(_plain(model_field, value))
    return nonce + digest(nonce + exact)[: NONCE * 2]


def _is_fingerprint(model_field: ModelField, value: object, fingerprint: str) -> bool:
    nonce, digest = fingerprint[:NONCE], fingerprint[NONCE:]
    exact, _ = digested(_plain(model_field, value))
    return is_digest_of(nonce + exact, digest)


def _plain(model_field: ModelField, value: object) -> Plain:
    if model_field.many_to_many:
        many: Iterable[object] = value  # type: ignore[assignment]  # as it is many
        return sorted(str(getattr(one, "pk", one)) for one in many)
    if value is None:
        return None
    if isinstance(model_field, models.JSONField):
        encoder = model_field.encoder or DjangoJSONEncoder
        return json.dumps(value, cls=encoder, sort_keys=True)
    if type(value) is str and type(model_field) in _TEXTS:
        return value  # as what follows would do it
    value = _as_loaded(model_field, value)
    if isinstance(value, str | int):
        return value
    return model_field.value_to_string(_Holder(model_field, value))  # type: ignore[arg-type]


def _as_loaded(model_field: ModelField, value: Any) -> object:
    """Return a value as its row will have it: a new object still has what it was given.

    Of 0 and 0.00, or one moment in two time zones, the digests would differ.
    """
    try:
        value = model_field.to_python(value)
        if isinstance(model_field, models.DecimalField):
            exponent = decimal.Decimal(1).scaleb(-(model_field.decimal_places or 0))
            rounded = value.quantize(exponent) + 0  # no negative zero
            return rounded if rounded == value else value
        if isinstance(value, datetime.datetime) and settings.USE_TZ:
            if timezone.is_naive(value):
                value = timezone.make_aware(value, timezone.get_default_timezone())
            return value.astimezone(datetime.timezone.utc)
    except (ValidationError, TypeError, ValueError, ArithmeticError):
        pass  # no value of this field, or one that it can't read itself
    return value


class FormValue(models.Field):  # type: ignore[type-arg]  # not generic at run time
    """Stands for a field of a form that isn't one of the model.

    Its values are those the form field's ``prepare_value()`` returns.
    """

    _json = "\x00"  # how a text begins that isn't the value itself

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return self._json + json.dumps(value, cls=DjangoJSONEncoder, sort_keys=True)

    def to_python(self, value: object) -> object:
        if isinstance(value, str) and value.startswith(self._json):
            return json.loads(value.removeprefix(self._json))
        return value


class _Holder:
    """As much of a model instance as ``value_to_string()`` looks at."""

    def __init__(self, model_field: ModelField, value: object) -> None:
        setattr(self, model_field.attname, value)


def thaw(model_field: ModelField, frozen: Frozen) -> object:
    """Return the value that was frozen; it must not be a digest."""
    if isinstance(frozen, list):
        key = target_field(model_field)
        return [key.to_python(pk) for pk in frozen]
    if frozen is None:
        return None
    if isinstance(model_field, models.JSONField):
        return json.loads(frozen, cls=model_field.decoder)  # type: ignore[arg-type]  # it is text
    try:
        return model_field.to_python(frozen)
    except ValidationError:  # a field that can't read what it writes
        return frozen


def is_typed(model_field: ModelField, value: object, frozen: Frozen) -> bool:
    """Return whether a value that went through a form is the one frozen.

    A form changes the ends of lines, and cuts spaces at both ends.
    """
    plain = _plain(model_field, value)
    if is_digest(frozen):
        _, typed = digested(plain)
        return is_digest_of(frozen.get("nonce", "") + typed, frozen["typed"])
    if not isinstance(plain, str):
        return plain == frozen
    return isinstance(frozen, str) and as_typed(plain) == as_typed(frozen)
