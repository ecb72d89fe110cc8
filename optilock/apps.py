from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _

__all__ = ["OptilockConfig"]


class OptilockConfig(AppConfig):
    """Registers the system checks. The lock itself works without it."""

    name = "optilock"
    verbose_name = _("Optimistic locking")

    def ready(self) -> None:
        from optilock.checks import check_versioned_models
        from optilock.database_checks import check_databases
        from optilock.view_checks import check_views

        register(check_versioned_models, Tags.models)
        register(check_databases, Tags.database)
        register(check_views, Tags.urls)
        if any(map(apps.is_installed, ("rest_framework", "corsheaders"))):
            from optilock.http.checks import check_apis

            register(check_apis, Tags.urls)
        if apps.is_installed("django.contrib.admin"):
            from optilock.admin.checks import check_admin_sites

            register(check_admin_sites, Tags.admin)
