"""``bulk_create(update_conflicts=True)``: the rows it overwrites are bumped.

That is an ``INSERT`` whose end says what to do with a row that is there already. The
text of that end comes from ``connection.ops.on_conflict_suffix_sql()``; here it gets
one more assignment, ``version = table.version + 1``. Nothing can be checked, as the
objects were never loaded.

What an object knows of its row afterwards is what the statement itself returns. Where
it doesn't know it, it holds no version and can't be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING

from django.db import connections, models, router

from optilock import keys, loaded, rollback
from optilock.djangos import not_called
from optilock.expressions import next_version_sql
from optilock.rows import forget_version

if TYPE_CHECKING:
    from django.db.backends.base.operations import BaseDatabaseOperations
    from django.db.models.constants import OnConflict

    from optilock.fields import IntegerVersionField
    from optilock.rows import ModelField


__all__ = ["upsert"]


class _Upsert:
    """One statement under way."""

    def __init__(self, version: IntegerVersionField) -> None:
        self.version = version
        self.is_bumped = False


#: The statement that is being made; no other thread or task sees it.
_under_way: ContextVar[_Upsert | None] = ContextVar("optilock_upsert", default=None)


def upsert(
    insert: Callable[..., list[tuple[object, ...]]],
    version: IntegerVersionField,
    objs: Sequence[models.Model],
    *,
    fields: Sequence[ModelField],
    update_fields: Sequence[ModelField],
    unique_fields: Sequence[ModelField] | None,
    returning_fields: Sequence[ModelField] | None = None,
    using: str,
    **kwargs: object,
) -> list[tuple[object, ...]]:
    """Insert objects or overwrite their rows, and bump the versions of these.

    Args:
        insert: what would have been called, ``QuerySet._insert()``.
        version: the version field of the objects' model.
        objs: the objects.
        fields: as Django's, and so are the others.

    Returns:
        What the statement returned of ``returning_fields``.
    """
    is_bumping = not version.excludes([field.name for field in update_fields])
    asked = list(returning_fields or ())
    tells = connections[using].features.can_return_rows_from_bulk_insert
    answers = [*version.model._meta.pk_fields, version] if tells else []
    with _bumping(version if is_bumping else None, using):
        rows = insert(
            objs,
            fields=fields,
            update_fields=update_fields,
            unique_fields=unique_fields,
            returning_fields=[*asked, *answers] or None,
            using=using,
            **kwargs,
        )
    settled = {*update_fields, *(unique_fields or ()), *version.model._meta.pk_fields}
    is_whole = settled.union([version]).issuperset(fields)
    told = [row[len(asked) :] for row in rows] if len(rows) == len(objs) else []
    for obj, answer in zip(objs, told or [()] * len(objs), strict=True):
        number = _number(obj, answer)
        held = _held(version, obj, using)
        if held is not None and number == held + is_bumping:
            _know(obj, version, number, using, [*update_fields, version])
        elif number is not None and is_whole:
            _know(obj, version, number, using, fields)
        elif held is None or number is None or number <= held:
            forget_version(version, obj, using)
    return [row[: len(asked)] for row in rows] if asked else []


def _number(obj: models.Model, answer: Sequence[object]) -> int | None:
    """Return the version of an object's row; ``None`` if it isn't known."""
    if not answer:
        return None
    *key, number = answer
    if obj._is_pk_set() and key != [  # type: ignore[attr-defined]  # not in the stubs
        field.to_python(getattr(obj, field.attname)) for field in obj._meta.pk_fields
    ]:
        return None  # the row that was there has another key than the object
    # SQLite answers as it stores the table's first column: 1.0, say.
    exact = int(number)  # type: ignore[call-overload]  # it is one
    return exact if abs(exact) < 2**53 or type(number) is int else None


def _held(version: IntegerVersionField, obj: models.Model, using: str) -> int | None:
    """Return the version that an object was loaded or saved at, if it was.

    Another database may have the same number by chance, unless it is the one that the
    router writes such objects to: a replica's are the primary's.
    """
    if obj._state.adding or keys.has_new_key(obj):
        return None
    home = (obj._state.db, router.db_for_write(type(obj), instance=obj))
    if using not in home:
        return None
    number: int | None = vars(obj).get(version.attname)
    return number


def _know(
    obj: models.Model,
    version: IntegerVersionField,
    number: int,
    using: str,
    fields: Iterable[ModelField],
) -> None:
    """Let an object hold the version and what was written of its row."""
    rollback.set_until_rollback(connections[using], obj, version.attname, number)
    if loaded.recall(obj) is not None:
        values = vars(obj)
        known = {f.attname: values.get(f.attname, loaded.UNKNOWN) for f in fields}
        computed = [f.attname for f in obj._meta.concrete_fields if f.generated]
        known |= dict.fromkeys(computed, loaded.UNKNOWN)
        loaded.note(obj, using, known)


@contextmanager
def _bumping(version: IntegerVersionField | None, using: str) -> Iterator[None]:
    """Have the upsert that is compiled in this block bump the version.

    Raises:
        RuntimeError: it didn't.
    """
    if version is None:
        yield
        return
    _watch(connections[using].ops)
    statement = _Upsert(version)
    before = _under_way.set(statement)
    try:
        yield
    finally:
        _under_way.reset(before)
    if not statement.is_bumped:
        rows = f"Rows of {version.model._meta.label}"
        fact = f"{rows} were overwritten without bumping their versions"
        raise not_called("on_conflict_suffix_sql()", fact)


def _watch(ops: BaseDatabaseOperations) -> None:
    """Put one more assignment into the upserts of a connection, if asked to."""
    make = ops.on_conflict_suffix_sql
    if hasattr(make, "_optilock_wrapped"):
        return

    @wraps(make)
    def on_conflict_suffix_sql(
        fields: Sequence[ModelField],
        on_conflict: OnConflict | None,
        update_fields: Iterable[str],
        unique_fields: Iterable[str],
    ) -> str:
        statement = _under_way.get()
        if statement is None or statement.version not in fields:
            return make(fields, on_conflict, update_fields, unique_fields)
        version = statement.version
        columns = [column for column in update_fields if column != version.column]
        suffix = make(fields, on_conflict, columns, unique_fields)
        statement.is_bumped = True
        column = ops.quote_name(str(version.column))
        bumped = next_version_sql(version, ops.connection)
        return f"{suffix}{', ' if columns else ''}{column} = {bumped}"

    on_conflict_suffix_sql._optilock_wrapped = True  # type: ignore[attr-defined]
    ops.on_conflict_suffix_sql = on_conflict_suffix_sql  # type: ignore[method-assign]  # it calls the old one
