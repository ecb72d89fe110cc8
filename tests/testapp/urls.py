from __future__ import annotations

from django.urls import path

from testapp import views
from testapp.admin import plain_site, site

urlpatterns: list[object] = [
    path("admin/", site.urls),
    path("plain/", plain_site.urls),
    path("memos/<int:pk>/", views.MemoUpdate.as_view(), name="memo"),
    path("memos/<int:pk>/own/", views.OwnTemplate.as_view(), name="own"),
    path("memos/<int:pk>/delete/", views.MemoDelete.as_view(), name="delete"),
]
