"""The views in testapp/http.py for real servers.

OPTILOCK_SERVED is the name of the suite's own database.
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testapp.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

settings.DATABASES["default"]["NAME"] = os.environ["OPTILOCK_SERVED"]
settings.MIDDLEWARE = ["optilock.http.middleware.ConflictMiddleware"]
settings.ROOT_URLCONF = __name__
settings.ALLOWED_HOSTS = ["127.0.0.1"]

wsgi, asgi = get_wsgi_application(), get_asgi_application()
urlpatterns = [path("", include("testapp.http"))]
