"""How a form compares: what was opened, what is saved now, what was typed."""

from __future__ import annotations

import datetime
from functools import partial
from typing import TYPE_CHECKING

from django import forms
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, models, router
from django.forms.formsets import DELETION_FIELD_NAME, ORDERING_FIELD_NAME
from django.forms.models import InlineForeignKeyField
from django.utils import timezone
from django.utils.functional import cached_property

from optilock.changes import FieldChange, state_of
from optilock.forms import tokens
from optilock.forms.token_field import TOKEN
from optilock.forms.unseen import UnseenField
from optilock.loaded import UNKNOWN
from optilock.rows import ModelField, target_field
from optilock.values import _is_computed, same

if TYPE_CHECKING:
    from optilock.forms.form import VersionedFormMixin
    from optilock.loaded import _Unknown

__all__ = ["FormComparison", "is_secret"]


class FormComparison:
    """Says of each field of a form: did they change it, did I?

    A browser and a form change what they are given: the ends of lines, spaces at
    both ends, microseconds. Of some values the token has only a digest. So what is
    compared here is what they were made from, not the values.

    Attributes:
        form: the form.
        locked: the row as it was last read; ``None`` if it wasn't, or is deleted.
        chosen: keys by field name, of what was saved in many-to-many fields.
    """

    def __init__(self, form: VersionedFormMixin) -> None:
        self.form = form
        self.locked: models.Model | None = None
        self.chosen: dict[str, list[object]] = {}

    # --- which fields ----------------------------------------------------

    @cached_property
    def model_fields(self) -> dict[str, ModelField]:
        """The model's fields that this form lets its user see and edit."""
        found = {}
        for name, field in self.form.fields.items():
            if field.disabled or isinstance(field, InlineForeignKeyField):
                continue
            try:
                model_field = self.form._meta.model._meta.get_field(name)
            except FieldDoesNotExist:
                continue
            if isinstance(model_field, models.Field) and not model_field.primary_key:
                found[name] = model_field
        return found

    @cached_property
    def extra_fields(self) -> dict[str, ModelField]:
        """The other fields, as far as they show something that the form has found.

        A field whose initial value is the same on every form of the class doesn't.
        """
        form = self.form
        found: dict[str, ModelField] = {}
        left_out = {TOKEN, DELETION_FIELD_NAME, ORDERING_FIELD_NAME, *self.model_fields}
        for name, field in form.fields.items():
            if (
                name in left_out
                or field.disabled
                or isinstance(field, InlineForeignKeyField)
                or _is_key(form._meta.model, name)
            ):
                continue
            own = getattr(form.base_fields.get(name), "initial", None)
            if name in form.initial or field.initial is not own:
                label = str(field.label or name)
                found[name] = tokens.FormValue(verbose_name=label)
                found[name].set_attributes_from_name(name)
        return found

    @cached_property
    def fields(self) -> dict[str, ModelField]:
        """All fields of which the token tells what they were."""
        return {**self.model_fields, **self.extra_fields}

    @property
    def unseen(self) -> list[str]:
        """The names of the fields that count, and aren't shown to be edited."""
        found = self.form.fields.items()
        return [name for name, field in found if isinstance(field, UnseenField)]

    def is_secret(self, name: str) -> bool:
        """Return whether nobody may read a field's value."""
        return name in self.form.secret_fields or is_secret(self.form.fields[name])

    # --- their values ----------------------------------------------------

    def saved(self, name: str) -> object:
        """Return the value of a field in the database, as last read."""
        if name in self.extra_fields:  # was found when the form was made
            return self.prepared(name, self.form[name].initial)
        field = self.model_fields[name]
        if field.many_to_many:  # was read when the form was made
            return self.chosen.get(name, self.form.initial.get(name, ()))
        row = self.form.instance if self.locked is None else self.locked
        return field.value_from_object(row)

    def typed(self, name: str) -> object:
        """Return the value of a field as it was posted: cleaned, if that went well."""
        return self.form.cleaned_data.get(name, self.form[name].data)

    def related(self, name: str, keys: object) -> models.QuerySet[models.Model]:
        """Return the objects of a many-to-many field that have these keys."""
        related: type[models.Model] = self.model_fields[name].related_model  # type: ignore[assignment]  # it has one
        rows = related._base_manager.using(self.form.instance._state.db)
        return rows.filter(pk__in=keys)

    def prepared(self, name: str, value: object) -> object:
        """Return a value as the form shows it, always in the same form."""
        field = self.form.fields[name]
        value = field.prepare_value(value)
        if isinstance(value, list | tuple | set) and isinstance(
            field, forms.MultipleChoiceField | forms.ModelMultipleChoiceField
        ):
            return sorted(value, key=str)  # a database has no order of its own
        if isinstance(value, datetime.datetime) and timezone.is_aware(value):
            return value.astimezone(datetime.timezone.utc)
        return value

    def freeze(self, name: str, value: object) -> tokens.Frozen:
        """Return the value of a field as it stands in the token."""
        return tokens.freeze(self.fields[name], value, secret=self.is_secret(name))

    # --- who changed them ------------------------------------------------

    def change(self, name: str, frozen: tokens.Frozen | _Unknown) -> FieldChange:
        """Return who changed a field, with plain values; an object is its key.

        Args:
            name: the field's name.
            frozen: its value when the page was opened, as the token keeps it;
                ``UNKNOWN`` if it doesn't.
        """
        field = self.fields[name]
        knows_base, deleted = frozen is not UNKNOWN, self.locked is None
        known = None if frozen is UNKNOWN else frozen
        state = state_of(
            knows_base=knows_base,
            deleted=deleted,
            computed=_is_computed(field),
            i_did=partial(self.did_i, name, known),
            they_did=partial(self.did_they, name, known),
            agree=lambda: not self.differs(name, self.saved(name)),
        )
        is_kept = knows_base and not tokens.is_digest(known)
        return FieldChange(
            field,
            state,
            base=tokens.thaw(field, known) if is_kept else UNKNOWN,
            mine=self._plain(name, self.typed(name)),
            theirs=UNKNOWN if deleted else self._plain(name, self.saved(name)),
        )

    def _plain(self, name: str, value: object) -> object:
        field = self.fields[name]
        if field.many_to_many and not isinstance(value, str) and value is not None:
            return [getattr(one, "pk", one) for one in value]  # type: ignore[attr-defined]  # it is many
        if field.is_relation and isinstance(value, models.Model):
            return getattr(value, target_field(field).attname)
        if isinstance(value, models.Model | models.QuerySet):  # of an extra field
            return self.prepared(name, value)
        return value

    def did_i(self, name: str, frozen: tokens.Frozen) -> bool:
        """Return whether the person changed a field that was opened like this."""
        field = self.fields[name]
        if name in self.extra_fields:
            return self._did_i_extra(name, frozen)
        if not tokens.is_digest(frozen):
            return self.differs(name, tokens.thaw(field, frozen))
        cleaned = self.form.cleaned_data
        return name not in cleaned or not tokens.is_typed(field, cleaned[name], frozen)

    def _did_i_extra(self, name: str, frozen: tokens.Frozen) -> bool:
        if name not in self.form.cleaned_data:
            return True
        bound, model_field = self.form[name], self.extra_fields[name]
        try:
            typed = self.prepared(name, self.form.cleaned_data[name])
            if tokens.is_typed(model_field, typed, frozen):
                return False
            if tokens.is_digest(frozen):
                return True
            opened = tokens.thaw(model_field, frozen)
            if isinstance(opened, str):  # what JSON made of a date, or a number
                opened = bound.field.to_python(opened)
            return bool(bound.field.has_changed(opened, bound.data))
        except (AttributeError, TypeError, ValueError, ValidationError):
            return True  # the field takes only what its value was before it was JSON

    def did_they(self, name: str, frozen: tokens.Frozen) -> bool:
        """Return whether somebody else changed a field that was opened like this."""
        field, value = self.fields[name], self.saved(name)
        if tokens.is_frozen(field, value, frozen):
            return False
        plain = not field.many_to_many and not tokens.is_digest(frozen)
        if plain and self._is_stored_alike(field, tokens.thaw(field, frozen), value):
            return False
        # Saving a form changes texts that nobody has touched.
        strips = getattr(self.form.fields[name], "strip", False)
        return not (strips and tokens.is_typed(field, value, frozen))

    def _is_stored_alike(self, field: ModelField, one: object, other: object) -> bool:
        """Return whether two values are the same to the database: "1.5" and "1.50"."""
        if same(field, one, other):
            return True
        connection = connections[router.db_for_write(self.form._meta.model)]
        try:
            stored = [field.get_db_prep_save(v, connection) for v in (one, other)]
            return bool(stored[0] == stored[1])
        except (TypeError, ValueError, ArithmeticError, ValidationError):
            return False

    def differs(self, name: str, value: object) -> bool:
        """Return whether what was posted isn't a value, as a form sees it."""
        field, data = self.form.fields[name], self.form[name].data
        if name in self.extra_fields:  # the value is the one the form has found
            value = self.form[name].initial
            if isinstance(value, str) and isinstance(data, str):
                value, data = (v.replace("\r\n", "\n") for v in (value, data))
            return bool(field.has_changed(value, data))
        if isinstance(value, datetime.datetime | datetime.time):
            if not field.widget.supports_microseconds:
                value = value.replace(microsecond=0)
        elif isinstance(
            self.fields[name], models.CharField | models.TextField
        ) and isinstance(data, str):
            data = data.replace("\r\n", "\n")
            value = field.to_python(str(value or "").replace("\r\n", "\n"))
        return bool(field.has_changed(value, data))


def is_secret(field: forms.Field) -> bool:
    """Return whether a form never shows what a field's value is."""
    widget = field.widget
    is_password = getattr(widget, "input_type", "") == "password"
    return is_password and not getattr(widget, "render_value", False)


def _is_key(model: type[models.Model], name: str) -> bool:
    """Return whether a name is that of a primary key."""
    try:
        return bool(getattr(model._meta.get_field(name), "primary_key", False))
    except FieldDoesNotExist:
        return False
