"""The abstract model most projects start from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from asgiref.sync import sync_to_async
from django.db import models, router
from django.db.models.signals import class_prepared

from optilock import keys
from optilock.deleting import delete_checked, is_djangos
from optilock.exceptions import refusal
from optilock.fields import IntegerVersionField
from optilock.guarding import wrap
from optilock.managers import put_under_managers
from optilock.merging import save_merging
from optilock.query import VersionedManager
from optilock.refreshing import refresh
from optilock.rollback import ABSENT, put
from optilock.rows import as_of_now, become_new, bump, version_field
from optilock.unlocking import overwriting
from optilock.values import changed_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models.base import ModelBase
    from typing_extensions import Self, TypedDict, Unpack

    from optilock.decisions import Decision

    class _SaveOptions(TypedDict, total=False):
        force_insert: bool | tuple[ModelBase, ...]
        force_update: bool
        using: str | None
        update_fields: Iterable[str] | None

    class _RefreshOptions(TypedDict, total=False):
        using: str | None
        fields: Iterable[str] | None
        from_queryset: models.QuerySet[models.Model] | None

    class _TouchOptions(TypedDict, total=False):
        using: str | None

    class _DeleteOptions(_TouchOptions, total=False):
        keep_parents: bool


__all__ = ["OnConflict", "OnConflictOfSave", "VersionedModel"]

#: What becomes of the saves of a model whose row was changed in the meantime.
OnConflict = Literal["raise", "merge"]
#: And of one save.
OnConflictOfSave = Literal["raise", "merge", "overwrite"]

#: What Django 5.2 still takes by position, with what they are if nobody gives them.
_SAVE_ARGUMENTS: dict[str, bool | None] = {
    "force_insert": False,
    "force_update": False,
    "using": None,
    "update_fields": None,
}


class VersionedModel(models.Model):
    """A model whose rows are never overwritten or deleted by a stale instance.

    ``save()`` and ``delete()`` raise ``RecordModifiedError`` if the row was
    changed after the instance was loaded, and ``save()`` raises
    ``RecordDeletedError`` if it was deleted.
    """

    #: Whether instances remember the values they were loaded with, so that a
    #: conflict can tell who changed what. About 100 bytes per instance.
    remember_loaded: ClassVar[bool] = True
    #: What ``save()`` does when the row was changed in the meantime: "raise", or
    #: "merge" what doesn't overlap and raise if something does.
    on_conflict: ClassVar[OnConflict] = "raise"
    #: Groups of field names that are merged as one: [("amount", "currency")].
    merge_together: ClassVar[Sequence[Sequence[str]]] = ()
    #: Decisions for fields that both changed, in a merging ``save()``, as for
    #: ``Conflict.merge()``: {"edited_by": "mine", "body": "lines"}.
    merge_decisions: ClassVar[Mapping[str, Decision]] = {}

    version = IntegerVersionField()

    objects: ClassVar[VersionedManager[Self]] = VersionedManager()

    class Meta:
        abstract = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # The class has no managers yet; an abstract one is never prepared.
        class_prepared.connect(_prepare, sender=cls, weak=False)

    def save(
        self,
        *args: Any,
        on_conflict: OnConflictOfSave | None = None,
        **kwargs: Unpack[_SaveOptions],
    ) -> None:
        """Save the row, if it is still at the version this instance holds.

        Args:
            args: as Django's.
            on_conflict: "raise", "merge" or "overwrite", in place of the model's.
                "merge" keeps what others changed in the meantime, unless it
                overlaps with what was changed here; "overwrite" keeps nothing of
                it, and bumps the version whatever it is.
            kwargs: as Django's.

        Raises:
            RecordModifiedError: the row was changed; nothing was written.
            RecordDeletedError: the row was deleted.
        """
        if args and _takes_positional(super().save):
            # It warns that this is deprecated, and names the line of our caller.
            parsed = self._parse_save_params(  # type: ignore[attr-defined]
                *args, method_name="save", **_save_arguments(kwargs)
            )
            args = ()
            kwargs |= dict(zip(_SAVE_ARGUMENTS, parsed, strict=True))  # type: ignore[typeddict-item]  # by these names
        policy = on_conflict or self.on_conflict
        # What a client has named in If-Match is never exchanged for something newer.
        if policy == "raise" or hasattr(self._state, "_optilock_if_match"):
            super().save(*args, **kwargs)
        elif policy == "merge":
            given: dict[str, Any] = {**kwargs}
            given |= zip(_SAVE_ARGUMENTS, args, strict=False)
            using = given.get("using") or router.db_for_write(type(self), instance=self)
            save_merging(self, using, partial(super().save, *args, **kwargs))
        elif on_conflict == "overwrite":
            with overwriting(self):
                super().save(*args, **kwargs)
        else:
            raise ValueError(
                f"on_conflict is {policy!r}; use 'raise' or 'merge', and "
                f"'overwrite' for one save: save(on_conflict='overwrite')."
            )

    save.alters_data = True  # type: ignore[attr-defined]

    async def asave(
        self,
        *args: Any,
        on_conflict: OnConflictOfSave | None = None,
        **kwargs: Unpack[_SaveOptions],
    ) -> None:
        """Save the row, see ``save()``."""
        if args and _takes_positional(super().asave):
            parsed = self._parse_save_params(  # type: ignore[attr-defined]
                *args, method_name="asave", **_save_arguments(kwargs)
            )
            args = ()
            kwargs |= dict(zip(_SAVE_ARGUMENTS, parsed, strict=True))  # type: ignore[typeddict-item]  # by these names
        if on_conflict is None:
            await super().asave(*args, **kwargs)
        else:
            await sync_to_async(self.save)(*args, on_conflict=on_conflict, **kwargs)

    asave.alters_data = True  # type: ignore[attr-defined]

    def delete(
        self, *args: Any, missing_ok: bool = False, **kwargs: Unpack[_DeleteOptions]
    ) -> tuple[int, dict[str, int]]:
        """Delete the row, if it is still at the version this instance holds.

        The statements are Django's. Where something cascades, one more claims the
        row first if Django has to read what goes along or to change what stays, if
        there are receivers of ``pre_delete``, and on MySQL and MariaDB.

        Args:
            args: as Django's: using, keep_parents.
            missing_ok: let a row that is deleted already be no error, but none to
                count, as it is in Django. Whoever has deleted it may have done what
                goes with it, too.
            kwargs: as Django's.

        Returns:
            The number of deleted rows, in all and for each model.

        Raises:
            RecordModifiedError: the row was changed; nothing was deleted.
            RecordDeletedError: the row is deleted already, and it isn't
                ``missing_ok``, or a client has named its version in If-Match.
            ValueError: the primary key isn't the one the instance was loaded with.
        """
        field = version_field(type(self))
        if field is None or not self._is_pk_set():  # type: ignore[attr-defined] # 5.2+
            return super().delete(*args, **kwargs)
        keys.refuse_new_key(self, "delete()")
        using = args[0] if args else kwargs.get("using")
        using = using or router.db_for_write(type(self), instance=self)
        keeps_parents = any(args[1:]) or kwargs.get("keep_parents", False)
        is_plain = is_djangos(super().delete) and not keeps_parents
        delete = partial(super().delete, *args, **kwargs)
        deleted = delete_checked(
            self, field, using, delete, is_plain=is_plain, missing_ok=missing_ok
        )
        if is_plain and self._is_pk_set(field.model._meta):  # type: ignore[attr-defined]
            become_new(field, self, using, field.held(self) + 1)  # a parent's key stays
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]

    async def adelete(
        self, *args: Any, missing_ok: bool = False, **kwargs: Unpack[_DeleteOptions]
    ) -> tuple[int, dict[str, int]]:
        """Delete the row, see ``delete()``."""
        if missing_ok or is_djangos(super().adelete):
            # Which would pass on what nobody gave.
            given: dict[str, Any] = {"missing_ok": True} if missing_ok else {}
            return await sync_to_async(self.delete)(*args, **given, **kwargs)
        return await super().adelete(*args, **kwargs)

    adelete.alters_data = True  # type: ignore[attr-defined]

    def touch(self, using: str | None = None) -> None:
        """Bump the version without changing anything else.

        For what belongs to the row but isn't stored in it: when a line of an
        order changes, ``order.touch()`` makes everybody who holds the order
        stale. No signals are sent.

        Raises:
            RecordModifiedError: the row was changed.
            RecordDeletedError: the row was deleted.
            ValueError: the object isn't saved yet, or its primary key isn't the one
                it was loaded with.
        """
        field, using, pk = _row(self, using, "has no version to bump. Save it first.")
        keys.refuse_new_key(self, "touch()")
        expected = field.expected(self)
        if not bump(field, self, using, pk, expected):
            raise refusal(field, self, using, pk, expected)

    touch.alters_data = True  # type: ignore[attr-defined]

    async def atouch(self, *args: str | None, **kwargs: Unpack[_TouchOptions]) -> None:
        """Do what ``touch()`` does."""
        await sync_to_async(self.touch)(*args, **kwargs)

    atouch.alters_data = True  # type: ignore[attr-defined]

    def is_stale(self, using: str | None = None) -> bool:
        """Tell whether the row was changed or deleted since it was loaded.

        One query, and only good for telling somebody: a moment later the answer may
        be another. What must not be lost is checked by ``save()``.

        Args:
            using: the alias of the database; by default the one that is written to.

        Raises:
            ValueError: the object isn't saved yet, or its primary key isn't the one
                it was loaded with.
        """
        field, using, pk = _row(self, using, "isn't saved yet, so it can't be stale.")
        if keys.has_new_key(self):
            raise ValueError(f"{keys.new_key_message(self)}: there is none to compare.")
        rows = as_of_now(field.rows(using, pk), using)
        numbers = rows.values_list(field.attname, flat=True)
        return bool(numbers.first() != field.held(self))

    async def ais_stale(self, using: str | None = None) -> bool:
        """Do what ``is_stale()`` does."""
        return await sync_to_async(self.is_stale)(using)

    def changed_fields(self) -> list[str]:
        """Return the names of the fields that were changed since they were loaded.

        ``save(update_fields=instance.changed_fields())`` writes only these. A
        field counts as changed if what was loaded isn't known: the instance is
        new, or the model has ``remember_loaded = False``.
        """
        return changed_fields(self)

    def refresh_from_db(self, *args: Any, **kwargs: Unpack[_RefreshOptions]) -> None:
        refresh(self, super().refresh_from_db, *args, **kwargs)


keys.watch_loading(VersionedModel)


def _row(
    instance: models.Model, using: str | None, otherwise: str
) -> tuple[IntegerVersionField, str, object]:
    """Return the version field of an instance, and the database and key of its row.

    Raises:
        ValueError: there is no row yet. The message ends with ``otherwise``.
    """
    field = version_field(type(instance))
    if field is None or instance._state.adding:
        raise ValueError(f"{instance!r} {otherwise}")
    using = using or router.db_for_write(type(instance), instance=instance)
    return field, using, instance._get_pk_val(field.model._meta)


def _takes_positional(save: Callable[..., object]) -> bool:
    """Tell whether this is the ``save()`` or ``asave()`` of Django 5.2."""
    djangos = (models.Model.save, models.Model.asave)
    return (
        hasattr(models.Model, "_parse_save_params") and save.__func__ in djangos  # type: ignore[attr-defined]  # it is bound
    )


def _save_arguments(given: _SaveOptions) -> dict[str, object]:
    return {name: given.get(name, value) for name, value in _SAVE_ARGUMENTS.items()}


def _prepare(sender: type[models.Model], **kwargs: object) -> None:
    class_prepared.disconnect(_prepare, sender=sender)
    put_under_managers(sender, VersionedModel)
    if sender.save is VersionedModel.save:
        return
    parameters = inspect.signature(sender.save).parameters.values()
    if not any(p.name == "on_conflict" or p.kind is p.VAR_KEYWORD for p in parameters):
        wrap(sender, "save", _save_by_policy)


def _save_by_policy(
    instance: VersionedModel,
    save: Callable[..., None],
    *args: object,
    on_conflict: OnConflictOfSave | None = None,
    **kwargs: object,
) -> None:
    """Lead ``on_conflict`` past a ``save()`` that takes Django's arguments only."""
    if on_conflict is None:
        return save(*args, **kwargs)
    if on_conflict == "overwrite":
        # What its class says is overruled as well: there is nothing to merge.
        with overwriting(instance):
            return _save_by_policy(instance, save, *args, on_conflict="raise", **kwargs)
    before = vars(instance).get("on_conflict", ABSENT)
    put(instance, "on_conflict", on_conflict)
    try:
        return save(*args, **kwargs)
    finally:
        put(instance, "on_conflict", before)
