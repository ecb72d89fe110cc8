"""The statements that write many rows, each row with its own values.

Django's ``bulk_update()`` says ``CASE WHEN pk = 1 THEN ... WHEN pk = 2 ...`` for
each column: the database tries every branch for every row. Here the new values
are a table that the ``UPDATE`` joins, the versions expected of the rows among
them.

A field whose values can't stand in such a table (an array, an expression) makes
its rows take Django's way, in batches so small that it doesn't hurt. So does a package
that changes how an ``UPDATE`` is sent, as for ``save()``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import Q

from optilock import joined
from optilock.exceptions import RecordModifiedError, RowConflict, error_of
from optilock.expressions import NextVersion
from optilock.fields import IntegerVersionField
from optilock.keys import refuse_new_key
from optilock.lost_transactions import one_statement
from optilock.rows import ModelField, as_of_now, version_field

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = [
    "BATCH_SIZE",
    "CASE_BATCH_SIZE",
    "batches",
    "conflict",
    "is_set_order",
    "refuse_uncheckable",
    "refuse_unsaved_relations",
    "row_key",
    "write",
]

_M = TypeVar("_M", bound=models.Model)

#: Rows in one statement; more of them make none of the databases any faster.
BATCH_SIZE = 1000
#: The same for Django's CASE, whose cost grows with the square of it.
CASE_BATCH_SIZE = 50


def is_set_order(
    model: type[models.Model], names: Sequence[str], objs: Sequence[models.Model]
) -> bool:
    """Recognise Django's ``set_RELATED_order()``.

    It makes objects from primary keys alone: like ``update()``, it bumps the
    versions and has none to check.
    """
    return (
        model._meta.order_with_respect_to is not None
        and names == ["_order"]
        and all(obj._state.adding for obj in objs)
    )


def refuse_uncheckable(
    version: IntegerVersionField, objs: Iterable[models.Model]
) -> None:
    seen: set[tuple[object, ...]] = set()
    for obj in objs:
        if not obj._is_pk_set():  # type: ignore[attr-defined]  # not in the stubs
            raise ValueError("All bulk_update() objects must have a primary key set.")
        if obj._state.adding:
            raise ValueError(
                f"bulk_update() can't check {obj!r}: it wasn't loaded from the "
                f"database, so nobody knows what this write would overwrite. Load the "
                f"objects first, or use update(), which doesn't check."
            )
        refuse_new_key(obj, "bulk_update()")
        key = row_key(version.model, obj)
        if key in seen:
            raise ValueError(
                f"bulk_update() was given two objects with the primary key "
                f"{obj.pk!r}. Only one of them can be written; leave the other out."
            )
        seen.add(key)


def refuse_unsaved_relations(
    objs: Iterable[models.Model], fields: Sequence[ModelField]
) -> None:
    """Raise what Django raises if the fields refer to objects that aren't saved."""
    relations = [field for field in fields if field.is_relation]
    for obj in objs if relations else ():
        obj._prepare_related_fields_for_save(  # type: ignore[attr-defined]  # not in the stubs
            operation_name="bulk_update", fields=relations
        )


def write(
    using: str,
    version: IntegerVersionField,
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
    batch_size: int | None,
) -> bool:
    """Write the fields of all objects and bump their rows' versions, or write nothing.

    Returns:
        Whether all rows were there, at the versions their objects expect.
    """
    columns: dict[type[models.Model], list[ModelField]] = {version.model: []}
    for field in fields:
        table = field.model._meta.concrete_model
        columns.setdefault(table, []).append(field)  # type: ignore[arg-type]  # it has a column
    # The table with the version is the first: its rows are then locked.
    first, *others = [
        _Table(using, model, version, found, objs, batch_size)
        for model, found in columns.items()
    ]
    if len(objs) == 1 and not others:
        # If the one row doesn't match, there is nothing to be taken back.
        with one_statement(using, "bulk_update()"):
            return first.write() == 1
    # Nor is there if the first statement looks at all rows. Outside a block it needn't.
    looks = connections[using].in_atomic_block and first.can_look_first()
    try:
        with transaction.atomic(using=using, savepoint=not looks):
            count = first.write(looks_first=looks)
            if looks and not count:
                return False
            if count < len(objs) or any(one.write() < len(objs) for one in others):
                raise _NotAllMatchedError
    except _NotAllMatchedError:
        return False
    return True


class _NotAllMatchedError(Exception):
    """Leaves the transaction of a bulk_update(), so that it is rolled back."""


def conflict(
    using: str,
    version: IntegerVersionField,
    objs: Sequence[models.Model],
    outside: Container[tuple[object, ...]],
) -> RecordModifiedError:
    """Return the error that names all objects whose rows couldn't be written.

    Args:
        outside: keys of the rows that the queryset leaves out.
    """
    expected = {row_key(version.model, obj): version.expected(obj) for obj in objs}
    if connections[using].needs_rollback:
        # All of them matched, and the database has left some out: by a trigger, say.
        # Nothing can be read now, and what was written will be undone.
        found = expected
    else:
        found = _versions_now(using, version, objs)
    all_rows = [
        (key, RowConflict(obj, using, expected[key], found.get(key)))
        for obj, key in zip(objs, expected, strict=True)
    ]
    conflicts = [
        row
        for key, row in all_rows
        if row.current_version != row.expected_version or key in outside
    ] or [row for _, row in all_rows]
    return error_of(conflicts, is_of_many=len(objs) > 1)


def _versions_now(
    using: str, version: IntegerVersionField, objs: Sequence[models.Model]
) -> dict[tuple[object, ...], int]:
    """Return the versions of the objects' rows, those that there are."""
    model = version.model
    rows: models.QuerySet[models.Model] = as_of_now(
        models.QuerySet(model, using=using), using
    )
    names = [field.attname for field in model._meta.pk_fields]
    found: dict[tuple[object, ...], int] = {}
    for batch in batches(objs, BATCH_SIZE):
        pks = [obj._get_pk_val(model._meta) for obj in batch]
        for *key, current in rows.filter(pk__in=pks).values_list(
            *names, version.attname
        ):
            found[tuple(key)] = current
    return found


def row_key(model: type[models.Model], obj: models.Model) -> tuple[object, ...]:
    """Return the primary key of the object's row in the model's table."""
    return tuple(
        field.to_python(getattr(obj, field.attname)) for field in model._meta.pk_fields
    )


def batches(objs: Sequence[_M], size: int) -> Iterator[Sequence[_M]]:
    return (objs[start : start + size] for start in range(0, len(objs), size))


class _Table:
    """What is written into one table of the objects' model.

    Args:
        using: the alias of the database.
        model: the model of the table.
        version: the version field, maybe of another table.
        fields: what is written.
        objs: the objects.
        batch_size: how many of them a statement may write.
    """

    def __init__(
        self,
        using: str,
        model: type[models.Model],
        version: IntegerVersionField,
        fields: Sequence[ModelField],
        objs: Sequence[models.Model],
        batch_size: int | None,
    ) -> None:
        self.connection = connection = connections[using]
        self.model, self.fields, self.objs = model, fields, objs
        self.checked = [version] if model is version.model else []
        self.is_joined = joined.can_join(connection, model, fields, objs)
        limit = CASE_BATCH_SIZE
        if self.is_joined:
            width = len(model._meta.pk_fields) + len(self.checked) + len(fields)
            limit = min(BATCH_SIZE, joined.most_rows(connection, width))
        self.size = min(batch_size or limit, limit)

    def can_look_first(self) -> bool:
        """Tell whether the first statement can look at the rows of all objects."""
        return self.is_joined and joined.can_look_first(
            self.connection, self.model, self.fields, len(self.objs), self.size
        )

    def write(self, *, looks_first: bool = False) -> int:
        """Write batch after batch, and return how many rows were found.

        After the batch that doesn't find all of its rows there is no other.
        """
        count, together = 0, self.objs if looks_first else ()
        where = self.connection, self.model, self.checked, self.fields
        for batch in batches(self.objs, self.size):
            if self.is_joined:
                written = joined.update(*where, batch, together)
            else:
                written = _case_update(*where, batch)
            count, together = count + written, ()
            if written != len(batch):
                break
        return count


def _case_update(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    checked: Sequence[IntegerVersionField],
    fields: Sequence[ModelField],
    objs: Sequence[models.Model],
) -> int:
    """Write the rows with Django's own bulk_update(), and the check around it."""
    rows: models.QuerySet[models.Model]
    names = [field.name for field in fields]
    if not checked:
        rows = models.QuerySet(model, using=connection.alias)
        return rows.bulk_update(objs, names)
    version = checked[0]
    pks: dict[int, list[object]] = {}
    for obj in objs:
        pks.setdefault(version.expected(obj), []).append(obj._get_pk_val(model._meta))
    at_expected = Q.create(
        [Q(pk__in=found, **{version.attname: n}) for n, found in pks.items()], Q.OR
    )
    rows = _RaisingQuerySet(model, using=connection.alias).filter(at_expected)
    return rows.bulk_update(objs, names) if names else rows.update()


class _RaisingQuerySet(models.QuerySet[models.Model]):
    """Bumps the version in ``update()``, whatever is written."""

    def update(self, **kwargs: Any) -> int:
        field: Any = version_field(self.model)
        kwargs[field.name] = NextVersion(field)
        return super().update(**kwargs)
