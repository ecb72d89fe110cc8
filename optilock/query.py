"""The queryset and manager whose set-based writes keep the lock's promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import models, transaction
from django.db.models.constants import LOOKUP_SEP

from optilock.fields import IntegerVersionField, NextVersion, version_field

M_co = TypeVar("M_co", bound=models.Model, covariant=True)


class VersionedQuerySet(models.QuerySet[M_co]):
    """A queryset that raises the version of the rows it updates.

    It never leaves the version out of what it loads, because an instance
    without it can't be saved.
    """

    def update(self, **kwargs: Any) -> int:
        """Update all rows and raise their versions, in one statement.

        Nothing is checked: an update like this overwrites whatever is there. A
        version among the arguments is stored as it is.
        """
        field = self._version_field()
        if field is None or not kwargs or field.name in kwargs:
            return super().update(**kwargs)
        kwargs[field.name] = NextVersion(field)
        if field.model is self.model._meta.concrete_model:
            return super().update(**kwargs)
        # Several tables, a statement for each: between them nobody may save on
        # the strength of a version that is about to change.
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def only(self, *fields: Any) -> Any:
        """Defer all fields but these, the primary key and the version.

        The same goes for each versioned model the names lead to:
        ``only("author__name")`` loads the author's version.
        """
        if not fields or fields == (None,):
            return super().only(*fields)
        versions = dict.fromkeys(self._versions(fields))
        return super().only(*fields, *versions)

    def defer(self, *fields: Any) -> Any:
        """Defer these fields, but never a version."""
        versions = set(self._versions(fields))
        kept = [name for name in fields if name not in versions]
        # All that was named was a version: nothing is left to defer.
        return super().defer(*kept) if kept or not fields else self.all()

    def _versions(self, names: Iterable[Any]) -> Iterator[str]:
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

    def _version_field(self) -> IntegerVersionField | None:
        return version_field(self.model)


class VersionedManager(models.Manager.from_queryset(VersionedQuerySet)):  # type: ignore[misc]
    """The manager of a versioned model: ``objects = VersionedManager()``."""


def _related_model(model: type[models.Model], name: str) -> type[models.Model] | None:
    try:
        related: Any = model._meta.get_field(name).related_model
    except FieldDoesNotExist:  # Django says so when the query runs
        return None
    return related if isinstance(related, type) else None
