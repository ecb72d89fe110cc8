from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from contracts.packages import CHOSEN

urlpatterns = [
    *(path("more/", include(module)) for module in CHOSEN.urls),
    path("admin/", admin.site.urls),
]
