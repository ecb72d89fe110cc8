"""The queryset and manager whose set-based writes keep the lock's promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import NotSupportedError, connections, models, transaction
from django.db.models.constants import LOOKUP_SEP

from optilock import bulk, memory, rollback
from optilock.fields import IntegerVersionField, NextVersion, version_field
from optilock.triggers import has_trigger

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
        if (
            field is None
            or not kwargs
            or field.name in kwargs
            or field.excludes(kwargs)
        ):
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

    def bulk_update(
        self,
        objs: Iterable[Any],
        fields: Iterable[str],
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> int:
        """Write the fields of all objects, if none of them is stale.

        Each row is matched by primary key and version in the statement that
        writes it. Either all rows are written or none.

        Returns:
            The number of rows.

        Raises:
            RecordModifiedError: rows were changed, or are gone, or aren't in
                this queryset; ``error.conflicts`` names them all.
            RecordDeletedError: the same, and all of those rows are gone.
            ValueError: an object can't be checked, or occurs twice.
        """
        version = self._version_field()
        objs, names = tuple(objs), list(fields)
        if (
            version is None
            or version.excludes(names)
            or _is_set_order(self.model, names, objs)
        ):
            return super().bulk_update(objs, names, batch_size, **kwargs)
        # Without objects this writes nothing, but Django's checks are made.
        super().bulk_update((), names, batch_size, **kwargs)
        columns: list[Any] = [self.model._meta.get_field(name) for name in names]
        _refuse_uncheckable(version, columns, objs)
        if not objs:
            return 0
        expected = [version.expected(obj) for obj in objs]
        for obj in objs:
            obj._prepare_related_fields_for_save(
                operation_name="bulk_update", fields=columns
            )
        self._for_write = True
        using = self.db
        written = [field for field in columns if not field.generated]
        outside = self._outside(version, objs)
        try:
            with transaction.atomic(using=using):
                if outside or not bulk.write(using, version, written, objs, batch_size):
                    raise _NotAllMatchedError
        except _NotAllMatchedError:
            raise bulk.conflict(using, version, objs, outside) from None
        connection = connections[using]
        for obj, number in zip(objs, expected, strict=True):
            rollback.set_until_rollback(connection, obj, version.attname, number + 1)
            if memory.recall(obj) is not None:
                known = {f.attname: vars(obj)[f.attname] for f in (version, *written)}
                memory.note(obj, using, known)
        return len(objs)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Iterable[str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> list[Any]:
        """Insert the objects; they can be saved afterwards.

        With ``ignore_conflicts`` or ``update_conflicts`` the row behind an
        object may be somebody else's: load it before you save it.

        Raises:
            NotSupportedError: with ``update_conflicts``, which overwrites rows
                without raising their versions. Where the model declares a
                ``VersionTrigger``, the database raises them.
        """
        version = self._version_field()
        objs, update_fields = list(objs), update_fields and list(update_fields)
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, *args)
        if version is None:
            return super().bulk_create(objs, *options, **kwargs)
        if (
            update_conflicts
            and not has_trigger(version.model)
            and not (update_fields and version.excludes(update_fields))
        ):
            raise NotSupportedError(
                f"bulk_create(update_conflicts=True) overwrites rows of "
                f"{self.model._meta.label} without raising their versions. Load the "
                f"rows that exist and bulk_update() them, or update_or_create() one "
                f"by one; or declare a VersionTrigger in Meta.constraints."
            )
        for obj in objs:
            if not obj._is_pk_set():
                obj._state.adding = True  # a copy, made by setting the pk to None
        before = [(o._state, vars(o._state).copy()) for o in objs]
        try:
            created = super().bulk_create(objs, *options, **kwargs)
        except BaseException:
            for state, attributes in before:
                vars(state).clear()
                vars(state).update(attributes)
            raise
        for obj, (state, attributes) in zip(objs, before, strict=True):
            # Should the INSERT be rolled back, there is no row to update.
            for name in ("adding", "db"):
                rollback.remember(
                    connections[self.db],
                    state,
                    name,
                    attributes.get(name, rollback.ABSENT),
                    getattr(state, name),
                )
            if (ignore_conflicts or update_conflicts) and obj._is_pk_set():
                vars(obj).pop(version.attname, None)
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

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

    def _outside(
        self, version: IntegerVersionField, objs: Sequence[models.Model]
    ) -> set[tuple[Any, ...]]:
        """Return the keys of the objects that this queryset leaves out.

        A column of the row that it filters by can't change before the row is
        written, or the version changes too.
        """
        query = self.query
        if not (query.where or query.is_sliced or query.combinator):
            return set()
        outside = {bulk.row_key(version.model, obj) for obj in objs}
        names = [field.attname for field in version.model._meta.pk_fields]
        for batch in bulk.batches(objs, bulk.BATCH_SIZE):
            found = self.filter(pk__in=[obj.pk for obj in batch])
            outside.difference_update(found.values_list(*names))
        return outside

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


def _is_set_order(
    model: type[models.Model], names: Sequence[str], objs: Sequence[models.Model]
) -> bool:
    """Recognise Django's ``set_RELATED_order()``.

    It makes objects from primary keys alone: like ``update()``, it raises the
    versions and has none to check.
    """
    return (
        model._meta.order_with_respect_to is not None
        and names == ["_order"]
        and all(obj._state.adding for obj in objs)
    )


def _refuse_uncheckable(
    version: IntegerVersionField,
    fields: Iterable[models.Field[Any, Any]],
    objs: Iterable[Any],
) -> None:
    if version in fields:
        raise ValueError(
            f"bulk_update() raises {version} itself. Leave {version.name!r} out of "
            f"the fields."
        )
    seen: set[tuple[Any, ...]] = set()
    for obj in objs:
        if not obj._is_pk_set():
            raise ValueError("All bulk_update() objects must have a primary key set.")
        if obj._state.adding:
            raise ValueError(
                f"bulk_update() can't check {obj!r}: it wasn't loaded from the "
                f"database, so there is no knowing what this write would overwrite. "
                f"Load the objects first, or use update(), which doesn't check."
            )
        key = bulk.row_key(version.model, obj)
        if key in seen:
            raise ValueError(
                f"bulk_update() was given two objects with the primary key "
                f"{obj.pk!r}. Only one of them can be written; leave the other out."
            )
        seen.add(key)


class _NotAllMatchedError(Exception):
    """Leaves the transaction of a bulk_update(), so that it is rolled back."""
