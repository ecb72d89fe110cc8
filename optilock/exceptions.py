"""What is raised when a write is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as option
from functools import cached_property
from typing import TYPE_CHECKING

from django.db import DatabaseError, models, transaction

from optilock import loaded, signals
from optilock.conflicts import UNKNOWN, Conflict
from optilock.fast_update import current_version
from optilock.rows import first_table, read_row

if TYPE_CHECKING:
    from django.db.models import Model
    from typing_extensions import NotRequired, TypedDict, Unpack

    from optilock.fields import IntegerVersionField

    class _Arguments(TypedDict):
        instance: Model
        using: str
        expected_version: int
        conflicts: NotRequired[Sequence[RowConflict]]
        row: NotRequired[Model | None]


__all__ = [
    "RecordDeletedError",
    "RecordModifiedError",
    "RowConflict",
    "error_for",
    "error_of",
    "refusal",
]


@dataclass(frozen=True)
class RowConflict:
    """One row that couldn't be written.

    Attributes:
        instance: the model instance that could not be written.
        using: alias of the database that refused the write.
        expected_version: the version the instance holds.
        current_version: the version in the row, ``None`` if the row was deleted.
    """

    instance: Model
    using: str
    expected_version: int
    current_version: int | None
    #: The row, if it was read already.
    _row: Model | None = option(default=None, repr=False, compare=False)

    @cached_property
    def conflict(self) -> Conflict:
        """The refused write field by field: base, mine and theirs.

        One query on the database that refused the write, when first asked for;
        none if the row was deleted. Ask before the instance is refreshed.
        """
        return Conflict.of(
            self.instance,
            row=None if self.current_version is None else self._row or UNKNOWN,
            using=self.using,
            expected_version=self.expected_version,
        )


class RecordModifiedError(DatabaseError):
    """A write was refused: the row isn't at the version the instance holds.

    Nothing was written. Reload the instance and apply the change again.

    On Django 6.0 and later the error is an instance of the model's
    ``NotUpdated`` as well, which is what Django itself raises for a forced
    update that matches no row.

    Attributes:
        instance: the model instance that could not be written; also ``target``,
            as django-concurrency calls it.
        model: its class.
        pk: its primary key (a tuple for a composite one).
        using: alias of the database that refused the write.
        expected_version: the number the instance holds.
        current_version: the number in the row, ``None`` if the row was deleted.
        conflicts: a ``RowConflict`` for each row that couldn't be written. It is
            one, except after ``bulk_update()``, where the attributes above
            describe the first row that wasn't deleted.
    """

    def __new__(
        cls, *args: object, instance: Model, **kwargs: object
    ) -> RecordModifiedError:
        not_updated = getattr(instance, "NotUpdated", None)
        if not_updated is not None and not issubclass(cls, not_updated):
            cls = _for_model(type(instance), cls, not_updated)
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
        #: Whether several objects were to be written, however many were refused.
        self._optilock_of_many = len(self.conflicts) > 1
        super().__init__(
            self._message() if len(self.conflicts) == 1 else self._bulk_message()
        )

    def _bulk_message(self) -> str:
        rows = [
            f"{row.instance.pk!r} (expected version {row.expected_version}, "
            + (
                "deleted)"
                if row.current_version is None
                else f"found {row.current_version})"
            )
            for row in self.conflicts
        ]
        more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
        return (
            f"Nothing was written: {len(rows)} rows of {self.model._meta.label} aren't "
            f"as they were loaded, or not in the queryset: pk {', '.join(rows[:10])}"
            f"{more}. Reload them and apply the changes again."
        )

    @property
    def target(self) -> Model:
        """The instance, by the name that handlers for django-concurrency know."""
        return self.instance

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
                f"{row} was not written: there is no such row (deleted, or not in the "
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
            f"{self._read_elsewhere()}"
        )

    def _read_elsewhere(self) -> str:
        """Tell if the object was loaded from another database, perhaps a replica."""
        source = self.instance._state.db
        if source is None or source == self.using:
            return ""
        return (
            f" It was loaded from the database {source!r}, which may lag behind: load "
            f"what you are going to save with using({self.using!r}), or in a function "
            f"under retry_on_conflict."
        )

    def __reduce__(self) -> tuple[object, ...]:
        cls = getattr(type(self), "_declared", type(self))
        names = ["instance", "using", "expected_version", "current_version"]
        arguments = {name: getattr(self, name) for name in [*names, "conflicts"]}
        return _rebuild, (cls, arguments), vars(self)


class RecordDeletedError(RecordModifiedError):
    """A write was refused: the row was deleted. ``current_version`` is ``None``."""


def _for_model(
    model: type[Model], cls: type[RecordModifiedError], not_updated: type[Exception]
) -> type[RecordModifiedError]:
    """Return the error class that is the model's ``NotUpdated`` as well.

    There is one for each model; it is kept with the model's options.
    """
    cls = vars(cls).get("_declared", cls)
    classes: dict[type[RecordModifiedError], type[RecordModifiedError]]
    classes = vars(model._meta).setdefault("_optilock_errors", {})
    if cls not in classes:
        namespace = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "_declared": cls,
        }
        made = type(cls.__name__, (cls, not_updated), namespace)
        classes.setdefault(cls, made)  # another thread may have been faster
    return classes[cls]


def _rebuild(
    cls: Callable[..., RecordModifiedError], arguments: dict[str, object]
) -> RecordModifiedError:
    return cls(**arguments)


def error_for(
    *, current_version: int | None, **arguments: Unpack[_Arguments]
) -> RecordModifiedError:
    """Return the error for a row that is at this version now; ``None``: deleted."""
    kind = RecordDeletedError if current_version is None else RecordModifiedError
    return kind(current_version=current_version, **arguments)


def error_of(
    conflicts: Sequence[RowConflict], *, is_of_many: bool
) -> RecordModifiedError:
    """Return one error for several rows. It speaks of one that is there, if one is.

    Args:
        conflicts: what is to be told, of one row or more.
        is_of_many: whether the write was about several rows: then a client is told
            which, also if it is one.
    """
    first = next(
        (row for row in conflicts if row.current_version is not None), conflicts[0]
    )
    error = error_for(
        instance=first.instance,
        using=first.using,
        expected_version=first.expected_version,
        current_version=first.current_version,
        conflicts=conflicts,
    )
    error._optilock_of_many = is_of_many
    return error


def refusal(
    field: IntegerVersionField,
    instance: models.Model,
    using: str,
    pk: object,
    expected: int,
) -> RecordModifiedError:
    """Return the error for a write that matched no row, and tell receivers of it.

    One query.
    """
    # A read that locks can end the transaction, like the write it follows.
    with transaction.mark_for_rollback_on_error(using=using):
        # Where another table is written first, the row now has values of ours.
        if loaded.is_merging(instance) and first_table(instance) is field.model:
            row = read_row(instance, using, instance.pk, lock=True)
            current = None if row is None else vars(row)[field.attname]
        else:
            current, row = current_version(field, using, pk), None
    error = error_for(
        instance=instance,
        using=using,
        expected_version=expected,
        current_version=current,
        row=row,
    )
    signals.conflict_detected.send_robust(
        type(instance), instance=instance, error=error, using=using
    )
    return error
