"""A client of the views in testapp/api.py."""

from __future__ import annotations

import json

from rest_framework.test import APIClient


def send(method, path, body=None, **headers):
    return APIClient().generic(
        method,
        path,
        "" if body is None else json.dumps(body),
        content_type=headers.pop("content_type", "application/json"),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
