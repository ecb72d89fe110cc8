"""Models with something to disagree about."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Upper
from django_fsm import FSMField

from optilock import IntegerVersionField, VersionedModel


class Tag(models.Model):
    name = models.CharField(max_length=20)


class Everything(VersionedModel):
    """A field of every common class."""

    binary = models.BinaryField(default=b"")
    boolean = models.BooleanField(default=False)
    char = models.CharField(max_length=50, default="")
    date = models.DateField(null=True)
    datetime = models.DateTimeField(null=True)
    decimal = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    duration = models.DurationField(null=True)
    email = models.EmailField(default="")
    file = models.FileField(max_length=50, default="")
    float = models.FloatField(default=0)
    integer = models.IntegerField(null=True)
    ip = models.GenericIPAddressField(null=True)
    json = models.JSONField(null=True)
    slug = models.SlugField(default="")
    tag = models.ForeignKey(Tag, models.CASCADE, null=True)
    text = models.TextField(default="")
    time = models.TimeField(null=True)
    uuid = models.UUIDField(null=True)
    shout = models.GeneratedField(
        expression=Upper("char"),
        output_field=models.CharField(max_length=50),
        db_persist=True,
    )


class Page(VersionedModel):
    """What two editors may change at once."""

    on_conflict = "merge"
    merge_together = [("amount", "currency")]
    merge_decisions = {"edited_by": "mine", "body": "lines"}

    title = models.CharField(max_length=100, default="Title")
    body = models.TextField(default="one\ntwo\nthree\n")
    amount = models.IntegerField(default=1)
    currency = models.CharField(max_length=3, default="EUR")
    data = models.JSONField(default=dict, blank=True)
    edited_by = models.CharField(max_length=20, default="", blank=True)
    modified = models.DateTimeField(auto_now=True)


class Board(VersionedModel):
    """A field for each of eight threads."""

    a = models.IntegerField(default=0)
    b = models.IntegerField(default=0)
    c = models.IntegerField(default=0)
    d = models.IntegerField(default=0)
    e = models.IntegerField(default=0)
    f = models.IntegerField(default=0)
    g = models.IntegerField(default=0)
    h = models.IntegerField(default=0)


class Forgetful(VersionedModel):
    remember_loaded = False

    name = models.CharField(max_length=20, default="")
    number = models.IntegerField(default=0)


class Protected(VersionedModel):
    """Its state can't be assigned to, as django-fsm has it."""

    on_conflict = "merge"

    name = models.CharField(max_length=20, default="")
    state = FSMField(default="open", protected=True)
    note = models.CharField(max_length=20, default="")


class FieldAlone(models.Model):
    version = IntegerVersionField()
    name = models.CharField(max_length=20, default="")
    number = models.IntegerField(default=0)


class Headed(models.Model):
    number = models.BigAutoField(primary_key=True)  # Board has the name "id"
    heading = models.CharField(max_length=20, default="")


class HeadedBoard(Headed, Board):
    """The parent without a version is written first."""

    headed_ptr = models.OneToOneField(
        Headed, models.CASCADE, parent_link=True, primary_key=True
    )
    board_ptr = models.OneToOneField(Board, models.CASCADE, parent_link=True)
