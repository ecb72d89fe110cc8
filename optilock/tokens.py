"""What a page remembers of the rows it shows, signed, until it is sent back.

A token tells the version of each row and the values its fields had when the
page was made: enough to know later who changed what, without a query now. It
is signed, not encrypted: only values the page shows anyway belong in it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from optilock.fields import version_field

#: The number of characters from which a value is kept as a digest.
LONG = 2000

_FORMAT = 1


class BadToken(Exception):  # noqa: N818 -- named as signing.BadSignature is
    """The text isn't a token for this model that this site has signed."""


@dataclass(frozen=True)
class Row:
    """A row as a page showed it.

    Attributes:
        version: its version, ``None`` if that isn't known.
        base: the frozen values of the fields on the page.
        shown: of the fields somebody has yet to decide about, the frozen value
            that a later page showed as the other person's.
    """

    version: int | None
    base: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)


#: Stands for a row nothing is known of: its token is missing or unreadable.
UNKNOWN = Row(version=None)


@dataclass(frozen=True)
class Token:
    """Rows of one model as a page showed them.

    Attributes:
        rows: the rows by ``str(pk)``.
        loaded: when they were read, in milliseconds since the epoch.
    """

    rows: dict[str, Row]
    loaded: int = field(default_factory=lambda: time.time_ns() // 10**6)

    def row(self, pk: Any) -> Row:
        """Return what is known of the row with this primary key."""
        return self.rows.get(str(pk), UNKNOWN)

    def sign(self, model: type[models.Model]) -> str:
        """Return the token as text for a hidden input or a URL."""
        rows = {pk: [row.version, row.base, row.shown] for pk, row in self.rows.items()}
        payload = {"f": _FORMAT, "t": self.loaded, "r": rows}
        return signing.dumps(payload, salt=_salt(model), compress=True)


def read(text: str | None, model: type[models.Model]) -> Token:
    """Return the token that ``Token.sign()`` made into text.

    ``SECRET_KEY_FALLBACKS`` are honoured.

    Raises:
        BadToken: the text is missing, garbled, forged, another model's, or of
            another release's format.
    """
    try:
        payload = signing.loads(text or "", salt=_salt(model))
    except (signing.BadSignature, ValueError) as error:
        raise BadToken(f"not a token for {model._meta.label}") from error
    if payload.get("f") != _FORMAT:
        raise BadToken(f"a token of format {payload.get('f')!r}, not {_FORMAT}")
    return Token(
        rows={pk: Row(*row) for pk, row in payload["r"].items()}, loaded=payload["t"]
    )


def _salt(model: type[models.Model]) -> str:
    return f"optilock.token:{(model._meta.concrete_model or model)._meta.label_lower}"


def look(instance: models.Model, values: dict[str, Any] | None = None) -> Row:
    """Return the instance's row as it is in memory, with these frozen values."""
    version = version_field(type(instance))
    return Row(
        version=getattr(instance, version.attname) if version else None,
        base=values or {},
    )


def freeze(model_field: models.Field[Any, Any], value: Any) -> Any:
    """Return a field's value as JSON that is equal whenever the value is.

    Args:
        model_field: the field.
        value: what its ``value_from_object()`` returns; an iterable of objects
            or primary keys for a many-to-many field.
    """
    plain = _plain(model_field, value)
    text = json.dumps(plain) if isinstance(plain, list) else plain
    if not isinstance(text, str) or len(text) <= LONG:
        return plain
    return {"exact": _digest(text), "typed": _digest(_as_typed(text))}


def fingerprint(model_field: models.Field[Any, Any], value: Any) -> str:
    """Return a few characters that tell whether a field's value has changed.

    For a URL, which has no room for values.
    """
    return _digest(json.dumps(freeze(model_field, value)))[:8]


def _plain(model_field: models.Field[Any, Any], value: Any) -> Any:
    if model_field.many_to_many:
        return sorted(str(getattr(one, "pk", one)) for one in value)
    if value is None:
        return None
    if isinstance(model_field, models.JSONField):
        encoder = model_field.encoder or DjangoJSONEncoder
        return json.dumps(value, cls=encoder, sort_keys=True)
    if isinstance(value, str | int):
        return value
    return model_field.value_to_string(_Holder(model_field, value))  # type: ignore[arg-type]


class _Holder:
    """As much of a model instance as ``value_to_string()`` looks at."""

    def __init__(self, model_field: models.Field[Any, Any], value: Any) -> None:
        setattr(self, model_field.attname, value)


def is_digest(frozen: Any) -> bool:
    """Return whether only a digest of the value is known."""
    return isinstance(frozen, dict)


def thaw(model_field: models.Field[Any, Any], frozen: Any) -> Any:
    """Return the value that was frozen; it must not be a digest."""
    if isinstance(frozen, list):
        key = model_field.target_field  # type: ignore[attr-defined]
        return [key.to_python(pk) for pk in frozen]
    if frozen is None:
        return None
    if isinstance(model_field, models.JSONField):
        return json.loads(frozen, cls=model_field.decoder)
    try:
        return model_field.to_python(frozen)
    except ValidationError:  # a field that can't read what it writes
        return frozen


def is_typed(model_field: models.Field[Any, Any], value: Any, frozen: Any) -> bool:
    """Return whether a value that went through a form is the one frozen.

    A form changes the ends of lines, and cuts spaces at both ends.
    """
    plain = _plain(model_field, value)
    if not isinstance(plain, str):
        return bool(freeze(model_field, value) == frozen)
    if is_digest(frozen):
        return bool(_digest(_as_typed(plain)) == frozen["typed"])
    return isinstance(frozen, str) and _as_typed(plain) == _as_typed(frozen)


def _as_typed(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    return blake2s(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
