"""What people edit in the admin and in forms."""

from __future__ import annotations

import uuid

from django.db import models

from optilock import IntegerVersionField, VersionedModel


class Assorted(VersionedModel):
    """A field of each kind."""

    text = models.TextField(blank=True)
    line = models.CharField(max_length=100, blank=True)
    raw_line = models.CharField(max_length=100, blank=True)
    boolean = models.BooleanField(default=False)
    null_boolean = models.BooleanField(null=True, blank=True)
    integer = models.IntegerField(default=0)
    float = models.FloatField(default=0)
    decimal = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    date = models.DateField(null=True, blank=True)
    time = models.TimeField(null=True, blank=True)
    moment = models.DateTimeField(null=True, blank=True)
    duration = models.DurationField(null=True, blank=True)
    uuid = models.UUIDField(default=uuid.uuid4)
    json = models.JSONField(default=dict, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    file = models.FileField(upload_to="kinds", blank=True)
    choice = models.CharField(
        max_length=5, choices=[("a", "Apple"), ("b", "Banana")], blank=True
    )
    friends = models.ManyToManyField("self", blank=True)


class Scan(VersionedModel):
    """A row with a file."""

    assorted = models.ForeignKey(Assorted, models.CASCADE)
    title = models.CharField(max_length=50, blank=True)
    file = models.FileField(upload_to="scans", blank=True)

    def __str__(self):
        return self.title


class Customer(VersionedModel):
    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Colour(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self):
        return self.name


class Order(VersionedModel):
    class Status(models.TextChoices):
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        SHIPPED = "shipped", "Shipped"

    number = models.CharField(max_length=20, unique=True)
    customer = models.ForeignKey(Customer, models.PROTECT, null=True, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    amount = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    currency = models.CharField(max_length=3, default="EUR")
    due = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    attachment = models.FileField(upload_to="orders", blank=True)
    tags = models.ManyToManyField(Colour, blank=True)
    secret = models.CharField(max_length=100, default="secret", blank=True)

    def __str__(self):
        return self.number


class Line(VersionedModel):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.CharField(max_length=50)
    quantity = models.PositiveIntegerField(default=1)
    comment = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return self.product


class Parcel(VersionedModel):
    """A key that isn't a number, and a second one that is unique."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(Order, models.CASCADE, null=True, related_name="parcels")
    code = models.CharField(max_length=20, unique=True)
    weight = models.IntegerField(default=1)

    def __str__(self):
        return self.code


class Memo(models.Model):
    """Locked by the field alone."""

    version = IntegerVersionField()
    subject = models.CharField(max_length=100)
    body = models.TextField(blank=True)
    parcel = models.ForeignKey(
        Parcel, models.CASCADE, to_field="code", null=True, blank=True
    )

    def __str__(self):
        return self.subject


class Plain(models.Model):
    """Not versioned; its children are."""

    name = models.CharField(max_length=100)


class PlainChild(VersionedModel):
    parent = models.ForeignKey(Plain, models.CASCADE)
    name = models.CharField(max_length=100)
