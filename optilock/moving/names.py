"""What the other packages' names become."""

from __future__ import annotations

__all__ = [
    "ADVICE",
    "CLASSES",
    "CONDITIONAL",
    "DROPPED_SETTINGS",
    "FIELDS",
    "KEPT",
    "MIXIN",
    "OPEN_SETTINGS",
    "PACKAGES",
    "SETTINGS_STRINGS",
    "SWITCH",
    "TRIGGER",
]

#: The modules of django-concurrency and django-optimistic-lock.
PACKAGES = ("concurrency", "ool")

CONDITIONAL = "concurrency.fields.ConditionalVersionField"
TRIGGER = "concurrency.fields.TriggerVersionField"
MIXIN = "ool.VersionedMixin"
SWITCH = "concurrency.api.disable_concurrency"

#: Each version field, with what its column was.
FIELDS = {
    "concurrency.fields.IntegerVersionField": "models.BigIntegerField(default=0)",
    "concurrency.fields.AutoIncVersionField": "models.BigIntegerField(default=0)",
    TRIGGER: "models.BigIntegerField(default=0)",
    CONDITIONAL: "models.BigIntegerField(default=0)",
    "ool.VersionField": "models.PositiveIntegerField(default=0)",
}

#: The arguments of a field that stay, by package; django-concurrency ignores others.
KEPT = {
    "concurrency": {"db_column", "db_tablespace", "help_text", "verbose_name"},
    "ool": {
        "db_column",
        "db_comment",
        "db_index",
        "db_tablespace",
        "error_messages",
        "help_text",
        "validators",
        "verbose_name",
    },
}

#: Classes that have a counterpart by another name: its module and its name.
CLASSES = {
    **dict.fromkeys(FIELDS, ("optilock", "IntegerVersionField")),
    "concurrency.exceptions.RecordModifiedError": ("optilock", "RecordModifiedError"),
    "concurrency.api.RecordModifiedError": ("optilock", "RecordModifiedError"),
    "concurrency.admin.ConcurrentModelAdmin": ("optilock.admin", "VersionedModelAdmin"),
    "concurrency.admin.ConcurrencyActionMixin": (
        "optilock.admin",
        "VersionedAdminMixin",
    ),
    "concurrency.admin.ConcurrencyListEditableMixin": (
        "optilock.admin",
        "VersionedAdminMixin",
    ),
    "concurrency.forms.ConcurrentForm": ("optilock.forms", "VersionedModelForm"),
    "concurrency.middleware.ConcurrencyMiddleware": (
        "optilock.http.middleware",
        "ConflictMiddleware",
    ),
    "ool.ConcurrentUpdate": ("optilock", "RecordModifiedError"),
}

#: In settings, the strings that name them.
SETTINGS_STRINGS = {
    "concurrency": "optilock",
    "concurrency.apps.ConcurrencyConfig": "optilock",
    "concurrency.middleware.ConcurrencyMiddleware": (
        "optilock.http.middleware.ConflictMiddleware"
    ),
}

#: Settings that can go without a loss: optilock does this always, or never.
DROPPED_SETTINGS = {
    "CONCURRENCY_AUTO_CREATE_TRIGGERS",
    "CONCURRENCY_FIELD_SIGNER",
    "CONCURRENCY_POLICY",
    "CONCURRENCY_VERSION_FIELD_REQUIRED",
}

#: And those a person has to see to.
OPEN_SETTINGS = {
    "CONCURRENCY_ENABLED": "there is no switch for all; see unlocked()",
    "CONCURRENCY_CALLBACK": (
        "connect the function to the signal conflict_detected, or catch "
        "RecordModifiedError in the model's save()"
    ),
    "CONCURRENCY_HANDLER409": (
        "ConflictMiddleware answers with its own page, or with your template "
        "optilock/refused.html"
    ),
    "CONCURRENCY_TRIGGERS_FACTORY": "declare a VersionTrigger in Meta.constraints",
}

#: What a person has to replace, and by what.
ADVICE = {
    SWITCH: (
        "for a model, with unlocked(Model); for one object, "
        'object.save(on_conflict="overwrite"), if the model derives from VersionedModel'
    ),
    "concurrency.api.concurrency_disable_increment": (
        "optilock always counts; name what needs no lock in "
        "IntegerVersionField(exclude=[...]), and write it by save(update_fields=...)"
    ),
    "concurrency.api.apply_concurrency_check": (
        'Model.add_to_class("version", IntegerVersionField()), and a migration for it'
    ),
    "concurrency.api.get_revision_of_object": (
        "getattr(object, get_version_field(Model).name)"
    ),
    "concurrency.api.get_version_fieldname": "get_version_field(Model).name",
    "concurrency.api.get_version": (
        "Model.objects.get(pk=pk, version=version), with the name of your field"
    ),
    "concurrency.api.is_changed": (
        "object.is_stale(), if the model derives from VersionedModel"
    ),
    "concurrency.forms.VersionField": "the forms' token needs no field; take it out",
    "concurrency.forms.VersionWidget": "the forms' token needs no widget; take it out",
    "concurrency.forms.VersionFieldSigner": "the forms' token is always signed",
    "concurrency.views.conflict": "ConflictMiddleware has a page of its own",
    "concurrency.views.ConflictResponse": "ConflictMiddleware has a page of its own",
    "concurrency.views.callback": "see CONCURRENCY_CALLBACK in the documentation",
    "concurrency.exceptions.VersionError": "a token that isn't valid is an error",
    "concurrency.exceptions.VersionChangedError": "catch RecordModifiedError",
    "concurrency.utils.refetch": "object.refresh_from_db()",
}
