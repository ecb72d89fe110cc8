from __future__ import annotations

from django.apps import AppConfig


class UnlockedConfig(AppConfig):
    name = "unlocked"
    verbose_name = "The same models without the lock"
