from contextlib import ContextDecorator, ExitStack

from django.apps import apps
from django.db.models import Model

from concurrency.core import get_version_fieldname
from concurrency.exceptions import RecordModifiedError
from optilock import get_version_field, unlocked
from optilock.unlocking import overwriting

__all__ = ["RecordModifiedError", "get_version_fieldname"]


def get_revision_of_object(obj):
    return getattr(obj, get_version_field(type(obj)).attname)


def is_changed(obj):
    rows = type(obj).objects.filter(pk=obj.pk)
    return rows.values_list(get_version_fieldname(obj), flat=True).first() != (
        get_revision_of_object(obj)
    )


def get_version(model_instance, version):
    name = get_version_fieldname(model_instance)
    return type(model_instance).objects.get(pk=model_instance.pk, **{name: version})


def apply_concurrency_check(model, fieldname, versionclass):
    if not hasattr(model, "_concurrencymeta"):
        model.add_to_class(fieldname, versionclass())


class disable_concurrency(ContextDecorator):  # noqa: N801 -- theirs
    def __init__(self, model=None):
        self.model = model

    def __enter__(self):
        self.stack = ExitStack()
        if self.model is None:
            every = [model for model in apps.get_models() if get_version_field(model)]
            self.stack.enter_context(unlocked(*every))
        elif isinstance(self.model, Model):  # save(on_conflict="overwrite")
            self.stack.enter_context(overwriting(self.model))
        elif get_version_field(self.model):
            self.stack.enter_context(unlocked(self.model))

    def __exit__(self, *args):
        self.stack.close()


class concurrency_disable_increment:  # noqa: N801 -- theirs
    def __init__(self, model):
        raise NotImplementedError("a number that doesn't go up protects nobody")
