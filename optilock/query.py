"""The queryset and manager whose set-based writes keep the lock's promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, models, transaction
from django.db.models.constants import OnConflict

from optilock import attempts, bulk, fast_insert, fast_read, loaded, rollback
from optilock.deferring import DeferringQuerySet
from optilock.expressions import NextVersion
from optilock.fields import IntegerVersionField
from optilock.inserted import note_inserted, put_back_if_it_fails
from optilock.lost_transactions import saying_if_unknown
from optilock.relations import RelationsMixin
from optilock.rows import ModelField, own_field, version_field
from optilock.upserts import upsert

__all__ = ["VersionedManager", "VersionedQuerySet"]

#: What Django takes by position.
_BULK_CREATE_ARGUMENTS = (
    "batch_size",
    "ignore_conflicts",
    "update_conflicts",
    "update_fields",
    "unique_fields",
)

_M_co = TypeVar("_M_co", bound=models.Model, covariant=True)


class VersionedQuerySet(DeferringQuerySet[_M_co]):
    """A queryset that bumps the version of the rows it updates.

    It never leaves the version out of what it loads. Inside an attempt of
    ``retry_on_conflict`` it reads from the database that the attempt writes to.
    """

    @property
    def db(self) -> str:
        """The database for this query, as Django's routers say."""
        if self._db is None and not self._for_write:  # type: ignore[attr-defined]
            hints = self._hints  # type: ignore[attr-defined]
            alias = attempts.write_alias(self.model, **hints)
            if alias is not None:
                return alias
        return super().db

    def get(self, *args: Any, **kwargs: Any) -> _M_co:
        """Return the one row that matches, as Django does.

        In an attempt of ``retry_on_conflict``, a row that was lost a moment ago is
        locked.
        """
        attempt = attempts.running.get()
        row = None if attempt is None or args else attempts.row_of(self, kwargs)
        if row is None or attempt is None:
            return super().get(*args, **kwargs)
        attempt.read.add(row)
        if row != attempt.awaited:
            return super().get(**kwargs)
        return attempt.read_locked(row, partial(self._get_locked, row, kwargs))

    def _get_locked(self, row: attempts.LostRow, lookup: dict[str, Any]) -> _M_co:
        found = fast_read.read_locked(self, row)
        if found is not None:
            return found
        rows = fast_read.locking(self, connections[row.using])
        return super(VersionedQuerySet, rows).get(**lookup)

    def update(self, **kwargs: Any) -> int:
        """Update all rows and bump their versions, in one statement.

        Nothing is checked: an update like this overwrites whatever is there. A
        version among the arguments is stored as it is.
        """
        field = self._version_field()
        if field is None:
            return super().update(**kwargs)
        self._for_write = True
        if kwargs and not (field.name in kwargs or field.excludes(kwargs)):
            kwargs[field.name] = NextVersion(field)
            if self.model._meta.parents:
                # Several tables, a statement for each: between them nobody may save
                # on the strength of a version that is about to change.
                with _block_of_several(self.db):
                    return super().update(**kwargs)
        with saying_if_unknown(self.db, f"update() of {self.model._meta.label}"):
            return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(
        self,
        objs: Iterable[_M_co],
        fields: Iterable[str],
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> int:
        """Write the fields of all objects, if none of them is stale.

        Each row is matched by primary key and version in the statement that
        writes it. Either all rows are written or none. An object that is given
        twice is written once, and the version, if it is among the fields, is
        bumped as always.

        Returns:
            The number of rows.

        Raises:
            RecordModifiedError: rows were changed or deleted, or aren't in
                this queryset; ``error.conflicts`` names them all.
            RecordDeletedError: the same, and all of those rows were deleted.
            ValueError: an object can't be checked, or two of them stand for one row.
        """
        version = self._version_field()
        objs, names = tuple({id(obj): obj for obj in objs}.values()), list(fields)
        if batch_size is not None:
            kwargs["batch_size"] = batch_size
        if (
            version is None
            or version.excludes(names)
            or bulk.is_set_order(self.model, names, objs)
        ):
            return super().bulk_update(objs, names, **kwargs)
        # Without objects this writes nothing, but Django's checks are made.
        super().bulk_update((), names, **kwargs)
        columns = [own_field(self.model, n) for n in names if n != version.name]
        bulk.refuse_uncheckable(version, objs)
        if not objs:
            return 0
        expected = [version.expected(obj) for obj in objs]
        bulk.refuse_unsaved_relations(objs, columns)
        self._for_write = True
        using = self.db
        written = [field for field in columns if not field.generated]
        outside = self._outside(version, objs)
        if outside or not bulk.write(using, version, written, objs, batch_size):
            raise bulk.conflict(using, version, objs, outside)
        self._note_written(using, [version, *written], objs, expected)
        return len(objs)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def _note_written(
        self,
        using: str,
        fields: Sequence[ModelField],
        objs: Sequence[models.Model],
        expected: Sequence[int],
    ) -> None:
        """Let objects hold the next version, and know what was written of their rows.

        Args:
            using: the database that was written.
            fields: what was written, the version first.
            objs: the objects.
            expected: the version that each of them has held.
        """
        connection, name = connections[using], fields[0].attname
        saved = loaded.Places(self.model, fields)
        for obj, number in zip(objs, expected, strict=True):
            rollback.set_until_rollback(connection, obj, name, number + 1)
            saved.note(obj, connection)

    def bulk_create(
        self, objs: Iterable[_M_co], *args: Any, **kwargs: Any
    ) -> list[_M_co]:
        """Insert the objects; they can be saved afterwards.

        With ``ignore_conflicts`` the row behind an object may be somebody else's:
        load it before you save it. With ``update_conflicts`` the rows that are there
        are overwritten, unchecked, and their versions bumped. If the statement has
        written all fields, the object can be saved afterwards, where the database
        returns what became of its row; otherwise load it first.

        Args:
            objs: new objects; a version that they have been given is kept, unless
                the row is there already.
            args: as Django's.
            kwargs: as Django's.
        """
        version = self._version_field()
        if version is None:
            return super().bulk_create(objs, *args, **kwargs)
        objs = list(objs)
        kwargs |= zip(_BULK_CREATE_ARGUMENTS, args, strict=False)
        if kwargs.get("update_fields"):
            kwargs["update_fields"] = list(kwargs["update_fields"])
        for obj in objs:
            if vars(obj._state).get("adding") is False and not obj._is_pk_set():  # type: ignore[attr-defined]  # not in the stubs
                obj._state.adding = True  # a copy, made by setting the pk to None
        with put_back_if_it_fails(objs, version) as before:
            created = super().bulk_create(objs, **kwargs)
        note_inserted(
            objs,
            before,
            connections[self.db],
            version,
            is_ignoring=bool(kwargs.get("ignore_conflicts")),
            is_updating=bool(kwargs.get("update_conflicts")),
        )
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _insert(
        self, objs: Sequence[models.Model], *args: object, **kwargs: Any
    ) -> object:
        version, insert = self._version_field(), super()._insert  # type: ignore[misc]  # not in the stubs
        if version is None:
            return insert(objs, *args, **kwargs)
        fields, on_conflict = kwargs.get("fields", ()), kwargs.get("on_conflict")
        is_plain = fields and not (args or on_conflict or kwargs.get("raw"))
        if on_conflict == OnConflict.UPDATE:
            insert = partial(upsert, insert, version)
        self._for_write = True
        using = kwargs.get("using") or self.db
        # Django 6.1 sends it without a block, if it is the only one.
        with saying_if_unknown(using, f"the insert of {self.model._meta.label}"):
            if is_plain and fast_insert.is_djangos_insert(insert):
                returning = kwargs.get("returning_fields")
                rows = fast_insert.insert_rows(
                    version.lock, objs, fields, returning, using
                )
                if rows is not None:
                    return rows
            return insert(objs, *args, **kwargs)

    _insert.alters_data = True  # type: ignore[attr-defined]
    _insert.queryset_only = False  # type: ignore[attr-defined]

    @classmethod
    def as_manager(cls) -> Any:
        """Return a ``VersionedManager`` with the methods of this queryset."""
        return VersionedManager.from_queryset(cls)()

    as_manager.queryset_only = True  # type: ignore[attr-defined]

    def _outside(
        self, version: IntegerVersionField, objs: Sequence[models.Model]
    ) -> set[tuple[object, ...]]:
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

    def _version_field(self) -> IntegerVersionField | None:
        return version_field(self.model)


if TYPE_CHECKING:
    #: Of a manager.
    Deconstructed = tuple[
        bool, str | None, str | None, Sequence[object] | None, dict[str, object] | None
    ]
    _M = TypeVar("_M", bound=models.Model, covariant=True)

    class _ManagerBase(models.Manager[_M]):
        """What ``from_queryset()`` makes, for type checkers."""

        def get_queryset(self) -> VersionedQuerySet[_M]: ...
        def all(self) -> VersionedQuerySet[_M]: ...
        def filter(self, *args: Any, **kwargs: Any) -> VersionedQuerySet[_M]: ...

else:
    _ManagerBase = models.Manager.from_queryset(VersionedQuerySet)


class VersionedManager(RelationsMixin, _ManagerBase[_M_co]):
    """The manager of a versioned model: ``objects = VersionedManager()``.

    It travels into migrations, so that ``update()`` and ``bulk_update()`` keep the
    lock's promise in ``RunPython``, too. A manager derived from it travels as a
    plain one, without methods and filters of its own, as managers do in Django;
    unless it, or another base of it, says ``use_in_migrations = True``.
    """

    use_in_migrations = True

    def deconstruct(self) -> Deconstructed:
        if self._travels_as_itself():
            return super().deconstruct()
        return False, "optilock.VersionedManager", None, (), {}

    def _travels_as_itself(self) -> bool:
        return any(
            vars(base).get("use_in_migrations", False)
            for base in type(self).__mro__
            if base not in VersionedManager.__mro__
        )

    def __eq__(self, other: object) -> bool:
        # What makemigrations asks: would they be the same in a migration?
        if not isinstance(other, VersionedManager):
            return False
        if self._travels_as_itself() or other._travels_as_itself():
            return bool(super().__eq__(other))
        return True

    __hash__ = models.Manager.__hash__


@contextmanager
def _block_of_several(using: str) -> Iterator[None]:
    """Open a block for several statements, which ends another only as Django would.

    If Django refuses an argument, nothing was sent, and the caller's block goes on.
    """
    connection, goes_on = connections[using], False
    try:
        with transaction.atomic(using=using, savepoint=False):
            try:
                yield
            except BaseException:
                goes_on = not connection.needs_rollback  # which Django has left alone
                raise
    except BaseException:
        if goes_on and connection.in_atomic_block:
            connection.needs_rollback = False
        raise
