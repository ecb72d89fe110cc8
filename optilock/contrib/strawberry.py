"""Strawberry: the version in GraphQL's types, and a code for conflicts.

Needs ``strawberry-graphql-django`` (``pip install optilock[strawberry]``). Importing
this module tells it which type a version field has: ``version: strawberry.auto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import strawberry
from django.db import DEFAULT_DB_ALIAS, transaction
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry_django.fields.types import field_type_map

from optilock.exceptions import RecordDeletedError, RecordModifiedError
from optilock.fields import IntegerVersionField

if TYPE_CHECKING:
    from strawberry.extensions.field_extension import (
        AsyncExtensionResolver,
        SyncExtensionResolver,
    )

__all__ = ["Conflict", "ConflictExtension", "ConflictResult"]

field_type_map[IntegerVersionField] = int


@strawberry.type(description="Nothing was written: somebody else was faster.")
class Conflict:
    """What a mutation returns in place of an object, see ``ConflictResult``.

    Attributes:
        code: "CONFLICT", or "DELETED".
        message: what happened and what to do next. No field's values.
        current_version: the version of the row, ``None`` if it is deleted.
    """

    code: str
    message: str
    current_version: int | None

    @classmethod
    def of(cls, error: RecordModifiedError) -> Conflict:
        return cls(
            code=_code(error), message=str(error), current_version=error.current_version
        )


class ConflictResult(FieldExtension):
    """Makes a refused write a result of a mutation, not an error of the document.

    For ``@strawberry.mutation(extensions=[ConflictResult()])`` that returns
    ``Annotated[AccountType | Conflict, strawberry.union("…")]``. The resolver runs in
    a transaction; if the write is refused, nothing of it stays. An ``async`` one has
    to see to that itself, since Django has no transactions for coroutines.

    Args:
        using: the alias of the database that the resolver writes to.
    """

    def __init__(self, *, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using

    def resolve(
        self,
        next_: SyncExtensionResolver,
        source: object,
        info: strawberry.Info,
        **kwargs: object,
    ) -> object:
        try:
            with transaction.atomic(using=self.using):
                return next_(source, info, **kwargs)
        except RecordModifiedError as error:
            return Conflict.of(error)

    async def resolve_async(
        self,
        next_: AsyncExtensionResolver,
        source: object,
        info: strawberry.Info,
        **kwargs: object,
    ) -> object:
        try:
            return await next_(source, info, **kwargs)
        except RecordModifiedError as error:
            return Conflict.of(error)


class ConflictExtension(SchemaExtension):
    """Gives the error of a refused write a ``code`` that clients can tell it by.

    ``extensions.code`` is "CONFLICT" or "DELETED"; ``extensions`` has the
    ``current_version`` of the row as well. Put the class into the schema's
    ``extensions``.
    """

    def on_operation(self) -> Iterator[None]:
        yield
        result = self.execution_context.result
        for error in getattr(result, "errors", None) or ():
            original = getattr(error, "original_error", None)
            if isinstance(original, RecordModifiedError):
                error.extensions = {
                    **(error.extensions or {}),
                    "code": _code(original),
                    "current_version": original.current_version,
                }


def _code(error: RecordModifiedError) -> str:
    return "DELETED" if isinstance(error, RecordDeletedError) else "CONFLICT"
