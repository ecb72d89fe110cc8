from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _


class OptilockConfig(AppConfig):
    """Registers the system checks. The lock itself works without it."""

    name = "optilock"
    verbose_name = _("Optimistic locking")

    def ready(self) -> None:
        from optilock.checks import check_versioned_models

        register(check_versioned_models, Tags.models)
        if apps.is_installed("django.contrib.admin"):
            from optilock.admin.checks import check_admin_sites

            register(check_admin_sites, Tags.admin)
