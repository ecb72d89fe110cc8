"""``only()`` and ``defer()`` that never leave out a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.constants import LOOKUP_SEP

from optilock.rows import version_field

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DeferringQuerySet"]

_M_co = TypeVar("_M_co", bound=models.Model, covariant=True)


class DeferringQuerySet(models.QuerySet[_M_co]):
    """A queryset that always loads the version, as Django does the primary key.

    An instance without it can't be saved.
    """

    def only(self, *fields: str | None) -> Self:
        """Defer all fields but these, the primary key and the version.

        The same goes for each versioned model the names lead to:
        ``only("author__name")`` loads the author's version.
        """
        names, is_deferred = self.query.deferred_loading
        if fields in ((), (None,)) or (is_deferred and names.issuperset(fields)):
            # Which is an error, or loads everything.
            return super().only(*fields)  # type: ignore[arg-type]  # or a None
        versions = dict.fromkeys(self._versions(fields))
        return super().only(*fields, *versions)  # type: ignore[arg-type]  # or a None

    def defer(self, *fields: str | None) -> Self:
        """Defer these fields, but never a version."""
        versions = {*self._versions(fields)}
        kept = [name for name in fields if name not in versions]
        if fields and not kept:  # all that was named was a version
            return self.all()
        names, is_deferred = self.query.deferred_loading
        named = {*names}
        left = named.difference(kept)
        if is_deferred or left == named or not left <= {*self._versions(names)}:
            return super().defer(*kept)  # type: ignore[arg-type]  # or a None
        # All that is left of only() are the versions, which nobody has named.
        rest = [name for name in kept if name not in named]
        cleared = super().defer(None)
        return cleared.defer(*rest) if rest else cleared

    def _versions(self, names: Iterable[object]) -> Iterator[str]:
        """Yield the names of the versions that stand beside the named fields."""
        for name in names:
            model: type[models.Model] = self.model
            prefix = ""
            for part in str(name).split(LOOKUP_SEP):
                if version := version_field(model):
                    yield f"{prefix}{version.name}"
                related = _related_model(model, part)
                if related is None:
                    break
                model, prefix = related, f"{prefix}{part}{LOOKUP_SEP}"


def _related_model(model: type[models.Model], name: str) -> type[models.Model] | None:
    try:
        related: object = model._meta.get_field(name).related_model
    except FieldDoesNotExist:  # Django says so when the query runs
        return None
    return related if isinstance(related, type) else None
