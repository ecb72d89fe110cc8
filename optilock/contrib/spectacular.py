"""drf-spectacular: the headers, answers and problems of ``ConditionalMixin``.

Needs ``drf-spectacular`` (``pip install optilock[spectacular]``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, TypeAlias, cast

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_basic_type
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from optilock.contrib.rest_framework import ConditionalMixin, VersionedListSerializer
from optilock.http.refusals import PROBLEM_JSON

__all__ = ["ConditionalAutoSchema", "ConditionalSchemaMixin", "ProblemSerializer"]


if TYPE_CHECKING:
    from drf_spectacular.utils import _SchemaType, _SerializerType
    from rest_framework.generics import GenericAPIView

    _AutoSchema = AutoSchema
else:  # it is mixed into one
    _AutoSchema = object

#: A status, alone or with a media type.
_Code: TypeAlias = "int | str | tuple[int | str, str]"


class ProblemSerializer(serializers.Serializer):
    """Problem details, RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    current_version = serializers.IntegerField(required=False)
    current = serializers.JSONField(required=False)
    conflicts = serializers.ListField(child=serializers.DictField(), required=False)


_ANSWERS = {
    404: "It isn't there, or was deleted in the meantime.",
    409: "Somebody else was faster; no version was named, or one in the body.",
    412: "If-Match names another version than the current one.",
    428: "If-Match is missing.",
}
#: Which answers have a tag, where that isn't 200 and 412.
_TAGGED: dict[tuple[str | None, str], list[int]] = {
    ("object", "GET"): [200, 304],
    ("object", "DELETE"): [412],
    ("list", "GET"): [200, 304],
    ("list", "POST"): [201, 412],
    ("bulk", "PUT"): [412],
    ("bulk", "PATCH"): [412],
}


class ConditionalSchemaMixin(_AutoSchema):
    """Describes views with ``ConditionalMixin``; put it before an ``AutoSchema``."""

    view: GenericAPIView
    method: str
    path: str

    def _optilock_subject(self) -> str | None:
        """Return what a request is about, as far as it has preconditions."""
        view = self.view
        if not isinstance(view, ConditionalMixin):
            return None
        keyword = view.lookup_url_kwarg or view.lookup_field
        names = {keyword, "id"} if keyword == "pk" else {keyword}
        if any(f"{{{name}}}" in self.path for name in names):
            return "object"
        if self.method in ("PUT", "PATCH"):
            serializer = super().get_request_serializer()
            return "bulk" if _is_versioned_list(serializer) else None
        action = {"GET": "list", "POST": "create"}.get(self.method)
        is_usual = action and getattr(view, "action", action) == action
        return "list" if is_usual and hasattr(view, str(action)) else None

    def _optilock_has_tag(self) -> bool:
        """Tell whether what a request is about has a tag."""
        subject = self._optilock_subject()
        if subject in ("list", "bulk"):
            own = type(self.view).get_list_etag
            return own is not ConditionalMixin.get_list_etag
        return subject is not None

    def get_override_parameters(self) -> list[OpenApiParameter | _SerializerType]:
        parameters = list(super().get_override_parameters())
        if not self._optilock_has_tag():
            return parameters
        is_object = self._optilock_subject() == "object"
        if self.method == "GET":
            text = "The ETag of what the client has: 304."
            parameters.append(_header("If-None-Match", text))
        else:
            text = "The ETag of what is to be changed."
            required = is_object and self.view.precondition_required
            parameters.append(_header("If-Match", text, required=required))
        codes = _TAGGED.get((self._optilock_subject(), self.method), [200, 412])
        text = "The version of what is answered."
        return [*parameters, _header("ETag", text, response=codes)]

    def get_request_serializer(self) -> _SerializerType:
        serializer: serializers.BaseSerializer = super().get_request_serializer()
        if self._optilock_subject() == "bulk":
            return type(serializer)(many=True, partial=self.method == "PATCH")
        return serializer

    def __init_subclass__(cls, **kwargs: object) -> None:
        # One is made for each `@extend_schema`: what that describes isn't all.
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("get_response_serializers")
        if own is not None:
            cls.get_response_serializers = _with_others(own)  # type: ignore[method-assign]

    def get_response_serializers(self) -> object:
        answers: object = super().get_response_serializers()
        if self._optilock_subject() == "bulk" and isinstance(
            answers, serializers.BaseSerializer
        ):
            answers = type(answers)(many=True)
        return self._optilock_add_others(answers)

    def _optilock_add_others(self, answers: object) -> object:
        """Add the answers that the mixin gives to those that are described."""
        others: dict[_Code, object] = {}
        if self.method != "GET":
            for code in self._optilock_problems():
                others[code, PROBLEM_JSON] = OpenApiResponse(
                    ProblemSerializer, description=_ANSWERS[code]
                )
        elif self._optilock_has_tag():
            others[304] = OpenApiResponse(description="Not modified.")
        if not others:
            return answers
        if self.method == "DELETE" and not isinstance(answers, dict):
            answers = {204: None}  # whatever the serializer, as without the mixin
        elif not isinstance(answers, dict):
            is_create = self.method == "POST" and self._optilock_subject() == "list"
            answers = {201 if is_create else 200: answers}
        described = {*map(_status, answers)}
        return answers | {
            code: other
            for code, other in others.items()
            if _status(code) not in described
        }

    def _optilock_problems(self) -> list[int]:
        """Return the statuses by which a request that may write is refused."""
        subject, has_tag = self._optilock_subject(), self._optilock_has_tag()
        is_required = subject == "object" and self.view.precondition_required
        problems = {
            404: subject == "object",
            409: subject in ("object", "bulk"),
            412: has_tag,
            428: is_required,
        }
        return [code for code, applies in problems.items() if applies]


class ConditionalAutoSchema(ConditionalSchemaMixin, AutoSchema):
    """``DEFAULT_SCHEMA_CLASS``, where it isn't one of your own."""


class _ETagFieldExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # its base
    target_class = "optilock.contrib.rest_framework.ETagField"

    def map_serializer_field(
        self, auto_schema: AutoSchema, direction: str
    ) -> _SchemaType:
        return cast("_SchemaType", build_basic_type(OpenApiTypes.STR))


def _with_others(own: Callable[..., object]) -> Callable[..., object]:
    @wraps(own)
    def get_response_serializers(self: ConditionalSchemaMixin) -> object:
        return self._optilock_add_others(own(self))

    return get_response_serializers


def _status(code: _Code) -> str:
    return str(code[0] if isinstance(code, tuple) else code)


def _is_versioned_list(serializer: object) -> bool:
    meta = getattr(serializer, "Meta", None)
    kind = getattr(meta, "list_serializer_class", serializers.ListSerializer)
    return issubclass(kind, VersionedListSerializer)


def _header(
    name: str,
    description: str,
    *,
    required: bool = False,
    response: bool | Sequence[int | str] = False,
) -> OpenApiParameter:
    return OpenApiParameter(
        name=name,
        type=OpenApiTypes.STR,
        location=OpenApiParameter.HEADER,
        description=description,
        required=required,
        response=response,
    )
