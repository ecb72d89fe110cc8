from __future__ import annotations

from django.db import models
from django.utils.module_loading import import_string
from testapp.models import Line, Order

from contracts.packages import CHOSEN, NAME
from optilock import IntegerVersionField, VersionedModel

if CHOSEN and NAME == "simple_history":
    from simple_history import register

    register(Order, app="contracts")
    register(Line, app="contracts")


if CHOSEN and NAME == "mptt":
    from mptt.models import MPTTModel, TreeForeignKey

    class Genre(VersionedModel, MPTTModel):
        name = models.CharField(max_length=20)
        parent = TreeForeignKey("self", models.CASCADE, null=True, blank=True)

    class OtherGenre(MPTTModel, VersionedModel):
        name = models.CharField(max_length=20)
        parent = TreeForeignKey("self", models.CASCADE, null=True, blank=True)


if CHOSEN and NAME == "treebeard":
    from treebeard.mp_tree import MP_Node

    TREE = ["path", "depth", "numchild"]

    class Genre(MP_Node, VersionedModel):
        version = IntegerVersionField(exclude=TREE)
        name = models.CharField(max_length=20)

        def save(self, *args, **kwargs):
            # treebeard writes the tree by SQL: an object's own idea of it is old.
            if not self._state.adding and kwargs.get("update_fields") is None:
                kwargs["update_fields"] = [
                    field.name
                    for field in self._meta.concrete_fields
                    if not field.primary_key and field.name not in TREE
                ]
            super().save(*args, **kwargs)

    class OtherGenre(VersionedModel, MP_Node):
        version = IntegerVersionField(exclude=TREE)
        name = models.CharField(max_length=20)

        def save(self, *args, **kwargs):
            if not self._state.adding and kwargs.get("update_fields") is None:
                kwargs["update_fields"] = [
                    field.name
                    for field in self._meta.concrete_fields
                    if not field.primary_key and field.name not in TREE
                ]
            super().save(*args, **kwargs)


if CHOSEN and NAME == "wagtail":
    from wagtail.models import DraftStateMixin, RevisionMixin
    from wagtail.snippets.models import register_snippet

    from optilock.contrib.wagtail import VersionedRevisionMixin

    @register_snippet
    class Notice(
        VersionedRevisionMixin, DraftStateMixin, RevisionMixin, VersionedModel
    ):
        version = IntegerVersionField(
            exclude=["latest_revision", "live_revision", "has_unpublished_changes"]
        )
        text = models.CharField(max_length=20)
        place = models.CharField(max_length=20, default="hall")

        panels = ["text", "place"]


#: What a package's own base is, in both orders with VersionedModel.
BASES = {
    "polymorphic": "polymorphic.models.PolymorphicModel",
    "safedelete": "safedelete.models.SafeDeleteModel",
    "model_utils": "model_utils.models.SoftDeletableModel",
    "dirtyfields": "dirtyfields.DirtyFieldsMixin",
    "django_lifecycle": "django_lifecycle.LifecycleModelMixin",
    "parler": "parler.models.TranslatableModel",
    "modeltranslation": "django.db.models.Model",
    "django_fsm": "django_fsm.FSMModelMixin",
}

if CHOSEN and NAME in BASES:
    Base = import_string(BASES[NAME])

    class Named(models.Model):
        name = models.CharField(max_length=20)
        note = models.CharField(max_length=20, default="", blank=True)

        class Meta:
            abstract = True

    if NAME == "django_fsm":
        from django_fsm import FSMField, transition

        class More(Named):
            state = FSMField(default="open", protected=True)

            @transition(state, source="open", target="closed")
            def close(self):
                self.note = "was closed"

            class Meta:
                abstract = True

    elif NAME == "django_lifecycle":
        from django_lifecycle import AFTER_UPDATE, BEFORE_UPDATE, hook

        class More(Named):
            @hook(BEFORE_UPDATE, when="name", has_changed=True)
            def look(self):
                self.note = f"was {self.initial_value('name')}"

            @hook(AFTER_UPDATE, when="name", has_changed=True)
            def tell(self):
                vars(self).setdefault("told", []).append(self.name)

            class Meta:
                abstract = True

    elif NAME == "parler":
        from parler.models import TranslatedFields

        class More(Named):
            class Meta:
                abstract = True

    elif NAME == "modeltranslation":

        class More(Named):
            # Its column follows the language in which the row was last saved.
            merge_decisions = {"name": "mine"}

            class Meta:
                abstract = True

    else:
        More = Named

    kind = type(Base) if issubclass(Base, models.Model) else type(VersionedModel)
    orders = {"First": (VersionedModel, Base), "Last": (Base, VersionedModel)}
    if Base is models.Model:
        orders = {"First": (More, VersionedModel)}
    MODELS = []
    for name, bases in orders.items():
        body = {"__module__": __name__}
        if NAME == "parler":
            title = models.CharField(max_length=20, default="", blank=True)
            body["translations"] = TranslatedFields(title=title)
        MODELS.append(kind(name, tuple(dict.fromkeys([*bases, More])), body))
    globals().update({model.__name__: model for model in MODELS})

if CHOSEN and NAME == "polymorphic":

    class Child(Last):  # noqa: F821 -- made above
        number = models.IntegerField(default=0)


if CHOSEN and NAME in ("cachalot", "django_filters", "pghistory", "django_tenants"):

    class Item(VersionedModel):
        name = models.CharField(max_length=20)
        number = models.IntegerField(default=0)


if CHOSEN and NAME == "pghistory":
    import pghistory

    pghistory.track()(Item)
