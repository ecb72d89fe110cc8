"""Models for the writes that go to many rows at once."""

from __future__ import annotations

from django.db import models

from optilock import IntegerVersionField, VersionedModel, VersionTrigger
from testapp.models.lock import Author
from testapp.settings import CHOICE


class EveryField(models.Model):
    """Each kind of column Django ships."""

    big = models.BigIntegerField(null=True)
    binary = models.BinaryField(null=True)
    boolean = models.BooleanField(null=True)
    char = models.CharField(max_length=50, null=True)  # noqa: DJ001
    date = models.DateField(null=True)
    datetime = models.DateTimeField(null=True)
    decimal = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    duration = models.DurationField(null=True)
    email = models.EmailField(null=True)  # noqa: DJ001
    file = models.FileField(null=True)
    file_path = models.FilePathField(null=True)  # noqa: DJ001
    float = models.FloatField(null=True)
    ip = models.GenericIPAddressField(null=True)
    integer = models.IntegerField(null=True)
    json = models.JSONField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    slug = models.SlugField(null=True)  # noqa: DJ001
    small = models.SmallIntegerField(null=True)
    text = models.TextField(null=True)  # noqa: DJ001
    time = models.TimeField(null=True)
    url = models.URLField(null=True)  # noqa: DJ001
    uuid = models.UUIDField(null=True)
    foreign = models.ForeignKey(Author, models.CASCADE, null=True, related_name="+")

    if CHOICE == "postgresql":
        from django.contrib.postgres import fields as postgres

        integers = postgres.ArrayField(models.IntegerField(), null=True)
        texts = postgres.ArrayField(
            postgres.ArrayField(models.TextField(), size=2), null=True
        )
        dates = postgres.DateRangeField(null=True)
        numbers = postgres.BigIntegerRangeField(null=True)
        del postgres

    class Meta:
        abstract = True


class EveryFieldPlain(EveryField):
    """What Django's own bulk_update() writes, to compare with."""


class EveryFieldLocked(EveryField, VersionedModel):
    pass


class Chapter(VersionedModel):
    """Ordered by its author, with a column by another name, and unique."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="chapters")
    title = models.CharField(max_length=20, db_column="the title")
    number = models.IntegerField(unique=True, null=True)

    class Meta:
        order_with_respect_to = "author"


class Article(VersionedModel):
    """Its views and its last visitor are nobody's concern."""

    version = IntegerVersionField(exclude=["views", "reader"])
    title = models.CharField(max_length=20)
    views = models.IntegerField(default=0)
    reader = models.ForeignKey(Author, models.CASCADE, null=True, related_name="+")


class Folder(models.Model):
    name = models.CharField(max_length=20)


class Sticker(models.Model):
    name = models.CharField(max_length=20)


class AbstractPage(VersionedModel):
    """A row that can be written in every way Django knows."""

    slug = models.CharField(max_length=20, unique=True, default="page")
    text = models.CharField(max_length=20, default="old")
    number = models.IntegerField(default=0)
    folder = models.ForeignKey(
        Folder, models.SET_NULL, null=True, related_name="%(class)ss"
    )
    shelf = models.ForeignKey(
        Folder, models.SET_DEFAULT, null=True, default=None, related_name="+"
    )
    if hasattr(models, "DB_SET_NULL"):
        box = models.ForeignKey(Folder, models.DB_SET_NULL, null=True, related_name="+")
    stickers = models.ManyToManyField(Sticker)

    class Meta:
        abstract = True


class FiledPage(AbstractPage):
    pass


class GuardedPage(AbstractPage):
    class Meta:
        constraints = [VersionTrigger(name="testapp_guardedpage_version")]


class BasedPage(AbstractPage):
    """Its base manager bumps versions too."""

    class Meta:
        base_manager_name = "objects"


class ArchiveQuerySet(models.QuerySet):
    def archive(self):
        return self.update(archived=True)


class ArchiveManager(models.Manager):
    """As packages write them: with a queryset made by hand."""

    def get_queryset(self):
        rows = ArchiveQuerySet(self.model, using=self._db)
        return rows.filter(archived=False)

    def archive(self):
        return self.get_queryset().archive()


class Archivable(models.Model):
    archived = models.BooleanField(default=False)

    objects = ArchiveManager()
    everything = models.Manager()

    class Meta:
        abstract = True


class ArchivedFirst(VersionedModel, Archivable):
    name = models.CharField(max_length=20)
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, related_name="children"
    )


class ArchivedLast(Archivable, VersionedModel):
    name = models.CharField(max_length=20)
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, related_name="children"
    )
