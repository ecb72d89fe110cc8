"""Corners of Django that a lock has to leave as they are."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from optilock import IntegerVersionField, VersionedModel


class Badge(VersionedModel):
    """A save can fail in the database, and changes a field by itself."""

    number = models.IntegerField(unique=True)
    modified = models.DateTimeField(auto_now=True)


class Question(VersionedModel):
    text = models.CharField(max_length=100)


class Answer(VersionedModel):
    question = models.ForeignKey(Question, models.CASCADE)
    text = models.CharField(max_length=100, default="")

    class Meta:
        order_with_respect_to = "question"


class Label(models.Model):
    name = models.CharField(max_length=100)


class Labelled(VersionedModel):
    labels = models.ManyToManyField(Label)


class Archiving(models.Model):
    """A mixin that keeps rows, as a soft delete does."""

    archived = models.BooleanField(default=False)

    class Meta:
        abstract = True

    def delete(self, *args, **kwargs):
        self.archived = True
        self.save()
        return 0, {}


class Letter(VersionedModel, Archiving):
    text = models.CharField(max_length=100, default="")


class Unversioned(models.Model):
    name = models.CharField(max_length=100, default="")
    note = models.ForeignKey(
        "Note", models.CASCADE, null=True, related_name="unversioned"
    )


class Note(models.Model):
    """The field alone, deleted as Django deletes."""

    version = IntegerVersionField()
    text = models.CharField(max_length=100, default="")
    colour = models.CharField(max_length=100, default="")


class DefaultKeyPlace(VersionedModel):
    """The root of an inheritance chain, with a key that has a default."""

    code = models.CharField(primary_key=True, max_length=20, default="somewhere")
    name = models.CharField(max_length=100)


class DefaultKeyCafe(DefaultKeyPlace):
    tables = models.IntegerField(default=0)


class AbstractDocument(models.Model):
    lock = IntegerVersionField()

    class Meta:
        abstract = True

    def _do_update(self, *args, **kwargs):
        self.updates = getattr(self, "updates", 0) + 1
        return super()._do_update(*args, **kwargs)


class Document(AbstractDocument):
    text = models.CharField(max_length=100, default="")


class TakingNothing(models.Model):
    """A mixin whose methods take no arguments, as some packages' do."""

    class Meta:
        abstract = True

    @property
    def asked(self):
        return vars(self).setdefault("_asked", [])

    def delete(self):
        self.asked.append("delete()")
        return super().delete()

    def refresh_from_db(self):
        self.asked.append("refresh_from_db()")
        super().refresh_from_db()


class TakingDjangos(models.Model):
    """A mixin whose save() takes Django's arguments, as some packages' does."""

    class Meta:
        abstract = True

    def save(
        self, force_insert=False, force_update=False, using=None, update_fields=None
    ):
        super().save(
            force_insert=force_insert,
            force_update=force_update,
            using=using,
            update_fields=update_fields,
        )


class StrictFirst(TakingDjangos, VersionedModel):
    name = models.CharField(max_length=100, default="")
    number = models.IntegerField(default=0)


class StrictLast(VersionedModel, TakingDjangos):
    name = models.CharField(max_length=100, default="")
    number = models.IntegerField(default=0)


class StrictChild(StrictFirst):
    pass


class Undemanding(VersionedModel, TakingNothing):
    name = models.CharField(max_length=100, default="")
    parent = models.ForeignKey("self", models.CASCADE, null=True)

    def touch(self):
        self.asked.append("touch()")
        super().touch()


class Numbered(VersionedModel):
    """Its version travels through plain forms and serializers."""

    version = IntegerVersionField(editable=True)
    title = models.CharField(max_length=20, default="")
    text = models.CharField(max_length=20, default="", blank=True)


class Remark(VersionedModel):
    # This app has no migrations: its tables are made before those of other apps.
    content_type = models.ForeignKey(ContentType, models.CASCADE, db_constraint=False)
    object_id = models.IntegerField()
    about = GenericForeignKey()


class Remarked(VersionedModel):
    remarks = GenericRelation(Remark)
