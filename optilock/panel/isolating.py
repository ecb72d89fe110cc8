"""Names inside sentences, which may be written in the other direction."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from django.utils.text import get_text_list
from django.utils.translation import get_language_bidi, gettext

__all__ = ["isolate", "listed"]


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


def listed(texts: Iterable[str]) -> str:
    """Return texts as a list inside a sentence: "a, b and c"."""
    return get_text_list([*texts], gettext("and"))
