"""The same six fields for every contender."""

from __future__ import annotations

import datetime
from decimal import Decimal

from django.db import models

from optilock import IntegerVersionField, VersionedModel


class SixFields(models.Model):
    owner = models.CharField(max_length=100, default="Ada Lovelace")
    email = models.EmailField(default="ada@example.com")
    balance = models.DecimalField(
        max_digits=12, decimal_places=2, default=Decimal("12.50")
    )
    opened = models.DateField(default=datetime.date(2024, 2, 29))
    active = models.BooleanField(default=True)
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Unlocked(SixFields):
    """Django without a lock: the yardstick."""


class Locked(VersionedModel, SixFields):
    pass


class LockedByField(SixFields):
    """The field alone: nothing is remembered of what was loaded."""

    version = IntegerVersionField()


class AnotherMixin(models.Model):
    """Another package, with its own ``_do_update()``."""

    class Meta:
        abstract = True

    def _do_update(self, *args, **kwargs):
        return super()._do_update(*args, **kwargs)


class LockedBehindAnother(AnotherMixin, VersionedModel, SixFields):
    pass


class HandWritten(SixFields):
    version = models.BigIntegerField(default=1)


class UnlockedParent(SixFields):
    pass


class UnlockedChild(UnlockedParent):
    note = models.CharField(max_length=100, default="")


class LockedParent(VersionedModel, SixFields):
    pass


class LockedChild(LockedParent):
    note = models.CharField(max_length=100, default="")


class Line(models.Model):
    product = models.CharField(max_length=100, default="Difference engine")
    quantity = models.IntegerField(default=1)
    note = models.CharField(max_length=100, blank=True, default="")

    class Meta:
        abstract = True


class UnlockedLine(Line):
    order = models.ForeignKey(Unlocked, models.CASCADE, related_name="lines")


class LockedLine(VersionedModel, Line):
    order = models.ForeignKey(Locked, models.CASCADE, related_name="lines")


FortyFields = type(
    "FortyFields",
    (models.Model,),
    {
        "__module__": __name__,
        "Meta": type("Meta", (), {"abstract": True}),
        **{f"text{i}": models.CharField(max_length=9, default="x") for i in range(20)},
        **{f"number{i}": models.IntegerField(default=i) for i in range(20)},
    },
)


class UnlockedWide(FortyFields):
    pass


class LockedWide(VersionedModel, FortyFields):
    pass


try:
    from concurrency.fields import AutoIncVersionField
except ImportError:
    pass
else:

    class DjangoConcurrency(SixFields):
        version = AutoIncVersionField()


try:
    from ool import VersionedMixin, VersionField
except ImportError:
    pass
else:

    class DjangoOptimisticLock(VersionedMixin, SixFields):
        version = VersionField()
