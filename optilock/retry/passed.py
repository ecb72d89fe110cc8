"""The objects a function was called with, put back before it is called again.

A rollback undoes what an attempt wrote to the database, and puts the versions of
what it saved back. A balance that it changed in memory stays changed: the next
attempt would change it a second time, and win.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.utils.functional import LazyObject

from optilock.loaded import SCALARS
from optilock.rows import ModelField

__all__ = ["Passed"]

#: What is looked into, besides dicts: what Python has built in.
_CONTAINERS: tuple[type[Iterable[object]], ...] = (
    *(list, tuple, set, frozenset, deque),
    *(type({}.keys()), type({}.values()), type({}.items())),
)


class Passed:
    """Model instances that a call can reach through its arguments.

    That is arguments that are instances; those in lists, tuples, sets, dicts, deques
    and querysets, in attributes of an argument, and the related objects that they have
    cached. No query is made to find them.
    """

    def __init__(self, arguments: Iterable[object]) -> None:
        self._arguments = tuple(arguments)
        self._instances: dict[int, models.Model] = {}
        self._before: list[tuple[object, dict[str, object]]] = []
        for found in _reachable(self._arguments):
            self._keep(found)
            if isinstance(found, models.Model):
                self._instances[id(found)] = found
                self._keep(found._state)

    def _keep(self, target: object) -> None:
        self._before.append((target, _copied_values(target, vars(target))))

    def __contains__(self, instance: object) -> bool:
        return id(instance) in self._instances

    def put_back(self) -> None:
        """Put them back to what they were at the call, attribute by attribute.

        An instance that came there since, as ``request.user`` when it was first
        asked for, is read from the database again: one query each.
        """
        for target, before in self._before:
            values = _copied_values(target, before)
            # A file that an attempt has stored is stored, whatever became of the
            # row, and an upload can't be stored twice.
            values |= {
                name: value
                for name, value in vars(target).items()
                if name in _names(target, models.FileField)
            }
            vars(target).clear()
            vars(target).update(values)
        known = {id(target) for target, _ in self._before}
        for found in _reachable(self._arguments):
            if id(found) in known:
                continue
            if isinstance(found, models.QuerySet):
                found._result_cache = None  # it is asked again if anybody looks
            elif isinstance(found, models.Model) and not found._state.adding:
                with suppress(ObjectDoesNotExist):  # whoever saves it will be told
                    found.refresh_from_db()


def _reachable(arguments: Iterable[Any]) -> Iterator[object]:
    """Yield the instances and querysets among the arguments, and within them."""
    seen: dict[int, object] = {}
    todo = [(argument, True) for argument in arguments]
    while todo:
        value, is_argument = todo.pop()
        # The type is asked, not isinstance(): that would load request.user.
        kind = type(value)
        if kind in SCALARS or id(value) in seen:
            continue
        seen[id(value)] = value
        inside: Iterable[object] = ()
        if issubclass(kind, models.Model | models.QuerySet):
            yield value
        if issubclass(kind, models.Model):
            inside = (*vars(value).values(), *value._state.fields_cache.values())
        elif issubclass(kind, models.QuerySet):
            inside = value._result_cache or ()
        elif issubclass(kind, _CONTAINERS):
            # Not what somebody's own class has made of it, like a query.
            base = next(base for base in _CONTAINERS if issubclass(kind, base))
            inside = base.__iter__(value)
        elif issubclass(kind, dict):
            inside = (*dict.keys(value), *dict.values(value))
        elif issubclass(kind, LazyObject):
            inside = [vars(value)["_wrapped"]]
        elif is_argument and not issubclass(kind, type):
            inside = _attributes(value)
        # The tuple is made in one step: another thread may change what is inside.
        items = tuple(inside)
        todo += [(item, False) for item in items if type(item) not in SCALARS]


def _attributes(value: object) -> Iterator[object]:
    """Yield what an object has in its ``__dict__`` and its ``__slots__``."""
    found: object = None
    with suppress(Exception):  # a proxy of something that isn't there
        found = value.__dict__
    if issubclass(type(found), dict):
        yield from tuple(dict.values(found))  # type: ignore[arg-type]  # as just asked
    for base in type(value).__mro__:
        if "__slots__" in vars(base):
            for slot in vars(base).values():
                if type(slot) is MemberDescriptorType:
                    with suppress(AttributeError):  # nothing is in it
                        yield slot.__get__(value)


def _copied_values(target: object, values: dict[str, object]) -> dict[str, object]:
    """Return an object's attributes; those that can change in place are copied."""
    copied = dict(values)
    others = [
        name
        for name, value in copied.items()
        if type(value) not in SCALARS and name != "_state"
    ]
    if others:
        fields = _names(target, models.Field) - _names(target, models.FileField)
        for name in others:
            copy_one = _copied_field if name in fields else _copied
            copied[name] = copy_one(copied[name])
    return copied


def _names(target: object, kind: type[ModelField]) -> set[str]:
    """Return the attributes in which an instance has the values of such fields."""
    if not isinstance(target, models.Model):
        return set()
    fields = target._meta.concrete_fields
    return {field.attname for field in fields if isinstance(field, kind)}


def _copied_field(value: object) -> object:
    if hasattr(value, "resolve_expression"):
        return value  # it never changes
    try:
        return copy.deepcopy(value)
    except Exception:  # it can't be copied
        return value


def _copied(value: object) -> object:
    """Return the value; of a list, dict or set a copy with the same things in it."""
    return copy.copy(value) if type(value) in (dict, list, set) else value
