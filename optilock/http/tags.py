"""Entity tags that carry a row's version, and the header fields they come in.

https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from optilock.http.errors import MalformedPrecondition
from optilock.rows import version_field

if TYPE_CHECKING:
    from django.db.models import Model

    from optilock.fields import IntegerVersionField

__all__ = [
    "MOST_TAGS",
    "ETag",
    "epoch_digest",
    "etag_of",
    "etag_of_list",
    "field_of",
    "parse_tags",
    "tag_for",
]

#: How many tags a header field may name. More are refused, not left out.
MOST_TAGS = 100

#: RFC 9110's entity-tag: no blank, no quote, no control character; `W` is a capital.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,|\Z)')
_EMPTY_MEMBERS = re.compile(r"[ \t,]*")

#: A version, the row's epoch, its variant, and what compressing servers append.
_VERSIONED = re.compile(
    r"(?P<version>0|-?[1-9][0-9]{0,18})"
    r"(?:~(?P<epoch>[0-9a-f]{8}))?"
    r"(?:\.[^;]*?)?"
    r"(?:(?:--?|;)(?:gzip|br|deflate|zstd))?",
    re.ASCII,
)
_INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True)
class ETag:
    """An entity tag.

    Attributes:
        opaque: what is between the quotes.
        weak: whether it is a weak one, ``W/"..."``.
    """

    opaque: str
    weak: bool = False

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'

    @cached_property
    def version(self) -> int | None:
        """The row's version, ``None`` if the tag isn't one that has it.

        It doesn't depend on the variant, nor on what a server that compresses
        answers puts behind it: all of these are representations of one row.
        """
        found = _VERSIONED.fullmatch(self.opaque)
        if found is None:
            return None
        version = int(found["version"])
        return version if version in _INTEGERS else None

    @cached_property
    def epoch(self) -> str | None:
        """The digest that tells this row from an earlier one with its key."""
        found = _VERSIONED.fullmatch(self.opaque)
        return found and found["epoch"]

    def is_about(self, other: ETag) -> bool:
        """Tell whether both are of one version of one row."""
        if self.version is None:
            return self == other
        return (self.version, self.epoch) == (other.version, other.epoch)

    def looks_like(self, other: ETag) -> bool:
        """Compare weakly, as ``If-None-Match`` does."""
        return self.opaque == other.opaque

    def varied(self, variant: str) -> ETag:
        """Return the tag of a representation that depends on something else, too."""
        return ETag(f"{self.opaque}.{_digest(variant)[:16]}", weak=self.weak)


def etag_of(
    instance: Model, variant: str | None = None, epoch: str | None = None
) -> ETag:
    """Return the strong tag of an instance's row.

    A strong tag stands for the bytes of an answer. If these depend on more than
    the row (language, media type, who is asking, which fields were asked for),
    say on what.

    Args:
        instance: an instance of a model with a version field.
        variant: what else the representation depends on, in any form; a digest of
            it is added to the tag. ``If-Match`` doesn't look at it.
        epoch: what tells the row from one with the same key that was deleted
            before, as the time it was created at. ``If-Match`` looks at it.

    Raises:
        TypeError: the model has no version field.
        ValueError: the version wasn't loaded.
    """
    return tag_for(field_of(instance).held(instance), variant, epoch)


def tag_for(version: int, variant: str | None = None, epoch: str | None = None) -> ETag:
    """Return the tag of a version of a row, see ``etag_of()``."""
    tag = ETag(f"{version}~{epoch_digest(epoch)}" if epoch else str(version))
    return tag.varied(variant) if variant else tag


def epoch_digest(epoch: str | None) -> str | None:
    """Return what stands for an epoch in a tag."""
    return _digest(epoch)[:8] if epoch else None


def etag_of_list(rows: Iterable[Model], variant: str | None = None) -> ETag:
    """Return the strong tag of a list of rows, in this order.

    It differs if one of them is changed, comes, goes or moves. It is no tag of a
    row: where ``If-Match`` is about a row, it is refused.

    Args:
        rows: instances of models with a version field, as they are shown.
        variant: what else the representation depends on, as in ``etag_of()``.

    Raises:
        TypeError: a model has no version field.
        ValueError: a version wasn't loaded.
    """
    keys = [(row._meta.label, str(row.pk), str(etag_of(row))) for row in rows]
    return ETag("list-" + _digest(repr((keys, variant)))[:32])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def field_of(instance: Model) -> IntegerVersionField:
    """Return the version field of an instance's model."""
    field = version_field(type(instance))
    if field is None:
        raise TypeError(
            f"{type(instance)._meta.label} has no version field, so it has no tag. "
            f"Derive it from VersionedModel, or add an IntegerVersionField."
        )
    return field


def parse_tags(name: str, text: str) -> list[ETag] | str:
    """Return the tags in the value of a header field, or ``"*"``.

    Args:
        name: of the header field, for the message.
        text: its value.

    Raises:
        MalformedPrecondition: it isn't ``*`` or a list of tags, or has too many.
    """
    if text.strip(" \t") == "*":
        return "*"
    tags: list[ETag] = []
    position = _skip(text, 0)
    while position < len(text):
        found = _TAG.match(text, position)
        if found is None:
            raise MalformedPrecondition(
                f"{name} is neither * nor a list of entity tags. Send the ETag as it "
                f'came, with its quotes: {name}: "7".'
            )
        if len(tags) == MOST_TAGS:
            raise MalformedPrecondition(
                f"{name} names more than {MOST_TAGS} entity tags. Send those of the "
                f"representations you have."
            )
        tags.append(ETag(found[2], weak=bool(found[1])))
        position = _skip(text, found.end())
    if not tags:
        raise MalformedPrecondition(
            f'{name} is empty. Send the ETag as it came, as {name}: "7", or leave the '
            f"header out."
        )
    return tags


def _skip(text: str, position: int) -> int:
    found = _EMPTY_MEMBERS.match(text, position)
    return found.end() if found else position
