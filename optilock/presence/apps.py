from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["PresenceConfig"]


class PresenceConfig(AppConfig):
    """Gives a project the table of the pages that are open."""

    name = "optilock.presence"
    label = "optilock_presence"
    verbose_name = _("Open pages")
    default_auto_field = "django.db.models.BigAutoField"
