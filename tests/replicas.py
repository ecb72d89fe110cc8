"""A router that reads from another database than it writes to."""

from __future__ import annotations


class ReadsElsewhere:
    """Reads from an alias that is, or stands for, a replica; writes to the default.

    Args:
        alias: of the replica.
        models: which are read there; all, if none are named.
    """

    def __init__(self, alias, *models):
        self.alias = alias
        self.models = models

    def db_for_read(self, model, **hints):
        return self.alias if not self.models or model in self.models else None

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, *args, **hints):
        return True
