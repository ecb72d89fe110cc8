"""The version in bodies."""

from __future__ import annotations

from django.db.models import Model
from rest_framework import serializers
from rest_framework.fields import SkipField, empty

from optilock.contrib.rest_framework.state import RequestState
from optilock.http.errors import VersionMismatch
from optilock.http.preconditions import Preconditions, pin
from optilock.http.tags import etag_of, field_of

__all__ = ["ETagField", "VersionField"]


class VersionField(serializers.IntegerField):
    """The version in the body, for clients that can't send ``If-Match``.

    An update, also a partial one, has to bring the version that it is about, unless
    the request has an ``If-Match``. If the row is at another version, nothing is
    written, and the answer is 409. A create ignores it.

    The field's source is the version field of the model. For lists, see
    ``VersionedListSerializer``. In a list of another kind, or in a nested serializer,
    the number stays in ``validated_data``, because only your ``update()`` knows which
    row is meant; there, an ``If-Match`` doesn't stand in for it. A nested object
    that may be new takes ``VersionField(required=False)``.
    """

    def __init__(self, **kwargs: object) -> None:
        kwargs.setdefault("required", True)
        super().__init__(**kwargs)

    def run_validation(self, data: object = empty) -> int | None:
        root, serializer = self.root, self.parent
        if root.instance is None:
            raise SkipField  # there is no row yet
        state = getattr(self.context.get("view"), "_optilock", None)
        if isinstance(state, RequestState) and state.is_replaying:
            raise SkipField  # it is known not to be the current one
        if data is empty:
            may_be_left_out = self._is_in_header if serializer is root else self._is_new
            if may_be_left_out():
                raise SkipField
            self.fail("required")
        version: int | None = super().run_validation(data)
        if serializer.instance is None or not hasattr(serializer.instance, "_state"):
            return version
        _compare_after_validation(serializer, version)
        # It is compared, never assigned: a stale copy of the row would pass.
        raise SkipField

    def _is_new(self) -> bool:
        """Tell whether a part without a version may be a new one."""
        return not self.required and self.parent.instance is None

    def _is_in_header(self) -> bool:
        request = self.context.get("request")
        return request is not None and Preconditions.of(request).if_match is not None


class _Comparison:
    """Runs after all fields are valid: an unreadable body is 400 before 409."""

    requires_context = True
    version: int | None

    def __call__(self, attrs: object, serializer: serializers.BaseSerializer) -> None:
        instance = serializer.instance
        current = field_of(instance).held(instance)
        if self.version != current:
            raise VersionMismatch(
                "The version in the body isn't the current one: it was changed in the "
                "meantime. Nothing was written. Get it, and decide again.",
                current_version=current,
            )
        pin(instance)


def _compare_after_validation(
    serializer: serializers.BaseSerializer, version: int | None
) -> None:
    for comparison in serializer.validators:
        if isinstance(comparison, _Comparison):
            break
    else:
        comparison = _Comparison()
        serializer.validators = [*serializer.validators, comparison]
    comparison.version = version


class ETagField(serializers.Field):
    """The ``If-Match`` for each object of a list: ``"\\"7\\""``. Read-only."""

    def __init__(self, **kwargs: object) -> None:
        kwargs["source"] = "*"
        kwargs["read_only"] = True
        super().__init__(**kwargs)

    def to_representation(self, value: Model) -> str:
        epoch_of = getattr(self.context.get("view"), "get_etag_epoch", None)
        # A nested object isn't what the view is about.
        if self.parent not in (self.root, getattr(self.root, "child", None)):
            epoch_of = None
        return str(etag_of(value, epoch=epoch_of and epoch_of(value)))
