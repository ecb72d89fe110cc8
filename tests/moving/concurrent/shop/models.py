import concurrency.fields
from concurrency.fields import AutoIncVersionField, IntegerVersionField
from concurrency.fields import TriggerVersionField as Triggered
from django.db import models


class Order(models.Model):
    version = IntegerVersionField()
    number = models.CharField(max_length=20, default="")
    note = models.CharField(max_length=20, default="")


class Line(models.Model):
    order = models.ForeignKey(Order, models.CASCADE)
    lock = AutoIncVersionField(db_column="lock_no", help_text="counts the changes")
    quantity = models.IntegerField(default=0)


class Account(models.Model):
    version = Triggered()
    balance = models.IntegerField(default=0)

    def __str__(self):
        return str(self.pk)


class Ledger(models.Model):
    revision = Triggered(trigger_name="ledger", db_column="rev")
    balance = models.IntegerField(default=0)

    class Meta:
        verbose_name = "ledger"


class Sheet(models.Model):
    version = concurrency.fields.ConditionalVersionField()
    text = models.CharField(max_length=20, default="")
    views = models.IntegerField(default=0)
    reader = models.CharField(max_length=20, default="")

    class ConcurrencyMeta:
        check_fields = ["text"]
