"""Names inside sentences that may be written in the other direction."""

from __future__ import annotations

import unicodedata

from django.utils.translation import (
    get_language_bidi,
)

__all__ = [
    "isolate",
]


def isolate(value: object) -> str:
    """Return a value as text for a sentence that may have the other direction.

    Without the invisible characters around it (Unicode's FSI and PDI), a name in
    Latin letters would take the punctuation of an Arabic sentence with it.
    """
    text = str(value)
    if text and (
        get_language_bidi()
        or any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)
    ):
        return f"\u2068{text}\u2069"
    return text
