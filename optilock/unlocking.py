"""Writing over what others have changed, on purpose: for a block, or for one save.

A stale write is sent once more, then without a version in its ``WHERE``. The version
still goes up, so whoever else holds the row is told.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, isgeneratorfunction
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.db import connections, models, transaction

from optilock import rollback
from optilock.exceptions import refusal
from optilock.expressions import NextVersion
from optilock.rows import forget_version, version_field

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField

__all__ = [
    "is_unlocked",
    "note_number",
    "overwrite",
    "overwriting",
    "seize",
    "unlocked",
    "update_unchecked",
]

logger = logging.getLogger("optilock.unlocked")

#: What is unlocked at the moment, each in a list of its own: models, and instances.
#: Not in an instance's state: a receiver may copy or pickle it.
_MODELS: ContextVar[tuple[list[type[models.Model]], ...]] = ContextVar(
    "optilock_unlocked", default=()
)
_INSTANCES: ContextVar[tuple[list[models.Model], ...]] = ContextVar(
    "optilock_overwriting", default=()
)

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


def unlocked(*unlocked_models: type[models.Model]) -> _Unlocked:
    """Let ``save()`` and ``delete()`` overwrite what others have changed.

    For a block, or for a function as a decorator, ``async`` or not, and only for the
    thread or task that runs it. The version still goes up, so that others notice, and
    each row that is overwritten is logged by ``optilock.unlocked``. A row that was
    deleted is still an error, and so is everything else about an object that can't be
    checked.

    Args:
        unlocked_models: the models; models that derive from them are unlocked, too.

    Raises:
        ValueError: no model was named, or one has no version.
        TypeError: something else than a model was named; or a generator or a class was
            decorated.
    """
    if not unlocked_models:
        raise ValueError("unlocked() needs a model: with unlocked(Account): ...")
    for model in unlocked_models:
        if not (isinstance(model, type) and issubclass(model, models.Model)):
            raise TypeError(
                f"unlocked() takes models, not {model!r}. To overwrite with one "
                f'object, call its save(on_conflict="overwrite").'
            )
        if version_field(model) is None:
            raise ValueError(f"{model.__name__} has no version, so there is no lock.")
    return _Unlocked(unlocked_models)


class _Unlocked:
    """What ``unlocked()`` returns: it holds for one block, or for a function's calls.

    Two threads that entered the same one could take each other's block out.
    """

    def __init__(self, unlocked_models: Sequence[type[models.Model]]) -> None:
        self._models = unlocked_models
        self._block: AbstractContextManager[None] | None = None

    def _held(self) -> AbstractContextManager[None]:
        return _held(_MODELS, [*self._models])

    def __enter__(self) -> None:
        if self._block is not None:
            raise RuntimeError("Each block needs an unlocked() of its own.")
        self._block = self._held()
        self._block.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._block is not None
        self._block.__exit__(kind, error, traceback)

    def __call__(self, function: _F) -> _F:
        name = getattr(function, "__qualname__", repr(function))  # a partial has none
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            # Between two values, others would run unlocked, and it perhaps wouldn't.
            raise TypeError(
                f"unlocked() can't decorate the generator {name}(). "
                f"Write with unlocked(...): around what it saves."
            )
        if isinstance(function, type):
            raise TypeError(
                f"unlocked() can't decorate the class {name}. Decorate its methods."
            )

        @wraps(function)
        def wrapper(*args: object, **kwargs: object) -> object:
            with self._held():
                return function(*args, **kwargs)

        @wraps(function)
        async def coroutine(*args: object, **kwargs: object) -> object:
            with self._held():
                return await cast("Awaitable[object]", function(*args, **kwargs))

        return cast("_F", coroutine if iscoroutinefunction(function) else wrapper)


@contextmanager
def overwriting(instance: models.Model) -> Iterator[None]:
    """Let the saves of one instance overwrite what others have changed."""
    with _held(_INSTANCES, [instance]):
        yield


@contextmanager
def _held(var: ContextVar[tuple[list[_T], ...]], block: list[_T]) -> Iterator[None]:
    """Hold a block's models or instance in a variable until it ends.

    The block takes out what it has put in. To go back to what was there before would
    bring back another's, if that has ended first, as those of two generators may.
    """
    var.set((*var.get(), block))
    try:
        yield
    finally:
        var.set(tuple(one for one in var.get() if one is not block))


def is_unlocked(instance: models.Model) -> bool:
    """Tell whether a write of an instance overwrites what others have changed."""
    # What a client has named in If-Match is never exchanged for something newer.
    return "_optilock_if_match" not in vars(instance._state) and (
        any(one is instance for block in _INSTANCES.get() for one in block)
        or any(isinstance(instance, tuple(block)) for block in _MODELS.get())
    )


def overwrite(
    field: IntegerVersionField,
    instance: models.Model,
    using: str,
    pk_val: object,
    update: Callable[[], object],
    *,
    is_whole: bool,
) -> object:
    """Send an UPDATE that names no version, and note what the row became.

    Args:
        field: the version field.
        instance: what is saved, and was found to be stale.
        using: the alias of the database.
        pk_val: the primary key of the row.
        update: sends the UPDATE.
        is_whole: whether all fields of the row are written. If not, the instance
            doesn't know what else is in the row, and so mustn't have its number.

    Raises:
        RecordDeletedError: there is no row.
    """
    held = field.held(instance)
    with transaction.atomic(using=using, savepoint=False):
        updated = update_unchecked(field, instance, using, pk_val, update)
        number = vars(instance).get(field.attname)
        if updated and not is_whole:
            forget_version(field, instance, using)
    if not updated:
        raise refusal(field, instance, using, pk_val, held)
    _log(instance, held, number)
    return updated


def seize(
    field: IntegerVersionField, instance: models.Model, using: str, pk_val: object
) -> int | None:
    """Bump the version of a row, whatever it is, and return the new one.

    It is called in a transaction, and claims the row until its end.

    Returns:
        The number, or ``None`` if there is no row.
    """
    held = field.held(instance)
    row = field.rows(using, pk_val)
    with transaction.mark_for_rollback_on_error(using=using):
        if not row._update([(field, None, NextVersion(field))]):  # type: ignore[attr-defined]  # not in the stubs
            return None
        number: int | None = row.values_list(field.attname, flat=True).first()
    _log(instance, held, number)
    return number


def update_unchecked(
    field: IntegerVersionField,
    instance: models.Model,
    using: str,
    pk_val: object,
    update: Callable[[], object],
) -> object:
    """Send an UPDATE that names no version: of a raw save (a fixture's), for instance.

    It isn't checked, but the number goes up: if an old one came back, it would be
    reached a second time while somebody still holds it. The new number is read
    before anybody else can write the row.
    """
    with transaction.atomic(using=using, savepoint=False):
        updated = update()
        if updated:
            note_number(field, instance, using, pk_val)
    return updated


def note_number(
    field: IntegerVersionField, instance: models.Model, using: str, pk_val: object
) -> int | None:
    """Read the number of a row that was just written, in the same transaction.

    Nobody else can have written it since, so the number is the one of that write.
    """
    number: int | None
    number = field.rows(using, pk_val).values_list(field.attname, flat=True).first()
    if number is None:  # row security hides it: then it isn't known
        forget_version(field, instance, using)
    else:
        connection = connections[using]
        rollback.set_until_rollback(connection, instance, field.attname, number)
    return number


def _log(instance: models.Model, held: int, number: int | None) -> None:
    logger.warning(
        "%s with pk %r was overwritten on purpose: version %s was held, the row is "
        "now at %s.",
        instance._meta.label,
        instance.pk,
        held,
        number,
    )
