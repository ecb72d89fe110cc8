"""What stands in front of a model's methods, and calls the lock.

Its guards are like decorators in the body of the class: in front of what the class
itself defines or inherits, and behind what its children define.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from types import MethodType
from typing import TYPE_CHECKING, Any

from optilock import keys
from optilock.refreshing import refresh

if TYPE_CHECKING:
    from django.db import models

    from optilock.lock import Lock

    #: The name of a method, its guard, and what calls this.
    _Guard = tuple[str, Callable[..., object], Callable[..., object]]

__all__ = ["put_guards", "wrap"]


def put_guards(lock: Lock, model: type[models.Model]) -> None:
    """Put a lock's guards in front of the methods that write, read and validate rows.

    Args:
        lock: the lock, which is the model's.
        model: the model.
    """
    # VersionedModel has its own ways to load a row.
    is_alone = not hasattr(model, "remember_loaded")
    if is_alone:
        keys.watch_loading(model)
    for name, guard, method in _guards_of(lock):
        if name == "refresh_from_db" and not is_alone:
            continue
        if name in vars(model):
            wrap(model, name, guard)
            continue
        if name[0] != "_":  # nobody asks for the signature of the others
            update_wrapper(method, getattr(model, name))
        setattr(model, name, method)


def _guards_of(lock: Any) -> list[_Guard]:
    """Return each guard, and what calls it if the model doesn't define the method.

    All of these share what they know: there may be thousands of models, in migrations
    each of them many times over, and Python's garbage collector looks at every object
    there is.
    """
    model = lock.model
    validate: Callable[..., None] = partial(keys.validate, model)
    read: Callable[..., None] = refresh

    def save_base(self: object, *args: object, **kwargs: object) -> None:
        lock.save_base(self, super(model, self).save_base, *args, **kwargs)

    def _save_table(self: object, *args: object, **kwargs: object) -> object:
        return lock.save_table(self, super(model, self)._save_table, *args, **kwargs)

    def _do_update(self: object, *args: object, **kwargs: object) -> object:
        return lock.do_update(self, super(model, self)._do_update, *args, **kwargs)

    def validate_unique(self: object, *args: object, **kwargs: object) -> None:
        validate(self, super(model, self).validate_unique, *args, **kwargs)

    def validate_constraints(self: object, *args: object, **kwargs: object) -> None:
        validate(self, super(model, self).validate_constraints, *args, **kwargs)

    def refresh_from_db(self: object, *args: object, **kwargs: object) -> None:
        read(self, super(model, self).refresh_from_db, *args, **kwargs)

    return [
        ("save_base", lock.save_base, save_base),
        ("_save_table", lock.save_table, _save_table),
        ("_do_update", lock.do_update, _do_update),
        ("validate_unique", validate, validate_unique),
        ("validate_constraints", validate, validate_constraints),
        ("refresh_from_db", read, refresh_from_db),
    ]


def wrap(model: type[models.Model], name: str, guard: Callable[..., object]) -> None:
    """Put ``guard`` around a method, as a decorator in the class body would.

    What the class body defines is called by the guard; what it doesn't is
    looked up behind the model when called, so that mixins keep their place.
    """
    own = vars(model).get(name)

    @wraps(getattr(model, name))
    def method(self: models.Model, *args: object, **kwargs: object) -> object:
        inner = MethodType(own, self) if own else getattr(super(model, self), name)
        return guard(self, inner, *args, **kwargs)

    setattr(model, name, method)
