"""PUT to a URL of the client's own choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.http import Http404
from rest_framework import status
from rest_framework.request import Request, override_method
from rest_framework.response import Response

from optilock.contrib.rest_framework.handling import model_of, refuse_media_type
from optilock.http.preconditions import check_preconditions
from optilock.rows import own_field

if TYPE_CHECKING:
    from optilock.contrib.rest_framework.views import ConditionalMixin as _View
else:  # it is mixed into one
    _View = object

__all__ = ["CreateOnPutMixin"]


class CreateOnPutMixin(_View):
    """Lets a PUT create what isn't there. Put it before ``ConditionalMixin``.

    A client that sends ``If-None-Match: *`` creates, or is told with 412 that
    somebody else was faster. The permissions of a POST are asked. The key is the
    URL's, whatever the body says: ``lookup_field`` must be a field of the model.
    """

    def get_object(self) -> Any:
        try:
            return super().get_object()
        except Http404 as error:
            raise _MissingError(*error.args) from error

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        try:
            return super().update(request, *args, **kwargs)
        except _MissingError:
            if request.method != "PUT":
                raise
            return self._optilock_create(request)

    def _optilock_create(self, request: Request) -> Response:
        with override_method(self, request, "POST") as post:
            self.check_permissions(post)
        refuse_media_type(request)
        model = model_of(self)
        sent = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        name = self.lookup_field
        if name == "pk":
            name = model._meta.pk.name
        try:
            key = own_field(model, name).to_python(sent)
        except ValidationError as error:
            raise Http404 from error
        lookup = {name: key}
        instance = model(**lookup)
        check_preconditions(request, instance, lookup=lookup, **self._optilock_shown())
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.validated_data.update(lookup)
        self.perform_create(serializer)
        return Response(serializer.data, status=status.HTTP_201_CREATED)


class _MissingError(Http404):
    """There is no such object: no error if the request creates it."""
