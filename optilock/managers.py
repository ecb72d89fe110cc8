"""Other people's managers, with querysets that keep the lock's promise.

A manager says which rows there are (those that aren't deleted, say), and has methods of
its own. With a versioned queryset under it, what it updates is bumped as well.
"""

from __future__ import annotations

import copy
import operator
from functools import cache
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast

from django.db import models

from optilock.expressions import NextVersion
from optilock.query import VersionedManager, VersionedQuerySet
from optilock.rows import version_field

__all__ = ["put_under_managers", "versioned_manager"]

M = TypeVar("M", bound="models.Manager[models.Model]")
T = TypeVar("T")

if TYPE_CHECKING:
    from optilock.query import Deconstructed

    _Manager = VersionedManager[models.Model]
    _QuerySet = VersionedQuerySet[models.Model]
    _AnyManager = models.Manager[models.Model]
    _AnyQuerySet = models.QuerySet[models.Model]
else:  # they are mixed into one
    _Manager = _QuerySet = object


def versioned_manager(manager: M) -> M:
    """Return a manager like this one, whose querysets are versioned::

        objects = versioned_manager(PublishedManager())

    Its class is derived from that of the manager, and from ``VersionedManager``. A
    ``VersionedModel`` does this by itself for the managers of its other bases.

    Args:
        manager: any manager. One that travels into migrations does so as before.
    """
    if _is_versioned(manager):
        return manager
    kind = cast("type[M]", _manager_class(type(manager)))  # type: ignore[arg-type]  # a class has a hash
    return _as(kind, manager)


def put_under_managers(model: type[models.Model], giving_way: type) -> None:
    """Make the managers versioned that a model has from its bases.

    What the class itself declares stays as it is.

    Args:
        model: the model, as it is prepared.
        giving_way: the base whose manager stands back behind another base's.
    """
    own = {*vars(model)}
    inherited = [one for one in model._meta.managers if one.name not in own]
    found = [_in_front_of(giving_way, model, manager) for manager in inherited]
    same = all(map(operator.is_, found, inherited))
    if same and all(map(_is_lockers, found)):
        return
    for manager in found:  # all of them, so that their order stays the same
        name, new = manager.name, copy.copy(manager)
        if not _is_lockers(manager):
            new = versioned_manager(new)
        new.creation_counter = models.Manager().creation_counter
        new.contribute_to_class(model, name)


def _in_front_of(
    giving_way: type, model: type[models.Model], manager: _AnyManager
) -> _AnyManager:
    """Return the manager that would have this one's name, were a base not there."""
    bases = (base for base in model.__mro__ if hasattr(base, "_meta"))
    owners: dict[type, _AnyManager] = {
        base: one
        for base in bases
        for one in base._meta.local_managers
        if one.name == manager.name
    }
    if next(iter(owners)) is giving_way:
        for owner, one in owners.items():
            if owner is not giving_way and type(one) is not models.Manager:
                return one
    return manager


def _is_lockers(manager: _AnyManager) -> bool:
    """Tell whether whoever wrote the manager has thought of the lock."""
    return isinstance(manager, VersionedManager) or _is_versioned(manager)


def _is_versioned(manager: _AnyManager) -> bool:
    """Tell it from the class: a queryset can't be made before all models are there."""
    if isinstance(manager, _Versioned):
        return True
    is_plain = type(manager).get_queryset is models.Manager.get_queryset
    is_ours = is_plain and issubclass(manager._queryset_class, VersionedQuerySet)  # type: ignore[attr-defined]  # not in the stubs
    return is_ours and bool(manager.use_in_migrations)


class _Versioned(_Manager):
    """In front of a manager's class: makes the querysets it makes versioned."""

    #: The manager's class.
    _optilock_of: type[_AnyManager]

    def get_queryset(self) -> VersionedQuerySet[models.Model]:
        queryset: _AnyQuerySet = super().get_queryset()
        if not isinstance(queryset, VersionedQuerySet):
            return _as(_queryset_class(type(queryset)), queryset)
        return queryset

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        kind = self._optilock_of
        if type(self) is not _manager_class(kind):  # type: ignore[arg-type]  # a relation's
            return super().__reduce_ex__(protocol)
        return _new_manager, (kind,), {**vars(self)}

    def deconstruct(self) -> Deconstructed:
        if not self._travels_as_itself():
            return super().deconstruct()
        theirs = _as(self._optilock_of, self)
        # An expression in the migration: the class itself can't be imported.
        return False, "optilock.versioned_manager", None, (theirs,), {}


@cache
def _manager_class(kind: type[_AnyManager]) -> type[_AnyManager]:
    others = () if issubclass(VersionedManager, kind) else (kind,)
    attributes = {"__module__": kind.__module__, "_optilock_of": kind}
    bases = (_Versioned, *others, VersionedManager)
    return cast("type[_AnyManager]", type(kind.__name__, bases, attributes))


def _new_manager(kind: type[_AnyManager]) -> _AnyManager:
    made = _manager_class(kind)  # type: ignore[arg-type]  # a class has a hash
    return made.__new__(made)


class _Pickled(_QuerySet):
    """In front of a queryset's class that can't be imported, since it is made here."""

    _optilock_of: type[_AnyQuerySet]

    def __reduce__(self) -> tuple[object, ...]:
        return _new_queryset, (self._optilock_of,), self.__getstate__()


class _Behind(models.QuerySet[models.Model]):
    """Behind a queryset's class: sees what its ``update()`` has added."""

    def update(self, **kwargs: Any) -> int:
        field = version_field(self.model)
        if not (
            field is None
            or not kwargs
            or field.name in kwargs
            or field.excludes(kwargs)
        ):
            kwargs[field.name] = NextVersion(field)
        return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]


def _as(kind: type[T], one: object) -> T:
    """Return what an object would be in another class; of both, all is in a dict."""
    made = kind.__new__(kind)
    vars(made).update(vars(one))
    return made


def _new_queryset(kind: type[_AnyQuerySet]) -> VersionedQuerySet[models.Model]:
    made = _queryset_class(kind)
    return made.__new__(made)


@cache
def _queryset_class(kind: type[_AnyQuerySet]) -> type[VersionedQuerySet[models.Model]]:
    if kind is models.QuerySet:
        return VersionedQuerySet
    attributes = {"__module__": kind.__module__, "_optilock_of": kind}
    bases = (_Pickled, VersionedQuerySet, kind, _Behind)
    return cast("type[_QuerySet]", type(kind.__name__, bases, attributes))
