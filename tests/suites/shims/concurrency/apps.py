from django.apps import AppConfig

from concurrency import THEIRS


class ConcurrencyConfig(AppConfig):
    name = "concurrency"
    path = str(THEIRS)
