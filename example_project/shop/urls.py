from __future__ import annotations

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index, name="index"),
    path("stock/", views.stock_page, name="stock"),
    path("stock/buy/", views.buy, name="buy"),
    path("wallet/", views.wallet_page, name="wallet"),
    path("wallet/transfer/", views.transfer, name="transfer"),
    path("votes/", views.votes_page, name="votes"),
    path("votes/report/", views.report, name="report"),
    path("bot/", views.bot_page, name="bot"),
    path("bot/press/", views.press, name="press"),
]
