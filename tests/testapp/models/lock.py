"""One model for each way in which a lock could be got wrong."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Upper
from django_fsm import ConcurrentTransitionMixin, FSMField, transition

from optilock import IntegerVersionField, VersionedManager, VersionedModel


class ConcurrentModel(models.Model):
    """The field alone, and Django's own manager."""

    version = IntegerVersionField()
    name = models.CharField(max_length=100)


class Unlocked(models.Model):
    """What Django does without a lock, to compare with."""

    name = models.CharField(max_length=100)
    number = models.IntegerField(default=0)


class Account(VersionedModel):
    owner = models.CharField(max_length=100, default="somebody")
    balance = models.IntegerField(default=0)
    modified = models.DateTimeField(auto_now=True)


class AccountProxy(Account):
    class Meta:
        proxy = True


class Renamed(models.Model):
    """A version field by another name, in a column by yet another."""

    name = models.CharField(max_length=100)
    lock = IntegerVersionField(db_column="the lock")

    objects = VersionedManager()


class Place(VersionedModel):
    name = models.CharField(max_length=100)


class Restaurant(Place):
    stars = models.IntegerField(default=0)
    modified = models.DateTimeField(auto_now=True)


class Bistro(Restaurant):
    tables = models.IntegerField(default=0, unique=True)


class Named(models.Model):
    key = models.BigAutoField(primary_key=True)
    title = models.CharField(max_length=100)


class NamedPlace(Named, Place):
    """Two parents; the one without a version is saved first."""

    named_ptr = models.OneToOneField(
        Named, models.CASCADE, parent_link=True, primary_key=True
    )
    place_ptr = models.OneToOneField(Place, models.CASCADE, parent_link=True)


class UUIDKey(VersionedModel):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100)


class StringKey(VersionedModel):
    code = models.CharField(primary_key=True, max_length=20)
    name = models.CharField(max_length=100)


class StringKeyAlone(models.Model):
    """The field alone, and Django's own manager."""

    code = models.CharField(primary_key=True, max_length=20)
    name = models.CharField(max_length=100)
    version = IntegerVersionField()


class StringKeyForgetting(VersionedModel):
    remember_loaded = False

    code = models.CharField(primary_key=True, max_length=20)
    name = models.CharField(max_length=100)


class StringKeyLoading(VersionedModel):
    """Has its own way to be loaded, and a kind of row under it."""

    code = models.CharField(primary_key=True, max_length=20)
    name = models.CharField(max_length=100)

    @classmethod
    def from_db(cls, *args, **kwargs):
        return super().from_db(*args, **kwargs)


class StringKeyAloneLoading(models.Model):
    code = models.CharField(primary_key=True, max_length=20)
    name = models.CharField(max_length=100)
    version = IntegerVersionField()

    @classmethod
    def from_db(cls, *args, **kwargs):
        return super().from_db(*args, **kwargs)


class RealFirst(VersionedModel):
    """Its table's first column holds floats."""

    ratio = models.FloatField(primary_key=True)
    name = models.CharField(max_length=100, default="")


class CompositeKey(VersionedModel):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()
    name = models.CharField(max_length=100)


class Computed(VersionedModel):
    name = models.CharField(max_length=100)
    shout = models.GeneratedField(
        expression=Upper("name"),
        output_field=models.CharField(max_length=100),
        db_persist=True,
    )
    colour = models.CharField(max_length=20, db_default="red")


class SelectOnSave(VersionedModel):
    name = models.CharField(max_length=100)

    class Meta:
        select_on_save = True


class Author(VersionedModel):
    name = models.CharField(max_length=100)


class Book(VersionedModel):
    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    stock = models.IntegerField(default=0)


class Branch(VersionedModel):
    """What goes along with a row is in its own table."""

    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Loan(VersionedModel):
    book = models.ForeignKey(Book, models.PROTECT)


class Ticket(ConcurrentTransitionMixin, VersionedModel):
    state = FSMField(default="open")
    note = models.CharField(max_length=100, default="")

    @transition(field=state, source="open", target="closed")
    def close(self):
        pass


class Overriding(VersionedModel):
    """The user's own save(), delete() and _do_update(), as Django documents."""

    name = models.CharField(max_length=100)
    slug = models.CharField(max_length=100, default="")

    def save(self, *args, **kwargs):
        self.slug = self.name.lower()
        super().save(*args, **kwargs)

    def delete(self, *args, **kwargs):
        self.was_asked_to_go = True
        return super().delete(*args, **kwargs)

    def _do_update(self, *args, **kwargs):
        self.updates = getattr(self, "updates", 0) + 1
        return super()._do_update(*args, **kwargs)
