"""The version field: a number, its options, and what is expected of an instance.

What the field puts on its model is in ``lock.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.core import checks
from django.db import DataError, models
from django.db.models.query_utils import DeferredAttribute

from optilock import installation, keys, rollback
from optilock.expressions import LAST_VERSION, ExpectedVersion, NextOfExpected
from optilock.lock import Lock
from optilock.rows import own_field
from optilock.triggers import VersionTrigger

__all__ = ["IntegerVersionField"]


class _VersionAttribute(DeferredAttribute):
    """Reads a version that was left out by ``only()`` or ``defer()``.

    The number isn't kept on the instance, and the next save is refused as
    before: it belongs to the row as it is now, the instance's other values to
    the row as it was.
    """

    def __get__(
        self, instance: models.Model | None, cls: type[models.Model] | None = None
    ) -> object:
        attname = self.field.attname
        if instance is None or attname in vars(instance):
            return super().__get__(instance, cls)
        # Django 6.1's FETCH_PEERS loads the value for all instances of a query.
        peers = [
            peer
            for reference in getattr(instance._state, "peers", ())
            if (peer := reference()) is not None and attname not in vars(peer)
        ]
        try:
            return super().__get__(instance, cls)
        finally:
            for unlocked in (instance, *peers):
                vars(unlocked).pop(attname, None)


if TYPE_CHECKING:
    _IntegerField = models.BigIntegerField[int, int]
else:
    _IntegerField = models.BigIntegerField


class IntegerVersionField(_IntegerField):
    """A row's version: 1 when it is inserted, and one more after each write.

    A model with this field is locked: ``save()`` updates the row only if it is
    still at the version the instance holds, in one statement, and raises
    ``RecordModifiedError`` if it isn't.

    The number is a 64-bit integer, not null, with a default in the database.
    It isn't editable. Assigning to it by hand changes what is checked.

    Args:
        exclude: names of fields of the model whose changes concern nobody else,
            like a counter of views. A write of nothing but these isn't checked
            and doesn't bump the version.
    """

    description = "Version number for optimistic locking"
    descriptor_class = _VersionAttribute
    #: By this, not by the class, rows.py knows it.
    locks_rows = True
    non_db_attrs = (*models.BigIntegerField.non_db_attrs, "exclude")
    _defaults: ClassVar[dict[str, object]] = {
        "default": 1,
        "db_default": 1,
        "editable": False,
    }

    def __init__(self, *args: Any, exclude: Iterable[str] = (), **kwargs: Any) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude takes a list of names: exclude=[{exclude!r}].")
        self.exclude = tuple(exclude)
        for option, value in self._defaults.items():
            kwargs.setdefault(option, value)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[object], dict[str, object]]:
        name, path, args, kwargs = super().deconstruct()
        # Only what differs from the defaults goes into a migration.
        kwargs.setdefault("editable", True)
        for option, value in self._defaults.items():
            if kwargs.setdefault(option, models.NOT_PROVIDED) == value:
                del kwargs[option]
        if self.exclude:
            kwargs["exclude"] = list(self.exclude)
        return name, path.replace("optilock.fields", "optilock"), args, kwargs

    def contribute_to_class(
        self, cls: type[models.Model], name: str, *args: bool, **kwargs: bool
    ) -> None:
        original = vars(self).get("model")
        is_copied = original is not None and not original._meta.abstract
        if is_copied or getattr(cls, "pgh_tracked_model", None):
            # django-simple-history and django-pghistory have such fields in tables that
            # record what the rows were. A number there is the version of another row,
            # and stays as it is.
            self.__class__ = models.BigIntegerField  # type: ignore[assignment]  # its base
            self.contribute_to_class(cls, name, *args, **kwargs)
            return
        super().contribute_to_class(cls, name, *args, **kwargs)
        vars(self).pop("next_version", None)  # a copy's, of what it was copied from
        if not cls._meta.abstract:
            for constraint in cls._meta.constraints:
                if isinstance(constraint, VersionTrigger):
                    constraint.join(self)
            self.lock = Lock(self)
            self.lock.put_on(cls)
            installation.watch()

    @property
    def db_returning(self) -> bool:
        """Whether an INSERT reads the number back: it names it, so no.

        SQLite answers as it stores the table's first column: 1.0, say.
        """
        return False

    def excludes(self, names: Iterable[str]) -> bool:
        """Return whether a write of these fields doesn't concern the lock."""
        return bool(self.exclude) and self._excluded_names.issuperset(names)

    @cached_property
    def next_version(self) -> NextOfExpected:
        """What an UPDATE sets; most models never save by a way that asks for it."""
        return NextOfExpected(self)

    @cached_property
    def _excluded_names(self) -> frozenset[str]:
        fields = [own_field(self.model, name) for name in self.exclude]
        return frozenset(name for f in fields for name in (f.name, f.attname))

    def expected(self, instance: models.Model) -> int:
        """Return the version the instance's row has to have to be written.

        Raises:
            ValueError: the version is deferred, or ``None``.
            TypeError: the version isn't an integer.
            DataError: it is the last one there is.
        """
        version = vars(instance).get(self.attname, rollback.ABSENT)
        if type(version) is int and version != LAST_VERSION:
            return version
        if self.held(instance) == LAST_VERSION:
            raise DataError(
                f"{type(instance)._meta.label}.{self.name} is {version}, the last "
                f"number its column can hold: there is none for the next write. Give "
                f"the row a lower one by update({self.name}=1), when nobody holds it."
            )
        return int(version)

    def held(self, instance: models.Model) -> int:
        """Return the version that the instance holds, only to be read.

        Raises:
            ValueError: the version is deferred, or ``None``.
            TypeError: the version isn't an integer.
        """
        version = vars(instance).get(self.attname, rollback.ABSENT)
        where = f"{type(instance)._meta.label}.{self.name}"
        if version is rollback.ABSENT:
            raise ValueError(
                f"{where} was not loaded (only() or defer() left it out, or the row "
                f"was written without it, by a raw save or bulk_create()), so nobody "
                f"knows what this write would overwrite. Name {self.name!r} in "
                f"only(), or load the object again."
            )
        if version is None:
            raise ValueError(
                f"{where} is None, so nobody knows what this write would overwrite. "
                f"Set the version that was read together with the values being "
                f"saved, or load the object again."
            )
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError(
                f"{where} is {version!r}; a version is an integer. Convert it, or "
                f"load the object again."
            )
        return int(version)

    def pre_save(self, model_instance: models.Model, add: bool) -> int:
        state, values = model_instance._state, vars(model_instance)
        # `adding` stands in the instance's own state once it was loaded or saved:
        # what is being inserted now is a copy of that row, and a new row itself.
        if add and (
            (state.adding and "adding" in vars(state)) or self.attname not in values
        ):
            setattr(model_instance, self.attname, self.get_default())
        version = values.get(self.attname)  # which is nearly always as expected()
        if type(version) is not int or version == LAST_VERSION:
            version = self.expected(model_instance)
        if not add:
            return ExpectedVersion(version)
        if state.adding and "_optilock_new_key" not in vars(state):
            # For the bulk_create() of a manager that isn't ours.
            keys.note_inserting(model_instance)
        return version

    #: What ``fast_update`` knows; a subclass may have another ``pre_save()``.
    pre_save_of_lock = pre_save

    def rows(self, using: str, pk: object) -> models.QuerySet[models.Model]:
        """Return the row as a queryset on the table that holds the version."""
        rows: models.QuerySet[models.Model] = models.QuerySet(self.model, using=using)
        return rows.filter(pk=pk)

    def check(self, **kwargs: object) -> list[checks.CheckMessage]:
        return [
            *super().check(**kwargs),
            *self._check_options(),
            *self._check_exclude(),
        ]

    def _check_exclude(self) -> list[checks.CheckMessage]:
        meta = self.model._meta
        possible = {f.name for f in meta.local_concrete_fields if not f.primary_key}
        return [
            checks.Error(
                f"The version of {meta.label} can't exclude {name!r}.",
                hint=(
                    "Name other fields with a column in the same table, not those of "
                    "parents or children."
                ),
                obj=self,
                id="optilock.E010",
            )
            for name in self.exclude
            if name not in possible - {self.name}
        ]

    def _check_options(self) -> list[checks.CheckMessage]:
        # Not meta.pk_fields: it raises for the names that Django's own checks report.
        in_pk = self.primary_key or self.name in getattr(
            self.model._meta.pk, "field_names", ()
        )
        wrong = [
            (self.null, "optilock.E001", "null", "a row without a version has no lock"),
            (
                self.unique and not in_pk,
                "optilock.E002",
                "unique",
                "each row counts its own changes, from 1",
            ),
            (in_pk, "optilock.E003", "part of the primary key", "each save changes it"),
        ]
        return [
            checks.Error(
                f"A version field can't be {option}.",
                hint=f"Declare it as IntegerVersionField(): {reason}.",
                obj=self,
                id=check_id,
            )
            for is_wrong, check_id, option, reason in wrong
            if is_wrong
        ]
