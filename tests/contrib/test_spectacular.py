"""The schema says what ConditionalMixin does."""

from __future__ import annotations

import pytest
from django.test import override_settings
from django.urls import path
from testapp.models import Account

pytest.importorskip("drf_spectacular", reason="needs drf-spectacular")

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.validation import validate_schema
from rest_framework import generics, routers, serializers, viewsets
from rest_framework.pagination import PageNumberPagination

from optilock.contrib.rest_framework import (
    ConditionalMixin,
    ETagField,
    VersionedListSerializer,
    VersionField,
)
from optilock.contrib.spectacular import ConditionalAutoSchema
from optilock.http import etag_of_list


class AccountSerializer(serializers.ModelSerializer):
    version = VersionField()
    etag = ETagField()

    class Meta:
        model = Account
        fields = ["id", "owner", "balance", "version", "etag"]


class Accounts(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Account.objects.all()
    serializer_class = AccountSerializer
    schema = ConditionalAutoSchema()
    precondition_required = True


class Optional(Accounts):
    precondition_required = False


class Tagged(Accounts):
    pagination_class = PageNumberPagination

    def get_list_etag(self, rows):
        return etag_of_list(rows)


class OwnSchema(AutoSchema):
    def get_response_serializers(self):
        return {200: AccountSerializer, 412: None}


class BothSchemas(ConditionalAutoSchema, OwnSchema):
    pass


class Described(Accounts):
    schema = BothSchemas()


# The decorator extends the class that the project's settings name.
AS_OURS = override_settings(
    REST_FRAMEWORK={
        "DEFAULT_SCHEMA_CLASS": "optilock.contrib.spectacular.ConditionalAutoSchema"
    }
)


def described(responses):
    def method(self, request, *args, **kwargs):
        raise NotImplementedError

    with AS_OURS:
        return extend_schema(responses=responses)(method)


class Extended(Accounts):
    """Its answers are described by decorators."""

    update = described(AccountSerializer)
    partial_update = described({202: AccountSerializer, 412: None})
    destroy = described(None)
    retrieve = described(OpenApiTypes.OBJECT)


class ItemSerializer(serializers.ModelSerializer):
    id = serializers.IntegerField()
    version = VersionField()

    class Meta:
        model = Account
        fields = ["id", "owner", "version"]
        list_serializer_class = VersionedListSerializer


class Many(ConditionalMixin, generics.GenericAPIView):
    queryset = Account.objects.all()
    serializer_class = ItemSerializer
    schema = ConditionalAutoSchema()

    def put(self, request):
        raise NotImplementedError

    patch = post = put


class ExtendedMany(Many):
    put = described(AccountSerializer)


class TaggedMany(Many):
    get_list_etag = Tagged.get_list_etag


class Plain(viewsets.ModelViewSet):
    queryset = Account.objects.all()
    serializer_class = AccountSerializer
    schema = ConditionalAutoSchema()


@pytest.fixture(scope="module")
def schema():
    router = routers.SimpleRouter()
    for view in [Accounts, Described, Extended, Optional, Plain, Tagged]:
        router.register(view.__name__.lower(), view, basename=view.__name__.lower())
    urls = [
        *router.urls,
        path("many/", Many.as_view()),
        path("extended-many/", ExtendedMany.as_view()),
        path("tagged-many/", TaggedMany.as_view()),
    ]
    GENERATOR_STATS.reset()
    schema = SchemaGenerator(patterns=urls).get_schema(public=True)
    assert not GENERATOR_STATS, GENERATOR_STATS.emit_summary()
    return schema


def headers_of(operation):
    return {
        parameter["name"]: parameter.get("required", False)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "header"
    }


def test_the_schema_is_valid_and_comes_without_warnings(schema):
    validate_schema(schema)


def test_a_delete_is_answered_with_nothing(schema):
    answers = schema["paths"]["/accounts/{id}/"]["delete"]["responses"]
    assert "content" not in answers["204"]
    assert "200" not in answers


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_change_has_if_match_and_its_answers(schema, method):
    operation = schema["paths"]["/accounts/{id}/"][method]
    assert headers_of(operation) == {"If-Match": True}
    assert {"404", "409", "412", "428"} <= set(operation["responses"])
    refused = operation["responses"]["412"]
    assert "ETag" in refused["headers"]
    problem = refused["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}


def test_what_a_schema_of_the_project_says_of_the_answers_stays(schema):
    answers = schema["paths"]["/described/{id}/"]["put"]["responses"]
    assert set(answers) == {"200", "404", "409", "412", "428"}
    assert "content" not in answers["412"]
    assert "application/problem+json" in answers["428"]["content"]


@pytest.mark.parametrize(
    ("method", "statuses"),
    [
        ("get", {"200", "304"}),
        ("put", {"200", "404", "409", "412", "428"}),
        ("patch", {"202", "404", "409", "412", "428"}),
        ("delete", {"204", "404", "409", "412", "428"}),
    ],
)
def test_what_a_decorator_says_of_the_answers_is_not_all(schema, method, statuses):
    answers = schema["paths"]["/extended/{id}/"][method]["responses"]
    assert set(answers) == statuses
    assert ("content" in answers.get("412", {})) is (method in ("put", "delete"))
    [described] = statuses & {"200", "202", "204"}
    content = answers[described].get("content", {"application/json": {}})
    assert content["application/json"].get("schema") == {
        "get": {"type": "object", "additionalProperties": {}},
        "delete": None,
    }.get(method, {"$ref": "#/components/schemas/Account"})


def test_what_a_decorator_says_of_a_change_of_many_is_no_list(schema):
    answers = schema["paths"]["/extended-many/"]["put"]["responses"]
    assert set(answers) == {"200", "409"}
    said = answers["200"]["content"]["application/json"]["schema"]
    assert said == {"$ref": "#/components/schemas/Account"}


def test_where_it_is_not_required_there_is_no_428(schema):
    operation = schema["paths"]["/optional/{id}/"]["put"]
    assert headers_of(operation) == {"If-Match": False}
    assert "428" not in operation["responses"]


def test_a_get_has_if_none_match_and_an_etag(schema):
    operation = schema["paths"]["/accounts/{id}/"]["get"]
    assert headers_of(operation) == {"If-None-Match": False}
    assert set(operation["responses"]) == {"200", "304"}
    assert "ETag" in operation["responses"]["200"]["headers"]


def test_a_tagged_list_has_if_none_match_and_is_not_always_sent(schema):
    operation = schema["paths"]["/tagged/"]["get"]
    assert headers_of(operation) == {"If-None-Match": False}
    assert set(operation["responses"]) == {"200", "304"}
    assert "content" not in operation["responses"]["304"]
    for answer in operation["responses"].values():
        assert "ETag" in answer["headers"]
    page = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert page == {"$ref": "#/components/schemas/PaginatedAccountList"}


def test_a_post_to_a_tagged_list_has_if_match_but_needs_none(schema):
    operation = schema["paths"]["/tagged/"]["post"]
    assert headers_of(operation) == {"If-Match": False}
    assert set(operation["responses"]) == {"201", "412"}


@pytest.mark.parametrize(
    ("path", "headers", "statuses"),
    [
        ("/many/", {}, {"200", "409"}),
        ("/tagged-many/", {"If-Match": False}, {"200", "409", "412"}),
    ],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_change_of_many_takes_a_list_and_may_be_a_conflict(
    schema, path, headers, statuses, method
):
    operation = schema["paths"][path][method]
    assert headers_of(operation) == headers
    assert set(operation["responses"]) == statuses
    for body in (operation["requestBody"], operation["responses"]["200"]):
        assert body["content"]["application/json"]["schema"]["type"] == "array"
    problem = operation["responses"]["409"]["content"]["application/problem+json"]
    assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/accounts/", "get"),
        ("/accounts/", "post"),
        ("/many/", "post"),
        ("/plain/{id}/", "put"),
    ],
)
def test_what_is_about_no_object_and_other_views_are_left_alone(schema, path, method):
    operation = schema["paths"][path][method]
    assert headers_of(operation) == {}
    assert len(operation["responses"]) == 1


def test_the_fields_have_their_types(schema):
    properties = schema["components"]["schemas"]["Account"]["properties"]
    assert properties["etag"] == {"type": "string", "readOnly": True}
    assert properties["version"]["type"] == "integer"
