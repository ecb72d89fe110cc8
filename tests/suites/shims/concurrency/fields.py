from django.db import connections
from django.db.models.signals import class_prepared, post_migrate

import optilock
from concurrency import forms
from concurrency.api import get_revision_of_object
from concurrency.core import ConcurrencyOptions


class VersionField(optilock.IntegerVersionField):
    """Ours, with the arguments, the default and the input of theirs."""

    form_class = forms.VersionField
    _trigger_name = None

    def __init__(self, *args, **kwargs):
        kept = ("verbose_name", "name", "db_column", "db_tablespace", "exclude")
        options = {name: kwargs[name] for name in kept if name in kwargs}
        super().__init__(default=0, db_default=1, **options)

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, f"concurrency.fields.{type(self).__name__}", args, kwargs

    def formfield(self, **kwargs):
        widget = forms.VersionField.widget
        options = {"form_class": self.form_class, "widget": widget}
        return super().formfield(**{**kwargs, **options})

    def validate(self, value, model_instance):
        pass

    def contribute_to_class(self, cls, *args, **kwargs):
        super().contribute_to_class(cls, *args, **kwargs)
        if not (hasattr(cls, "_concurrencymeta") or cls._meta.abstract):
            cls._concurrencymeta = ConcurrencyOptions()
            cls._concurrencymeta.field = self
            cls._concurrencymeta.base = cls
            cls.get_concurrency_version = get_revision_of_object

    def pre_save(self, model_instance, add):
        if add and not getattr(model_instance, self.attname):
            setattr(model_instance, self.attname, 1)
        return super().pre_save(model_instance, add)

    def _set_version_value(self, model_instance, value):
        setattr(model_instance, self.attname, int(value))


class IntegerVersionField(VersionField):
    pass


class AutoIncVersionField(VersionField):
    pass


class ConditionalVersionField(VersionField):
    """What docs/moving.md says: the fields that aren't checked are excluded."""


class TriggerVersionField(VersionField):
    def trigger(self):
        name = f"{self.model._meta.db_table}_bumps"
        return optilock.VersionTrigger(name=name, field=self.name)


def exclude_the_rest(sender, **kwargs):
    checked = getattr(getattr(sender, "ConcurrencyMeta", None), "check_fields", None)
    meta = getattr(sender, "_concurrencymeta", None)
    if checked and meta and meta.base is sender:
        meta.field.exclude = tuple(
            field.name
            for field in sender._meta.local_concrete_fields
            if not (field.primary_key or field is meta.field or field.name in checked)
        )


def make_triggers(sender, using, **kwargs):
    for model in sender.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, TriggerVersionField):
                with connections[using].schema_editor() as editor:
                    trigger = field.trigger()
                    editor.execute(trigger.remove_sql(model, editor))
                    editor.execute(trigger.create_sql(model, editor), params=None)


class_prepared.connect(exclude_the_rest)
post_migrate.connect(make_triggers)


def class_prepared_concurrency_handler(sender, **kwargs):
    pass
