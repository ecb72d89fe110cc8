"""The delete that looks at the version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, cast

from django.db import connections, models, transaction
from django.db.models import Exists, ProtectedError, RestrictedError
from django.db.models.deletion import Collector, get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete

from optilock import rollback
from optilock.exceptions import refusal
from optilock.fast_update import current_version
from optilock.lost_transactions import one_statement
from optilock.rows import bump, name_of, unbump
from optilock.unlocking import is_unlocked, seize

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField

    #: The alias of its database, the table of its version, and its key there.
    _Row = tuple[str, type[models.Model], object]

__all__ = ["Deleted", "delete_checked", "deleting_locked", "is_djangos"]

#: How many rows were deleted, in all and of each model.
Deleted = tuple[int, dict[str, int]]

#: Rows that are locked until the transaction ends.
_LOCKED: ContextVar[frozenset[_Row]] = ContextVar(
    "optilock_locked", default=frozenset()
)


def is_djangos(method: Callable[..., object]) -> bool:
    """Tell whether this is ``delete()`` or ``adelete()`` as Django has it."""
    djangos = (models.Model.delete, models.Model.adelete)
    return method.__func__ in djangos  # type: ignore[attr-defined]  # it is bound


@contextmanager
def deleting_locked(
    rows: Iterable[models.Model], field: IntegerVersionField, using: str
) -> Iterator[None]:
    """Let it be no error in this block to delete one of these rows twice.

    They were locked before, in the transaction that goes on: one that is gone was
    deleted here, along with another. Nobody else can have done it.
    """
    table = field.model
    locked = [(using, table, row._get_pk_val(table._meta)) for row in rows]
    token = _LOCKED.set(_LOCKED.get().union(locked))
    try:
        yield
    finally:
        _LOCKED.reset(token)


def delete_checked(
    instance: models.Model,
    field: IntegerVersionField,
    using: str,
    delete: Callable[[], Deleted],
    *,
    is_plain: bool,
    missing_ok: bool,
) -> Deleted:
    """Delete the row if it is at the version that the instance holds.

    Args:
        instance: what is deleted.
        field: the version field of its model.
        using: the alias of the database.
        delete: deletes it without looking.
        is_plain: whether ``delete`` is Django's own, which a single statement may
            replace.
        missing_ok: whether a row that is deleted already is no error.
    """
    expected = field.expected(instance)
    pk = instance._get_pk_val(field.model._meta)
    missing_ok = missing_ok or (using, field.model, pk) in _LOCKED.get()
    refuse = partial(
        _refusal, instance, field, using, pk, expected, missing_ok=missing_ok
    )
    at_expected = field.rows(using, pk).filter(**{field.attname: expected})
    collector = Collector(using, origin=instance)
    if is_plain and collector.can_fast_delete(instance):
        count = _delete_row(instance, field, using, pk, at_expected)
        if not count and (refused := refuse()):
            raise refused
        _forget_key(using, type(instance), instance)
        return count, {instance._meta.label: count}
    if is_plain:
        delete = partial(_delete_all, collector, instance)
    if not is_plain or is_unlocked(instance) or not _can_look(collector, instance):
        return _delete_claimed(instance, field, using, pk, delete, refuse)
    with transaction.atomic(using=using, savepoint=False):
        collector.collect([instance])
        if deleted := _delete_looking(collector, at_expected):
            return deleted
        if not (refused := refuse()):
            return collector.delete()
    raise refused


def _delete_all(collector: Collector, instance: models.Model) -> Deleted:
    """Do what Django's own ``delete()`` does."""
    collector.collect([instance])
    return collector.delete()


def _delete_claimed(
    instance: models.Model,
    field: IntegerVersionField,
    using: str,
    pk: object,
    delete: Callable[[], Deleted],
    refuse: Callable[[], Exception | None],
) -> Deleted:
    """Bump the version, and delete the row: every other instance of it is stale."""
    expected = field.expected(instance)
    with transaction.atomic(using=using, savepoint=False):
        number: int | None = None
        if bump(field, instance, using, pk, expected):
            number = expected + 1
        elif is_unlocked(instance):
            number = seize(field, instance, using, pk)
        if number is None:
            if not (refused := refuse()):
                return delete()
        else:
            try:
                return delete()
            except (ProtectedError, RestrictedError) as error:
                # Django raises it before anything was deleted, and the caller's
                # transaction goes on: the row must be left as it was found. Raised by
                # a receiver, it means that everything is rolled back.
                if connections[using].needs_rollback:
                    raise
                unbump(field, instance, using, pk, number - 1)
                refused = error
    raise refused


def _delete_row(
    instance: models.Model,
    field: IntegerVersionField,
    using: str,
    pk: object,
    at_expected: models.QuerySet[models.Model],
) -> int:
    """Delete a row with which nothing goes along, and return whether it was there."""
    with one_statement(using, f"the delete of {name_of(instance)}"):
        count = at_expected._raw_delete(using)
        if not count and is_unlocked(instance):
            count = field.rows(using, pk)._raw_delete(using)
        return count


def _can_look(collector: Collector, instance: models.Model) -> bool:
    """Tell whether a row, and what goes along, can go by ``_delete_looking()``.

    Rows that Django reads before it deletes them can't: whoever holds the row may give
    them to another one meanwhile. Nor can those that no constraint holds to the row:
    one that was added meanwhile would stay.
    """
    model = type(instance)
    return (
        rollback.deletes_as_django()
        # MySQL locks rows that a condition reads as it likes.
        and connections[collector.using].vendor in ("sqlite", "postgresql")
        and all(
            collector.can_fast_delete(one.related_model, from_field=one.field)  # type: ignore[arg-type]  # a class will do
            and getattr(one.field, "db_constraint", False)
            for one in cast(
                "Iterable[models.ForeignObjectRel]",
                get_candidate_relations_to_delete(model._meta),
            )
        )
        and not any(
            hasattr(one, "bulk_related_objects") for one in model._meta.private_fields
        )
        # Receivers mustn't be told of a delete that is then refused.
        and not any(
            map(pre_delete.has_listeners, [model, *model._meta.get_parent_list()])
        )
    )


def _delete_looking(
    collector: Collector, at_expected: models.QuerySet[models.Model]
) -> Deleted | None:
    """Delete what was collected as Django does, but look at the version on the way.

    Until a statement has found anything to delete, each has the condition that the
    row is at its version. The one that has found something has locked the row as well
    (or the database, on SQLite), so the row is still there for the others, and is
    itself deleted. If none has, nothing was deleted.

    Args:
        collector: the row, and what goes along with it.
        at_expected: the row, at the version it must have.
    """
    is_there = Exists(at_expected.select_for_update())
    counts: Counter[str] = Counter()

    def delete(rows: models.QuerySet[models.Model]) -> None:
        found = rows if counts else rows.filter(is_there)
        if count := found._raw_delete(collector.using):
            counts[rows.model._meta.label] += count

    for rows in collector.fast_deletes:
        delete(rows)
    collector.sort()
    deleted: list[tuple[type[models.Model], models.Model]] = []
    told = 0
    for model, found in collector.data.items():
        delete(models.QuerySet(model).filter(pk__in=[one.pk for one in found]))
        deleted += [(model, one) for one in found]
        if counts:
            _tell(collector, deleted[told:])
            told = len(deleted)
    if not counts:
        return None
    for model, one in deleted:
        _forget_key(collector.using, model, one)
    return sum(counts.values()), dict(counts)


def _tell(
    collector: Collector, deleted: list[tuple[type[models.Model], models.Model]]
) -> None:
    for model, instance in deleted:
        post_delete.send(
            sender=model,
            instance=instance,
            using=collector.using,
            origin=collector.origin,
        )


def _forget_key(using: str, model: type[models.Model], instance: models.Model) -> None:
    """Take the primary key away from what was deleted, until that is rolled back."""
    for key in model._meta.pk_fields:
        rollback.set_until_rollback(connections[using], instance, key.attname, None)


def _refusal(
    instance: models.Model,
    field: IntegerVersionField,
    using: str,
    pk: object,
    expected: int,
    *,
    missing_ok: bool,
) -> Exception | None:
    """Return why a row that wasn't found must not be deleted, if so.

    Whoever has deleted it may have done what goes with it, too: moved its money, say.
    So it is an error, unless the caller says that it isn't.
    """
    is_named = hasattr(instance._state, "_optilock_if_match")
    if missing_ok and not is_named:
        with transaction.mark_for_rollback_on_error(using=using):
            if current_version(field, using, pk) is None:
                return None
    return refusal(field, instance, using, pk, expected)
