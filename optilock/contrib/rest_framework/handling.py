"""How a request that may write is handled: checked, in a transaction, once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.db import router, transaction
from django.db.models import Model, QuerySet
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, ModelSerializer

from optilock.contrib.rest_framework.fields import VersionField
from optilock.contrib.rest_framework.replays import replayed
from optilock.exceptions import error_for
from optilock.http.errors import PreconditionError
from optilock.http.preconditions import Preconditions
from optilock.http.refusals import may_hold
from optilock.http.tags import ETag, field_of
from optilock.http.targets import all_noted, forget_noted
from optilock.models import VersionedModel
from optilock.rows import read_row, version_field
from optilock.uploads import rewind_files

if TYPE_CHECKING:
    from rest_framework.generics import GenericAPIView

    from optilock.contrib.rest_framework.views import ConditionalMixin

__all__ = [
    "check_collection",
    "handle",
    "hold_for_delete",
    "model_of",
    "refuse_media_type",
    "requires_header",
    "tag_of_list",
    "transaction_of",
    "transaction_of_update",
]

#: Of Django REST framework, these do nothing but call the ``perform_*`` methods.
_HANDLERS = ("create", "update", "partial_update", "destroy")


def handle(
    view: ConditionalMixin,
    handler: Callable[..., Response],
    request: Request,
    *args: object,
    **kwargs: object,
) -> Response:
    """Call the handler of a request that may write."""
    view._optilock.is_checked = "HTTP_IF_MATCH" not in request.META
    if request.method == "POST" and _is_create(view, handler):
        refuse_media_type(request)
        check_collection(view)

    def attempt() -> Response:
        with _transaction(view, handler):
            response = handler(request, *args, **kwargs)
            if not view._optilock.is_checked and not all_noted(request):
                raise ImproperlyConfigured(
                    f"{type(view).__name__} has answered a request without looking "
                    f"at its If-Match. Get the object with self.get_object(), and "
                    f"call super() where you override it, or call "
                    f"optilock.http.check_preconditions()."
                )
            return response

    try:
        return attempt()
    except Exception as error:
        if view.answer_replays and isinstance(error, PreconditionError):
            response = replayed(view, request, error)
            if response is not None:
                return response
        if not may_hold(error, request):
            raise
    forget_noted(request)
    rewind_files(request.FILES)
    return attempt()


def model_of(view: GenericAPIView) -> type[Model]:
    model: type[Model] = view.get_queryset().model
    return model


def refuse_media_type(request: Request) -> None:
    """Say 415 before 412: parsing is lazy, and would come after the check."""
    if request.method not in ("POST", "PUT", "PATCH"):
        return
    if any(parser.media_type == request.content_type for parser in request.parsers):
        return  # as nearly always, so nothing has to be taken apart
    if request.stream is not None:
        parser = request.negotiator.select_parser(request, request.parsers)
        if parser is None:
            raise UnsupportedMediaType(request.content_type)


def requires_header(view: ConditionalMixin) -> bool:
    """Tell whether a request without ``If-Match`` is to be refused."""
    if not view.precondition_required or "HTTP_IF_MATCH" in view.request.META:
        return False
    if view.request.method not in ("PUT", "PATCH"):
        return True
    # Its VersionField, if it has one, is required now.
    fields = getattr(view.get_serializer(), "fields", {})
    return not any(isinstance(field, VersionField) for field in fields.values())


def hold_for_delete(instance: Model) -> None:
    """Lock the row, if the model's ``delete()`` doesn't look at the version.

    That is so with the version field alone. Costs a query there, in the transaction
    of the delete.

    Raises:
        RecordModifiedError: the row was changed.
        RecordDeletedError: it is deleted already.
    """
    if isinstance(instance, VersionedModel):
        return
    field = field_of(instance)
    using = router.db_for_write(type(instance), instance=instance)
    row = read_row(instance, using, instance.pk, lock=True)
    expected = field.held(instance)
    current = None if row is None else field.held(row)
    if current == expected:
        return
    raise error_for(
        instance=instance,
        using=using,
        expected_version=expected,
        current_version=current,
    )


def check_collection(view: ConditionalMixin) -> None:
    """Compare with the collection that the request is sent to."""
    view._optilock.is_checked = True
    preconditions = Preconditions.of(view.request)
    if preconditions.if_match is None and preconditions.if_none_match is None:
        return
    rows = view.filter_queryset(view.get_queryset())
    preconditions.check_tag(tag_of_list(view, rows, view.paginate_queryset(rows)))


def tag_of_list(
    view: ConditionalMixin, queryset: QuerySet[Model], page: Sequence[Model] | None
) -> ETag | None:
    """Return the tag of a list: of its rows, and of what a paginator puts around."""
    tag = view.get_list_etag(queryset if page is None else page)
    if tag is None or page is None:
        return tag
    return tag.varied(repr(view.get_paginated_response([]).data))


def _is_create(view: ConditionalMixin, handler: Callable[..., Response]) -> bool:
    if hasattr(view, "action"):
        return bool(view.action == "create")
    return hasattr(view, "create") and _is_of_framework(handler)


def _transaction(
    view: ConditionalMixin, handler: Callable[..., Response]
) -> AbstractContextManager[None]:
    handlers = [handler, *_defined(type(view), _HANDLERS)]
    is_plain = all(map(_is_of_framework, handlers)) and view._optilock_performs()
    view._optilock.is_plain = is_plain
    if is_plain:
        return nullcontext()
    using = router.db_for_write(model_of(view))
    if any(using in getattr(h, "_non_atomic_requests", ()) for h in handlers):
        return nullcontext()  # it sees to it itself, as retry_on_conflict does
    return transaction.atomic(using=using)


def _defined(cls: type, names: tuple[str, ...]) -> list[Callable[..., Response]]:
    """Return each definition of some methods, those that are overridden as well."""
    return [
        defined[name]
        for defined in map(vars, cls.__mro__)
        for name in names
        if name in defined
    ]


def transaction_of(
    view: ConditionalMixin, instance: object
) -> AbstractContextManager[None]:
    """Return the transaction for a write of an instance, or of what isn't one."""
    if isinstance(instance, Model):
        return transaction.atomic(
            router.db_for_write(type(instance), instance=instance)
        )
    return transaction.atomic(router.db_for_write(model_of(view)))


def transaction_of_update(
    view: ConditionalMixin, serializer: BaseSerializer
) -> AbstractContextManager[None]:
    """Return the transaction for what ``perform_update()`` writes.

    There is none where that is a single UPDATE: a transaction would only cost, on a
    server two or three round trips.
    """
    instance = serializer.instance
    if isinstance(instance, Model) and _is_one_update(view, serializer, instance):
        return nullcontext()
    return transaction_of(view, instance)


def _is_one_update(
    view: ConditionalMixin, serializer: BaseSerializer, instance: Model
) -> bool:
    model, kind = type(instance), type(serializer)
    field = version_field(model)
    names = {one.name for one in model._meta.concrete_fields}
    # What stands behind the mixin may write other rows beside this one.
    behind = _defined(type(view), ("perform_update",))
    return (
        view._optilock.is_plain
        and all(map(_is_of_framework, behind))
        and not view.claims_first
        and kind.save is BaseSerializer.save
        and kind.update is ModelSerializer.update
        and names.issuperset(serializer.validated_data)
        and getattr(instance, "on_conflict", "raise") == "raise"
        and model.save in (Model.save, VersionedModel.save)
        and field is not None
        and field.lock.saves_by_one_update(instance)
    )


def _is_of_framework(method: object) -> bool:
    module: str = getattr(method, "__module__", None) or ""
    return module.startswith(("rest_framework.", "optilock.contrib.rest_framework."))
