from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _


class OptilockConfig(AppConfig):
    """Registers the system checks. The lock itself works without it."""

    name = "optilock"
    verbose_name = _("Optimistic locking")

    def ready(self) -> None:
        from optilock.checks import check_versioned_models

        register(check_versioned_models, Tags.models)
