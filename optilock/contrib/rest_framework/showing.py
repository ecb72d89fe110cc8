"""What a client whose request is refused may see of the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import Model
from django.http import Http404
from rest_framework import exceptions
from rest_framework.request import override_method

from optilock.http.tags import field_of

if TYPE_CHECKING:
    from optilock.contrib.rest_framework.views import ConditionalMixin

__all__ = ["shown_by_get"]


def shown_by_get(view: ConditionalMixin, row: Model) -> object:
    """Return what a GET would answer, ``None`` if the client may not send it.

    ``None`` as well if that is another row, or another state of it.
    """
    is_routed = "get" in getattr(view, "action_map", {"get": None})
    if not is_routed or not hasattr(view, "get"):
        return None
    view._optilock.is_showing, view._optilock.found = True, None
    try:
        with override_method(view, view.request, "GET") as request:
            view.check_permissions(request)
            data = view.get(request, *view.args, **view.kwargs).data
    except (exceptions.APIException, PermissionDenied, Http404, DatabaseError):
        return None
    finally:
        view._optilock.is_showing = False
    found = view._optilock.found
    if found is None:
        return None
    field = field_of(row)
    is_same = field.held(found) == field.held(row)
    return data if is_same else None
