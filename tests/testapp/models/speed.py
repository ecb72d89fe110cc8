"""The same fields without a lock, with it, and with somebody else in the way."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Value
from django.db.models.functions import Upper

from optilock import IntegerVersionField, VersionedModel


class Kinds(models.Model):
    """A field of each kind that is written as a plain value."""

    text = models.CharField(max_length=50, default="")
    long = models.TextField(null=True)  # noqa: DJ001 -- NULL is what is tested
    number = models.IntegerField(default=0)
    big = models.BigIntegerField(null=True)
    ratio = models.FloatField(default=0)
    price = models.DecimalField(max_digits=9, decimal_places=2, null=True)
    yes = models.BooleanField(default=False)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    span = models.DurationField(null=True)
    key = models.UUIDField(default=uuid.uuid4)
    data = models.JSONField(default=dict, null=True)
    named = models.ForeignKey("testapp.Named", models.CASCADE, null=True)

    class Meta:
        abstract = True


class UnlockedKinds(Kinds):
    pass


class LockedKinds(Kinds, VersionedModel):
    pass


class LockedByField(Kinds):
    """The lock and nothing else: not even what was loaded is remembered."""

    version = IntegerVersionField()


class PassingOnMixin(models.Model):
    """Another package's ``_do_update()``: the lock has to call it."""

    class Meta:
        abstract = True

    def _do_update(self, *args, **kwargs):
        return super()._do_update(*args, **kwargs)


class OrdinaryKinds(PassingOnMixin, Kinds, VersionedModel):
    """Locked by Django's own queryset methods."""


class UnlockedBase(models.Model):
    name = models.CharField(max_length=100)


class UnlockedChild(UnlockedBase):
    stars = models.IntegerField(default=0)


class LockedBase(models.Model):
    version = IntegerVersionField()
    name = models.CharField(max_length=100)


class LockedChild(LockedBase):
    stars = models.IntegerField(default=0)


Wide = type(
    "Wide",
    (models.Model,),
    {
        "__module__": __name__,
        "Meta": type("Meta", (), {"abstract": True}),
        **{f"field{i}": models.IntegerField(default=i) for i in range(40)},
    },
)


class UnlockedWide(Wide):
    pass


class LockedWide(Wide):
    version = IntegerVersionField()


class ShoutedField(models.CharField):
    """Has its own way to the database, as a field that encrypts would."""

    def get_db_prep_save(self, value, connection):
        value = super().get_db_prep_save(value, connection)
        return value if value is None else f"{value}!"


class PlacedField(models.CharField):
    """Has its own SQL: ``UPPER(…)``, by the hooks of old and new Djangos."""

    def get_placeholder(self, value, compiler, connection):
        return "UPPER(%s)"

    def get_placeholder_sql(self, value, compiler, connection):
        return "UPPER(%s)", (value,)


class RaisedField(models.CharField):
    """What is stored is an expression of the field's own."""

    def get_db_prep_save(self, value, connection):
        return Upper(Value(super().get_db_prep_save(value, connection)))


class Raised(VersionedModel):
    text = RaisedField(max_length=50)
    count = models.IntegerField(default=0)


class Unusual(VersionedModel):
    shouted = ShoutedField(max_length=50, null=True)
    placed = PlacedField(max_length=50, default="")
    blob = models.BinaryField(default=b"")
    count = models.IntegerField(default=0)


class BorrowedKey(VersionedModel):
    """Its primary key is another model's."""

    named = models.OneToOneField("testapp.Named", models.CASCADE, primary_key=True)
    note = models.CharField(max_length=50, default="")


class TickField(models.IntegerField):
    """Counts how often it was asked for what to save."""

    def pre_save(self, model_instance, add):
        ticks = getattr(model_instance, self.attname) + 1
        setattr(model_instance, self.attname, ticks)
        return ticks


class Ticking(VersionedModel):
    ticks = TickField(default=0)
    text = models.CharField(max_length=20, default="")


class TableMixin(models.Model):
    """Another package, that wants to know which tables are saved."""

    class Meta:
        abstract = True

    def _save_table(self, *args, **kwargs):
        self.tables = [*getattr(self, "tables", ()), args[1]]
        return super()._save_table(*args, **kwargs)


class TabledInFront(TableMixin, VersionedModel):
    text = models.CharField(max_length=20, default="")


class TabledBehind(VersionedModel, TableMixin):
    text = models.CharField(max_length=20, default="")


class TenantManager(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(tenant="ours")


class Tenanted(VersionedModel):
    tenant = models.CharField(max_length=20, default="ours")

    tenants = TenantManager()

    class Meta:
        base_manager_name = "tenants"
