"""The queryset and manager whose set-based writes keep the lock's promise."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

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
        if field is not None and field.name not in kwargs:
            kwargs[field.name] = NextVersion(field)
        return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def only(self, *fields: Any) -> Any:
        """Defer all fields but these, the primary key and the version."""
        field = self._version_field()
        if field is None or not fields or fields == (None,):
            return super().only(*fields)
        return super().only(*fields, field.name)

    def defer(self, *fields: Any) -> Any:
        """Defer these fields, but never the version."""
        field = self._version_field()
        if field is None:
            return super().defer(*fields)
        kept = [name for name in fields if name not in (field.name, field.attname)]
        # All that was named was the version: nothing is left to defer.
        return super().defer(*kept) if kept or not fields else self.all()

    def _version_field(self) -> IntegerVersionField | None:
        return version_field(self.model)


class VersionedManager(models.Manager.from_queryset(VersionedQuerySet)):  # type: ignore[misc]
    """The manager of a versioned model: ``objects = VersionedManager()``."""
