from __future__ import annotations

from django.urls import path

from testapp import views
from testapp.admin import plain_site, site

urlpatterns: list[object] = [
    path("admin/", site.urls),
    path("plain/", plain_site.urls),
    path("memos/<int:pk>/", views.MemoUpdate.as_view(), name="memo"),
    path(
        "keyed/<int:pk>/", views.MemoUpdate.as_view(), {"key": "SECRET"}, name="keyed"
    ),
    path("memos/<int:pk>/watched/", views.WatchedMemo.as_view(), name="watched"),
    path("memos/<int:pk>/edit/", views.edit_memo, name="edit"),
    path("memos/<int:pk>/polled/", views.PolledMemo.as_view(), name="polled"),
    path("memos/<int:pk>/own/", views.OwnTemplate.as_view(), name="own"),
    path("memos/<int:pk>/delete/", views.MemoDelete.as_view(), name="delete"),
    path("memos/<int:pk>/autosave/", views.MemoAutosave.as_view(), name="autosave"),
    path("parcels/<code>/", views.ParcelUpdate.as_view(), name="parcel"),
    path("parcels/<code>/weight/", views.ParcelWeight.as_view(), name="weight"),
    path("parcels/<code>/delete/", views.ParcelDelete.as_view(), name="delete_parcel"),
    path(
        "composites/<int:tenant>/<int:number>/",
        views.CompositeUpdate.as_view(),
        name="composite",
    ),
]
