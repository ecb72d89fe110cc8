"""The abstract model most projects start from."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.db import models, router, transaction
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from optilock.fields import IntegerVersionField, version_field
from optilock.query import VersionedManager


class VersionedModel(models.Model):
    """A model whose rows are never overwritten or deleted by a stale instance.

    ``save()`` and ``delete()`` raise ``RecordModifiedError`` if the row was
    changed after the instance was loaded, and ``RecordDeletedError`` if it is
    gone.
    """

    version = IntegerVersionField()

    objects = VersionedManager()

    class Meta:
        abstract = True

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


def _is_djangos(method: Any) -> bool:
    return method.__func__ is models.Model.delete
