"""What a request is about, noted for later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db.models import Model

from optilock.http.tags import ETag, etag_of, field_of, tag_for

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request as ApiRequest

    from optilock.http.preconditions import Preconditions

__all__ = [
    "Request",
    "Target",
    "all_noted",
    "forget_noted",
    "noted",
    "row_of",
    "targets",
]

#: Django's request, or Django REST framework's.
Request: TypeAlias = "HttpRequest | ApiRequest"

#: A table, and the key of a row in it.
_Row: TypeAlias = "tuple[type[Model], object]"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a request is about, noted for later.

    Attributes:
        row: the table that holds its version, and its key there.
        instance: what is going to be written.
        is_new: whether there was no such row yet.
        preconditions: what the request demands.
        variant: as in ``etag_of()``, or what returns it for a row.
        epoch: returns the row's epoch, as in ``etag_of()``.
        show: returns what the client may see of the row.
        lookup: what finds the row, by default its primary key, which a delete takes
            from the instance.
        can_be_read: whether reading the row now shows what others see, too.
    """

    row: _Row
    instance: Model
    is_new: bool
    preconditions: Preconditions
    variant: Callable[[Any], str | None] | str | None
    epoch: Callable[[Any], str | None] | None
    show: Callable[[Any], object] | None
    lookup: Mapping[str, object]
    can_be_read: bool = True

    def tag_of(self, row: Model) -> ETag:
        """Return the tag of the representation that the request is about."""
        variant = self.variant(row) if callable(self.variant) else self.variant
        return etag_of(row, variant, self.epoch_of(row))

    def tag_at(self, version: int) -> ETag:
        """Return the tag that can be told of a version that wasn't read."""
        variant = None if callable(self.variant) else self.variant
        epoch = None if self.is_new else self.epoch_of(self.instance)
        return tag_for(version, variant, epoch)

    def epoch_of(self, row: Model) -> str | None:
        return None if self.epoch is None else self.epoch(row)


def row_of(instance: Model) -> _Row:
    """Return the table that holds the instance's version, and its key there."""
    field = field_of(instance)
    return field.model, instance._get_pk_val(field.model._meta)


def noted(request: Request, instance: Model) -> Target | None:
    """Return what was noted of the row of an instance."""
    return targets(request).get(row_of(instance))


def all_noted(request: Request) -> list[Target]:
    """Return what was noted, in the order in which it was."""
    return list(targets(request).values())


def forget_noted(request: Request) -> None:
    """Forget what was noted, before a view is run again."""
    targets(request).clear()


def targets(request: Request) -> dict[_Row, Target]:
    """Return what was noted, by ``row_of()``."""
    # Django REST framework has a request of its own around Django's.
    plain: Any = getattr(request, "_request", request)
    noted: dict[_Row, Target] | None = getattr(plain, "_optilock_targets", None)
    if noted is None:
        noted = plain._optilock_targets = {}
    return noted
