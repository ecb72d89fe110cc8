"""Digests of values that a token has no room for, or that nobody may read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias, TypeGuard

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

__all__ = [
    "LONG",
    "NONCE",
    "Frozen",
    "Plain",
    "as_text",
    "as_typed",
    "brief",
    "digest",
    "digested",
    "digests",
    "is_digest",
    "is_digest_of",
]

#: The number of characters from which a value is long.
LONG = 2000

#: How many characters of a fingerprint make it differ from any other.
NONCE = 8

#: A value as JSON, or digests of it.
Frozen: TypeAlias = "str | int | list[str] | dict[str, str] | None"
Plain: TypeAlias = "str | int | list[str] | None"


def is_digest(frozen: object) -> TypeGuard[dict[str, str]]:
    """Return whether only a digest of the value is known."""
    return isinstance(frozen, dict)


def brief(frozen: Frozen) -> Frozen:
    """Return a frozen value, or a digest of it if it is long."""
    if isinstance(frozen, dict) or len(as_text(frozen)) <= LONG:
        return frozen
    return digests(frozen)


def as_text(plain: Plain) -> str:
    """Return a value as text, to see how long it is."""
    return json.dumps(plain) if isinstance(plain, list) else str(plain)


def digests(plain: Plain, nonce: str = "") -> dict[str, str]:
    """Return what a token has in place of a value."""
    exact, typed = (nonce + text for text in digested(plain))
    frozen = {"exact": digest(exact), "typed": digest(typed)}
    return {**frozen, "nonce": nonce} if nonce else frozen


def as_typed(text: str) -> str:
    """Return a text without what a form may change about it."""
    return text.replace("\r\n", "\n").strip()


def digested(plain: Plain) -> tuple[str, str]:
    """Return the texts whose digests tell a value: exactly, and as it was typed."""
    exact = json.dumps(plain)
    if isinstance(plain, str) or plain is None:
        return exact, as_typed(plain or "")
    return exact, exact


def digest(text: str, secret: str | bytes | None = None) -> str:
    """Return a text's digest, made with the site's key or another."""
    value = text.encode(errors="surrogatepass")
    hmac = salted_hmac("optilock.digest", value, secret=secret, algorithm="sha256")
    return hmac.hexdigest()[:32]


def is_digest_of(text: str, known: str) -> bool:
    """Return whether it is, made with any key whose signatures are accepted."""
    return bool(known) and any(
        constant_time_compare(digest(text, secret)[: len(known)], known)
        for secret in _secrets()
    )


def _secrets() -> Iterator[str | bytes]:
    yield settings.SECRET_KEY
    yield from settings.SECRET_KEY_FALLBACKS
