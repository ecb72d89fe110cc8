"""Django REST framework: If-Match for generic views and viewsets.

Needs ``djangorestframework`` (``pip install optilock[rest-framework]``).
"""

from __future__ import annotations

from optilock.contrib.rest_framework.creating import CreateOnPutMixin
from optilock.contrib.rest_framework.errors import Refused, exception_handler
from optilock.contrib.rest_framework.fields import ETagField, VersionField
from optilock.contrib.rest_framework.lists import VersionedListSerializer
from optilock.contrib.rest_framework.views import ConditionalMixin

__all__ = [
    "ConditionalMixin",
    "CreateOnPutMixin",
    "ETagField",
    "Refused",
    "VersionField",
    "VersionedListSerializer",
    "exception_handler",
]
