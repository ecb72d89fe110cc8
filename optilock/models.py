"""The abstract model most projects start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import models, router, transaction
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from optilock import memory
from optilock.conflicts import changed_fields, save_merging
from optilock.fields import IntegerVersionField, version_field
from optilock.memory import recording
from optilock.query import VersionedManager

if TYPE_CHECKING:
    from typing_extensions import Self

#: What Django 5.2 still takes by position.
_SAVE_ARGUMENTS = ("force_insert", "force_update", "using", "update_fields")


class VersionedModel(models.Model):
    """A model whose rows are never overwritten or deleted by a stale instance.

    ``save()`` and ``delete()`` raise ``RecordModifiedError`` if the row was
    changed after the instance was loaded, and ``RecordDeletedError`` if it is
    gone.
    """

    #: Whether instances remember the values they were loaded with, so that a
    #: conflict can tell who changed what. Some 100 bytes an instance.
    remember_loaded: ClassVar[bool] = True
    #: What ``save()`` does when the row was changed in the meantime: "raise", or
    #: "merge" what doesn't overlap and raise if something does.
    on_conflict: ClassVar[str] = "raise"
    #: Groups of field names that are merged as one: [("amount", "currency")].
    merge_together: ClassVar[Sequence[Sequence[str]]] = ()
    #: Decisions for fields that both changed, in a merging ``save()``, as for
    #: ``Conflict.merge()``: {"edited_by": "mine", "body": "lines"}.
    merge_resolve: ClassVar[Mapping[str, Any]] = {}

    version = IntegerVersionField()

    objects = VersionedManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, on_conflict: str | None = None, **kwargs: Any) -> None:
        """Save the row, if it is still at the version this instance holds.

        Args:
            args: as Django's.
            on_conflict: "raise" or "merge", in place of the model's. "merge"
                keeps what others changed in the meantime, unless it overlaps
                with what was changed here.
            kwargs: as Django's.

        Raises:
            RecordModifiedError: the row was changed; nothing was written.
            RecordDeletedError: the row is gone.
        """
        policy = on_conflict or self.on_conflict
        if policy == "raise":
            super().save(*args, **kwargs)
        elif policy == "merge":
            positional = dict(zip(_SAVE_ARGUMENTS, args, strict=False))
            using = (kwargs | positional).get("using") or router.db_for_write(
                type(self), instance=self
            )
            save_merging(self, using, partial(super().save, *args, **kwargs))
        else:
            raise ValueError(f"on_conflict is {policy!r}; use 'raise' or 'merge'.")

    save.alters_data = True  # type: ignore[attr-defined]

    async def asave(
        self, *args: Any, on_conflict: str | None = None, **kwargs: Any
    ) -> None:
        """Save the row, see ``save()``."""
        if on_conflict is None:
            await super().asave(*args, **kwargs)
        else:
            await sync_to_async(self.save)(*args, on_conflict=on_conflict, **kwargs)

    asave.alters_data = True  # type: ignore[attr-defined]

    def delete(
        self, using: str | None = None, keep_parents: bool = False, **kwargs: Any
    ) -> tuple[int, dict[str, int]]:
        """Delete the row, if it is still at the version this instance holds.

        One statement where nothing cascades, one more than Django otherwise.

        Returns:
            What Django's ``delete()`` returns: the number of deleted rows, in
            all and for each model.

        Raises:
            RecordModifiedError: the row was changed; nothing was deleted.
            RecordDeletedError: the row is gone already.
        """
        field = version_field(type(self))
        if field is None or not self._is_pk_set():  # type: ignore[attr-defined] # 5.2+
            return super().delete(using=using, keep_parents=keep_parents, **kwargs)
        using = using or router.db_for_write(type(self), instance=self)
        expected = field.expected(self)
        pk = self._get_pk_val(field.model._meta)
        row = field.rows(using, pk)
        # Only Django's own delete() can be replaced by a single statement.
        if _is_djangos(super().delete) and Collector(using).can_fast_delete(self):
            with transaction.mark_for_rollback_on_error(using=using):
                count = row.filter(**{field.attname: expected})._raw_delete(using)
            if count:
                setattr(self, self._meta.pk.attname, None)
                return count, {self._meta.label: count}
            raise field.conflict(self, using, pk, expected)
        refused: Exception | None = None
        with transaction.atomic(using=using, savepoint=False):
            # Raising the version claims the row: whoever else holds it is stale.
            if field.bump(self, using, pk, expected):
                try:
                    return super().delete(
                        using=using, keep_parents=keep_parents, **kwargs
                    )
                except (ProtectedError, RestrictedError) as error:
                    # Raised before anything was deleted. The caller's transaction
                    # goes on, so the row must be left as it was found.
                    field.unbump(self, using, pk, expected)
                    refused = error
        raise refused or field.conflict(self, using, pk, expected)

    delete.alters_data = True  # type: ignore[attr-defined]

    def touch(self, using: str | None = None) -> None:
        """Raise the version without changing anything else.

        For what belongs to the row but isn't stored in it: when a line of an
        order changes, ``order.touch()`` makes everybody who holds the order
        stale. No signals are sent.

        Raises:
            RecordModifiedError: the row was changed.
            RecordDeletedError: the row is gone.
            ValueError: the object isn't saved yet.
        """
        field = version_field(type(self))
        if field is None or self._state.adding:
            raise ValueError(f"{self!r} has no version to raise. Save it first.")
        using = using or router.db_for_write(type(self), instance=self)
        expected = field.expected(self)
        pk = self._get_pk_val(field.model._meta)
        if not field.bump(self, using, pk, expected):
            raise field.conflict(self, using, pk, expected)

    touch.alters_data = True  # type: ignore[attr-defined]

    async def atouch(self, using: str | None = None) -> None:
        """Do what ``touch()`` does."""
        await sync_to_async(self.touch)(using=using)

    atouch.alters_data = True  # type: ignore[attr-defined]

    def changed_fields(self) -> list[str]:
        """Return the names of the fields that were changed since they were loaded.

        ``save(update_fields=instance.changed_fields())`` writes only these. A
        field counts as changed if what was loaded isn't known: the instance is
        new, or the model has ``remember_loaded = False``.
        """
        return changed_fields(self)

    @classmethod
    def from_db(
        cls,
        db: str | None,
        field_names: Any,
        values: Any,
        fetch_mode: Any = None,
        **kwargs: Any,
    ) -> Self:
        # This runs for every row that is loaded, where an argument packed and
        # unpacked is 2 % of the time.
        if kwargs:
            instance = super().from_db(
                db, field_names, values, fetch_mode=fetch_mode, **kwargs
            )
        elif fetch_mode is not None:  # Django 6.1
            instance = super().from_db(db, field_names, values, fetch_mode=fetch_mode)
        else:
            instance = super().from_db(db, field_names, values)
        try:
            shared = cls._meta._optilock_shared  # type: ignore[attr-defined]
        except AttributeError:
            shared = memory.prepare(cls)
        if shared == len(values):
            # Django makes the values for this one call: they can be kept.
            instance._state._optilock_loaded = values  # type: ignore[attr-defined]
        elif cls.remember_loaded:
            loaded = memory.copied(cls, field_names, values)
            instance._state._optilock_loaded = loaded  # type: ignore[attr-defined]
        return instance

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Any = None,
        from_queryset: Any = None,
        **kwargs: Any,
    ) -> None:
        loaded: list[models.Model] = []
        if from_queryset is not None:
            # It may leave out fields of its own accord.
            from_queryset = recording(from_queryset, loaded)
            kwargs["from_queryset"] = from_queryset
        if fields is not None:
            fields = list(fields)
        super().refresh_from_db(using=using, fields=fields, **kwargs)
        if self.remember_loaded:
            deferred = {*self.get_deferred_fields()}
            for row in loaded:
                deferred |= row.get_deferred_fields()
            memory.note(
                self,
                None,
                {
                    field.attname: vars(self)[field.attname]
                    for field in self._meta.concrete_fields
                    if field.attname not in deferred
                    and (
                        loaded
                        or fields is None
                        or field.name in fields
                        or field.attname in fields
                    )
                },
            )


def _is_djangos(method: Any) -> bool:
    return method.__func__ is models.Model.delete
