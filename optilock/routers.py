"""A database router that lets each attempt read where it writes."""

from __future__ import annotations

from django.db import models

from optilock import attempts

__all__ = ["RetryRouter"]


class RetryRouter:
    """Reads, in an attempt of ``retry_on_conflict``, where the attempt writes.

    The managers of versioned models do this by themselves. This goes for everything
    else: an object's foreign keys, and models without a version. It belongs first in
    ``DATABASE_ROUTERS``.
    """

    def db_for_read(self, model: type[models.Model], **hints: object) -> str | None:
        """Return the alias of the database, or ``None`` to ask the next router."""
        return attempts.write_alias(model, **hints)
