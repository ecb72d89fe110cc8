from __future__ import annotations

from django.urls import include, path

from shop import views
from shop.api import router

urlpatterns = [
    path("", views.index, name="index"),
    path("api/", include(router.urls)),
    path("orders/<slug:number>/", views.order, name="order"),
    path("<slug:slug>/", views.story, name="story"),
]
