"""What a ``VersionedManager`` does where Django makes a relation's manager of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from django.db import connections, models, router, transaction

from optilock import rollback
from optilock.refreshing import recording
from optilock.rows import become_new, version_field

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField

__all__ = ["RelationsMixin"]


class RelationsMixin:
    """Counts as Django does, and sets again what it has itself removed."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        manager: Any = cls
        own = vars(cls).get("set")
        if (
            own is not None
            and own.__module__.startswith("django.")
            and "bulk" in signature(own).parameters
        ):
            manager.set = _setting_again(own)

    def count(self) -> int:
        rows, behind = self._without_join(), cast("Any", super())
        return int((behind if rows is None else rows).count())

    def exists(self) -> bool:
        rows, behind = self._without_join(), cast("Any", super())
        return bool((behind if rows is None else rows).exists())

    def _without_join(self) -> models.QuerySet[models.Model] | None:
        """Return the rows of a many-to-many relation, where they can be counted alone.

        Django counts them without the related table, but only for managers that are
        plain ones.
        """
        if (
            RelationsMixin not in type(self).__bases__[0].__bases__
            or getattr(self, "get_prefetch_cache", lambda: self)() is not None
        ):
            return None
        return getattr(self, "constrained_target", None)


def _setting_again(own: Callable[..., None]) -> Callable[..., None]:
    """Return a relation's ``set()`` whose ``clear`` makes nobody stale who is set.

    Django writes or deletes the rows by instances of its own before it saves those
    that it was given.
    """

    @wraps(own)
    def set_again(
        self: Any,
        objs: Iterable[object],
        *,
        bulk: bool = True,
        clear: bool = False,
        **kwargs: object,
    ) -> None:
        field = version_field(self.model)
        is_known = hasattr(self, "_clear") and not kwargs
        if bulk or not clear or field is None or not is_known:
            own(self, objs, bulk=bulk, clear=clear, **kwargs)
            return
        objs = tuple(objs)
        using = router.db_for_write(self.model, instance=self.instance)
        with transaction.atomic(using=using, savepoint=False):
            self._remove_prefetched_objects()
            cleared: dict[object, tuple[models.Model, int]] = {}

            def note(row: models.Model) -> None:
                cleared[row.pk] = row, field.held(row)

            self._clear(recording(self.all(), note), bulk=False)
            for obj in objs:
                if isinstance(obj, self.model) and obj.pk in cleared:
                    _follow(obj, field, using, *cleared[obj.pk])
            self.add(*objs, bulk=False)

    return set_again


def _follow(
    obj: models.Model,
    field: IntegerVersionField,
    using: str,
    row: models.Model,
    version: int,
) -> None:
    """Let an object know what has become of its row, if it was the row's state."""
    if obj._state.adding or field.held(obj) != version:
        return
    connection, name = connections[using], field.attname
    if row._is_pk_set():  # type: ignore[attr-defined]
        rollback.set_until_rollback(connection, obj, name, field.held(row))
    else:  # it was deleted
        become_new(field, obj, using, version + 1)
