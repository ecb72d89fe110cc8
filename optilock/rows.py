"""A model's version field, and its rows: found, read, locked and bumped."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from django.db import connections, models, router, transaction

from optilock import rollback
from optilock.expressions import NextVersion
from optilock.lost_transactions import one_statement

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from typing_extensions import Never

    from optilock.fields import IntegerVersionField
    from optilock.loaded import Meta

__all__ = [
    "ModelField",
    "as_of_now",
    "become_new",
    "bump",
    "bump_parent",
    "first_table",
    "forget_version",
    "get_version_field",
    "lock_rows",
    "name_of",
    "own_field",
    "read_row",
    "reads_old_snapshot",
    "row_exists",
    "target_field",
    "unbump",
    "version_field",
]

_M = TypeVar("_M", bound=models.Model)

#: A field of whatever values, to be read.
ModelField: TypeAlias = "models.Field[Never, object]"


def version_field(model: type[models.Model]) -> IntegerVersionField | None:
    """Return the field that locks the model's rows, its own or a parent's."""
    meta: Meta = model._meta  # type: ignore[assignment]  # with ours
    fields = meta.concrete_fields
    seen, found = vars(meta).get("_optilock_field", (None, None))
    if seen is not fields:  # Django makes them anew if one is added
        locking = (one for one in fields if getattr(one, "locks_rows", False))
        found = next(locking, None)
        meta._optilock_field = fields, found
    return cast("IntegerVersionField | None", found)


def get_version_field(model: type[models.Model]) -> IntegerVersionField | None:
    """Return a model's version field, its own or a parent's; ``None`` without a lock.

    ``getattr(account, get_version_field(Account).name)`` is the version of a row,
    whatever the field is called.
    """
    return version_field(model)


def own_field(model: type[models.Model], name: str) -> ModelField:
    """Return a field of the model itself, not another model's relation to it."""
    field: ModelField = model._meta.get_field(name)  # type: ignore[assignment]
    return field


def name_of(instance: models.Model) -> str:
    """Return how a message names an instance; none tells a value of it."""
    return f"{instance._meta.label} with pk {instance.pk!r}"


def target_field(relation: ModelField) -> ModelField:
    """Return the field whose values a relation has."""
    field: ModelField = relation.target_field  # type: ignore[attr-defined]
    return field


def read_row(instance: _M, using: str, pk: object, *, lock: bool = False) -> _M | None:
    """Return the instance's row as it is now, as another instance, or ``None``.

    Args:
        instance: what is deferred on it isn't read either.
        using: the alias of the database.
        pk: the primary key of the row.
        lock: keep everybody else from writing the row until the transaction
            ends, if one is open and the database can.
    """
    rows: models.QuerySet[_M] = models.QuerySet(type(instance), using=using)
    rows = rows.filter(pk=pk)
    deferred = instance.get_deferred_fields()
    if deferred:
        fields = instance._meta.concrete_fields
        rows = rows.only(*[f.attname for f in fields if f.attname not in deferred])
    rows = as_of_now(rows, using, lock=lock)
    if not lock:
        return rows.first()
    with transaction.mark_for_rollback_on_error(using=using):
        return rows.first()


def as_of_now(
    rows: models.QuerySet[_M], using: str, *, lock: bool = False
) -> models.QuerySet[_M]:
    """Read the rows as a write in the open transaction would find them."""
    connection = connections[using]
    features = connection.features
    if not features.has_select_for_update or not (
        reads_old_snapshot(connection) or (lock and not connection.autocommit)
    ):
        return rows
    return rows.select_for_update(no_key=features.has_select_for_no_key_update)


def reads_old_snapshot(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a plain read sees what was there when the transaction began."""
    return not connection.autocommit and connection.vendor == "mysql"


def first_table(instance: models.Model) -> type[models.Model]:
    """Return the model whose table a save of the instance writes first."""
    meta = instance._meta.concrete_model._meta  # type: ignore[union-attr]  # it has one
    while meta.parents:
        meta = next(iter(meta.parents))._meta
    return meta.model


def bump(
    field: IntegerVersionField,
    instance: models.Model,
    using: str,
    pk: object,
    expected: int,
) -> bool:
    """Bump the row's version if it is the expected one, and the instance's.

    Returns:
        Whether the row was at the expected version.
    """
    row = field.rows(using, pk).filter(**{field.attname: expected})
    with one_statement(using, f"touch() of {name_of(instance)}"):
        bumped = row._update([(field, None, field.next_version)])  # type: ignore[attr-defined]  # not in the stubs
    if not bumped:
        return False
    connection = connections[using]
    rollback.set_until_rollback(connection, instance, field.attname, expected + 1)
    return True


def unbump(
    field: IntegerVersionField,
    instance: models.Model,
    using: str,
    pk: object,
    expected: int,
) -> None:
    """Take a ``bump()`` back, in the transaction that made it."""
    row = field.rows(using, pk).filter(**{field.attname: expected + 1})
    with transaction.mark_for_rollback_on_error(using=using):
        unbumped = row._update([(field, None, expected)])  # type: ignore[attr-defined]  # not in the stubs
    if unbumped and vars(instance).get(field.attname) == expected + 1:
        connection = connections[using]
        rollback.set_until_rollback(connection, instance, field.attname, expected)


def forget_version(
    field: IntegerVersionField, instance: models.Model, using: str
) -> None:
    """Let an instance hold no version, so that it is loaded before it is saved."""
    before = vars(instance).pop(field.attname, rollback.ABSENT)
    connection, name = connections[using], field.attname
    rollback.remember(connection, instance, name, before, rollback.ABSENT)


def become_new(
    field: IntegerVersionField, instance: models.Model, using: str, number: int
) -> None:
    """Let an instance whose row was deleted be inserted again under its key.

    Args:
        field: the version field.
        instance: what was deleted.
        using: the alias of the database.
        number: the version of the new row. Nobody may hold it.
    """
    connection, state = connections[using], instance._state
    rollback.set_until_rollback(connection, instance, field.attname, number)
    # With an `adding` of its own, the state is that of a copy, which starts at 1.
    before = vars(state).pop("adding", rollback.ABSENT)
    rollback.remember(connection, state, "adding", before, rollback.ABSENT)


def bump_parent(
    field: IntegerVersionField,
    instance: models.Model,
    table: type[models.Model],
    using: str,
    updated: bool,
    was_new: bool,
) -> None:
    """Tell others that a raw save has written an object's row in a child's table.

    Args:
        field: the version field, in a parent's table.
        instance: what was written.
        table: the child's model.
        using: the alias of the database.
        updated: whether the row was there.
        was_new: whether the instance was never loaded: the parent's table then has
            a version and values that nobody has read. If it was, it knows the new
            number if it held the one before.
    """
    if was_new:
        vars(instance).pop(field.attname, None)
    if not updated:
        return
    rows: models.QuerySet[models.Model] = models.QuerySet(table, using=using)
    rows = rows.filter(pk=instance._get_pk_val(table._meta))
    number, bumped = vars(instance).get(field.attname), {field.name: NextVersion(field)}
    if type(number) is int and rows.filter(**{field.attname: number}).update(**bumped):
        connection = connections[using]
        rollback.set_until_rollback(connection, instance, field.attname, number + 1)
    else:
        rows.update(**bumped)


def lock_rows(model: type[_M], using: str, **lookup: object) -> list[_M]:
    """Return rows as they are now, locked until the transaction ends.

    In the order of their keys, so that two sessions can't lock each other out. Also
    those that the default manager hides.

    Args:
        model: their model.
        using: the alias of the database. Without a transaction nothing is locked.
        lookup: which rows, as for ``filter()``.
    """
    rows = model._base_manager.using(using).filter(**lookup).order_by("pk")
    if connections[using].in_atomic_block:
        rows = rows.select_for_update()
    return list(rows)


def row_exists(model: type[models.Model], pk: object) -> bool:
    """Return whether there is a row with this key, also if nobody may see it."""
    rows = model._base_manager.using(router.db_for_write(model))
    return bool(rows.filter(pk=pk).exists())
