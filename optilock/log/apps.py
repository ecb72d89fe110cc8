from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from optilock import signals

__all__ = ["LogConfig"]


class LogConfig(AppConfig):
    """Keeps edit conflicts, and who is still to be told of what was overwritten.

    To change an option, name a subclass in ``INSTALLED_APPS``; put it into a module of
    its own.

    Attributes:
        days: how long an entry is kept.
        most: how many entries are kept.
        keep_values: whether the values of the fields are kept, too, and not only their
            names; never those of secret fields.
    """

    name = "optilock.log"
    label = "optilock_log"
    verbose_name = _("Edit conflicts")
    default_auto_field = "django.db.models.BigAutoField"

    days: int = 90
    most: int = 10_000
    keep_values: bool = False

    def ready(self) -> None:
        from optilock.log.recording import record

        signals.edit_conflict_found.connect(record, dispatch_uid=self.label)
