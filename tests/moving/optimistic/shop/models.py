from django.db import models
from ool import ConcurrentUpdate, VersionedMixin, VersionField


class Order(VersionedMixin, models.Model):
    version = VersionField()
    number = models.CharField(max_length=20, default="")


class Counted(VersionedMixin, models.Model):
    lock = VersionField("Lock", db_column="lock_no", db_index=True, null=True)

    class Meta:
        abstract = True


class Line(Counted):
    quantity = models.IntegerField(default=0)


def try_to_save(order):
    try:
        order.save()
    except ConcurrentUpdate:
        return False
    return True
