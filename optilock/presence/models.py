from __future__ import annotations

from django.conf import settings
from django.db import models

__all__ = ["OpenPage"]


class OpenPage(models.Model):
    """A page that somebody has open: who, what, since when.

    Times are in milliseconds since the epoch, as in tokens.
    """

    #: The label of the model with the version, and its row's primary key as text.
    model = models.CharField(max_length=201)
    key = models.CharField(max_length=200)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    since = models.BigIntegerField()
    #: When it counts as closed, unless it says before that it isn't.
    until = models.BigIntegerField(db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["model", "key", "user", "since"], name="optilock_presence_page"
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} {self.key}"
