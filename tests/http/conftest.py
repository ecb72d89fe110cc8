from __future__ import annotations

import pytest


@pytest.fixture
def middleware(settings):
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "optilock.http.middleware.ConflictMiddleware",
    ]
