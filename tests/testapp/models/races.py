"""What the campaign's processes fight for."""

from __future__ import annotations

from django.db import models

from optilock import VersionedModel


class Ledger(VersionedModel):
    """Each write adds an entry: what is lost is missing, what is doubled is twice."""

    entries = models.TextField(default="")
    balance = models.IntegerField(default=0)


class Daybook(Ledger):
    """The same in two tables."""

    pages = models.IntegerField(default=0)
