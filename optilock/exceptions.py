"""What is raised when a write is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as option
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

if TYPE_CHECKING:
    from django.db.models import Model

    from optilock.conflicts import Conflict


@dataclass(frozen=True)
class RowConflict:
    """One row that couldn't be written.

    Attributes:
        instance: the model instance that could not be written.
        using: alias of the database that refused the write.
        expected: the version the instance holds.
        current: the version in the row, ``None`` if the row is gone.
    """

    instance: Model
    using: str
    expected: int
    current: int | None
    #: The row, if it was read already.
    _row: Model | None = option(default=None, repr=False, compare=False)

    @cached_property
    def conflict(self) -> Conflict:
        """The refused write field by field: base, mine and theirs.

        One query on the database that refused the write, when first asked for;
        none if the row is gone. Ask before the instance is refreshed.
        """
        from optilock.conflicts import UNKNOWN, Conflict

        return Conflict.of(
            self.instance,
            row=None if self.current is None else self._row or UNKNOWN,
            using=self.using,
            expected_version=self.expected,
        )


class RecordModifiedError(DatabaseError):
    """A write was refused: the row isn't at the version the instance holds.

    Nothing was written. Reload the instance and apply the change again.

    On Django 6.0 and later the error is an instance of the model's
    ``NotUpdated`` as well, which is what Django itself raises for a forced
    update that matches no row.

    Attributes:
        instance: the model instance that could not be written.
        model: its class.
        pk: its primary key (a tuple for a composite one).
        using: alias of the database that refused the write.
        expected_version: the number the instance holds.
        current_version: the number in the row, ``None`` if the row is gone.
        conflicts: a ``RowConflict`` for each row that couldn't be written. It is
            one but for ``bulk_update()``, where the attributes above describe
            the first row that isn't gone.
    """

    def __new__(cls, *args: Any, instance: Model, **kwargs: Any) -> RecordModifiedError:
        not_updated = getattr(instance, "NotUpdated", cls)
        if not issubclass(cls, not_updated):
            namespace = {
                "__module__": cls.__module__,
                "__qualname__": cls.__qualname__,
                "_declared": cls,
            }
            cls = type(cls.__name__, (cls, not_updated), namespace)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        instance: Model,
        using: str,
        expected_version: int,
        current_version: int | None,
        conflicts: Sequence[RowConflict] = (),
        row: Model | None = None,
    ) -> None:
        self.instance = instance
        self.model = type(instance)
        self.pk = instance.pk
        self.using = using
        self.expected_version = expected_version
        self.current_version = current_version
        self.conflicts = tuple(conflicts) or (
            RowConflict(instance, using, expected_version, current_version, row),
        )
        super().__init__(
            self._message() if len(self.conflicts) == 1 else self._bulk_message()
        )

    def _bulk_message(self) -> str:
        rows = [
            f"{row.instance.pk!r} (expected version {row.expected}, "
            + ("gone)" if row.current is None else f"found {row.current})")
            for row in self.conflicts
        ]
        more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
        return (
            f"Nothing was written: {len(rows)} rows of {self.model._meta.label} aren't "
            f"as they were loaded, or not in the queryset: pk {', '.join(rows[:10])}"
            f"{more}. Reload them and apply the changes again."
        )

    @property
    def conflict(self) -> Conflict:
        """The refused write field by field, see ``RowConflict.conflict``."""
        return next(
            row.conflict for row in self.conflicts if row.instance is self.instance
        )

    def _message(self) -> str:
        row = f"{self.model._meta.label} with pk {self.pk!r}"
        if self.current_version is None:
            return (
                f"{row} was not written: the row is gone (deleted, or not in the "
                f"database {self.using!r}); version {self.expected_version} was "
                f"expected. To store the object as a new row, use "
                f"save(force_insert=True)."
            )
        if self.current_version == self.expected_version:
            return (
                f"{row} was not written: the UPDATE matched no row, although the row "
                f"is at the expected version {self.expected_version}. A trigger, a "
                f"rule, row security or another package's condition holds the row "
                f"back, or somebody put the number back."
            )
        return (
            f"{row} was not written: it was changed by somebody else in the meantime "
            f"(expected version {self.expected_version}, found "
            f"{self.current_version}). Reload it and apply the change again."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        cls = getattr(type(self), "_declared", type(self))
        names = ["instance", "using", "expected_version", "current_version"]
        arguments = {name: getattr(self, name) for name in [*names, "conflicts"]}
        return _rebuild, (cls, arguments), vars(self)


class RecordDeletedError(RecordModifiedError):
    """A write was refused: the row is gone. ``current_version`` is ``None``."""


class MergeConflict(Exception):  # noqa: N818 -- it is not an error to disagree
    """A merge needs decisions. Nothing was changed.

    Attributes:
        conflict: the ``Conflict``.
        fields: the names of the fields somebody has to decide about.
    """

    def __init__(
        self,
        conflict: Conflict,
        fields: Sequence[str],
    ) -> None:
        super().__init__(conflict, fields)
        self.conflict = conflict
        self.fields = list(fields)

    def __str__(self) -> str:
        label = self.conflict.model._meta.label
        if self.conflict.deleted:
            return (
                f"{label} was not merged: the row is gone. To store the object as a "
                f"new row, use save(force_insert=True)."
            )
        fields = ", ".join(self.fields)
        return (
            f"{label} was not merged: {fields} changed on both sides. Say what is to "
            f"become of each: merge(resolve={{{self.fields[0]!r}: 'mine'}}) or "
            f"'theirs', 'base', 'lines', or a function of the change."
        )


def _rebuild(
    cls: type[RecordModifiedError], arguments: dict[str, Any]
) -> RecordModifiedError:
    return cls(**arguments)
