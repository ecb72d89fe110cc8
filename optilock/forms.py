"""Model forms that notice what others saved while the form was open."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, models, router
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import InlineForeignKeyField, model_to_dict
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from optilock import tokens
from optilock.conflicts import Conflict, FieldState
from optilock.fields import version_field

#: The name of the hidden input that carries the token.
TOKEN = "optilock_token"  # noqa: S105 -- a name

#: Where a person's decisions stand in what is posted.
CHOICE = "optilock_choice_"
CHOICE_FOR_ALL = "optilock_choice_for_all"

#: The codes of errors about a conflict.
CODES = ("conflict", "too_old", "deleted")

#: Stands for the row as a whole among the fields of ``Row.shown``.
ROW = ""

CONFLICT = _(
    "Somebody else changed this while you were editing. Nothing was saved yet."
)
TOO_OLD = _(
    "This page is too old, or isn't the one that was opened. Nothing was saved yet: "
    "compare what you typed with what is stored now, and save again."
)
DELETED = _("This was deleted while you were editing. Nothing was saved.")
KEY_CHANGED = _("This identifies what is being edited, and can't be changed here.")
NO_ACTION = _("No action was chosen, and nothing was saved yet.")
CHOOSE_FILE_AGAIN = _("Choose the file again: a browser can't keep it.")


class _Token(forms.BoundField):
    """The token for the next round; it is signed when it is rendered."""

    field: TokenField

    def value(self) -> str:
        return self.field.sign()


class _TokenInput(forms.HiddenInput):
    class Media:
        js = ("optilock/token.js",)


class TokenField(forms.CharField):
    """A hidden input that always renders a new token."""

    widget = _TokenInput
    bound_field_class = _Token

    def __init__(self, sign: Callable[[], str]) -> None:
        super().__init__(required=False, label="")
        self.sign = sign

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class _SavedValue(forms.BoundField):
    """An input that shows what is saved, not what was posted."""

    def value(self) -> Any:
        return self.field.prepare_value(self.initial)


#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


@dataclass(frozen=True)
class Opened:
    """A field's value when the page was opened, as the token keeps it."""

    frozen: Any


@dataclass(frozen=True)
class Typed:
    """A field's value as it was posted."""

    form: VersionedFormMixin
    name: str
    value: Any


class FormConflict(Conflict):
    """What somebody else did to the row of a form, and what is decided about it.

    Base values are ``Opened`` and mine are ``Typed``, because a form compares
    what was posted in its own way: it has changed the ends of lines, cut spaces
    and dropped microseconds.

    Attributes:
        form: the form.
        too_old: whether there was no token that tells what was opened.
        question: what has to be decided about the row as a whole: "deleted" if
            it is gone and was changed here, "deleting" if it was changed and is
            to be deleted here, else an empty string.
        answer: "mine" or "theirs", the decision about that.
        decisions: "mine" or "theirs" by field name, for fields that collide.
    """

    def __init__(
        self, form: VersionedFormMixin, locked: models.Model | None, opened: tokens.Row
    ) -> None:
        self.form = form
        self.too_old = opened is tokens.UNKNOWN
        names = form.model_fields
        theirs = {name: form.saved(name) for name in names}
        version = None if locked is None else tokens.look(locked).version
        base = {name: Opened(value) for name, value in opened.base.items()}
        if locked is not None and opened.version == version:
            for name, field in names.items():
                # Rows of many-to-many tables are added without raising a version.
                if not field.many_to_many and name not in opened.shown:
                    base[name] = Opened(tokens.freeze(field, theirs[name]))
        super().__init__(
            form._meta.model,
            base=base,
            mine={name: Typed(form, name, form.typed(name)) for name in names},
            theirs=None if locked is None else theirs,
            together=form.conflict_groups,
            same=self._same,
            instance=form.instance,
            expected_version=opened.version,
        )
        for name in form.lost_files:  # neither here any more nor given up
            self._changes[name] = replace(self[name], state=FieldState.COLLIDING)
        self.current_version = version
        self._was_told = ROW in opened.shown
        self.question = self._question(opened)
        self.answer = ""
        if self.question and opened.shown.get(ROW, ROW) == version:
            self.answer = self._choice(CHOICE)
            if self.deleted and self.answer not in self._answers_if_deleted():
                self.answer = ""
        self.decisions = self._decisions_about(opened)

    def _same(self, field: Any, one: Any, other: Any) -> bool:
        if isinstance(one, Opened):
            if isinstance(other, Typed):
                return not self.form.has_typed(other.name, one.frozen)
            if tokens.freeze(field, other) == one.frozen:
                return True
            # Whoever saves a form has it change texts they haven't touched.
            strips = getattr(self.form.fields[field.name], "strip", False)
            return strips and tokens.is_typed(field, other, one.frozen)
        typed, saved = (one, other) if isinstance(one, Typed) else (other, one)
        return not self.form.differs(typed.name, saved)

    def _question(self, opened: tokens.Row) -> str:
        if self.deleted:
            lost = not self.form.formset or self.names(FieldState.MINE)
            return "deleted" if lost and not self.form.is_marked_for_deletion else ""
        stale = self.expected_version != self.current_version or ROW in opened.shown
        return "deleting" if stale and self.form.is_marked_for_deletion else ""

    def _answers_if_deleted(self) -> list[str]:
        if self.form.formset:
            return ["mine", "theirs"] if self.form.formset.can_restore else ["theirs"]
        return ["mine"] if self.form.can_restore else []

    def _decisions_about(self, opened: tokens.Row) -> dict[str, str]:
        """Return the decisions about what the person was really shown."""
        decisions: dict[str, str] = {}
        saved = self.theirs or {}
        for group in self.groups(FieldState.COLLIDING):
            if all(
                name in opened.shown
                and opened.shown[name] == tokens.freeze(self[name].field, saved[name])
                for name in group
            ) and (choice := self._choice(CHOICE + group[0])):
                decisions |= dict.fromkeys(group, choice)
        return decisions

    def _choice(self, name: str) -> str:
        data = self.form.data
        choice = data.get(self.form.add_prefix(name)) or data.get(CHOICE_FOR_ALL)
        return choice if choice in ("mine", "theirs") else ""

    def groups(self, *states: FieldState) -> list[list[str]]:
        """Return names of fields in one of these states; what is one as one."""
        left, found = self.names(*states), []
        while left:
            group = next((g for g in self.together if left[0] in g), left[:1])
            found.append([name for name in left if name in group])
            left = [name for name in left if name not in group]
        return found

    def input_name(self, group: list[str]) -> str:
        """Return the name of the inputs that decide about fields that are one."""
        return str(self.form.add_prefix(CHOICE + group[0]))

    @property
    def undecided(self) -> list[str]:
        """The names of the fields that collide and wait for a decision."""
        if self.question or self.form.is_marked_for_deletion:
            return []
        return [name for name in self.collisions if name not in self.decisions]

    @property
    def vanished(self) -> bool:
        """Whether the row is gone, was left alone here, and that is news."""
        left_alone = not self.question and not self.form.is_marked_for_deletion
        return self.deleted and left_alone and not self._was_told

    @property
    def merged(self) -> list[str]:
        """The names of the fields that keep what somebody else saved."""
        return self.names(FieldState.THEIRS)

    @property
    def overwritten(self) -> list[str]:
        """The names of the fields somebody else changed, decided as "mine"."""
        return [name for name, choice in self.decisions.items() if choice == "mine"]

    @property
    def dropped(self) -> list[str]:
        """The names of the fields of which nothing that was posted is saved."""
        if self.deleted:
            return []
        if self.question and self.answer == "theirs":
            return list(self)
        theirs = [name for name, choice in self.decisions.items() if choice == "theirs"]
        return [*self.names(FieldState.THEIRS, FieldState.SAME), *theirs]

    @property
    def asks(self) -> bool:
        """Whether there is a choice to show, decided already or not."""
        return bool(self.is_open or self.question or self.collisions)

    @property
    def is_open(self) -> bool:
        """Whether saving has to wait for a person."""
        if self.question:
            return not self.answer
        alone = self.too_old and not self.form.formset
        return bool(alone or self.undecided or (self.form.ask_always and self._is_news))

    @property
    def _is_news(self) -> bool:
        """Whether something was merged that concerns who is saving."""
        formset = self.form.formset
        if formset and not formset.is_one_thing:
            touched = (FieldState.MINE, FieldState.SAME, FieldState.COLLIDING)
            return bool(self.merged and self.names(*touched))
        return bool(self.merged or self.vanished)


class VersionedFormMixin(_Any):  # type: ignore[misc]  # see _Any
    """A ``ModelForm`` that compares: as opened, as saved now, as typed.

    What doesn't overlap is merged. What does is an error with the code
    ``"conflict"`` until the person has decided; ``conflict`` has the details.

    Attributes:
        ask_always: ask about every change somebody else made to a field of the
            form, whether or not it overlaps.
        conflict_groups: fields that only make sense together, as in
            ``[("amount", "currency")]``. By default the model's
            ``merge_together``.
        conflict: a ``FormConflict`` once the form is validated, ``None`` if
            nobody else changed anything on the form.
    """

    ask_always = False
    conflict_groups: Any = None
    conflict: FormConflict | None = None
    #: The formset that carries the token and locks the rows, if there is one.
    formset: Any = None
    #: Whether the form is for a row that isn't there any more.
    is_gone = False
    #: Whether it is to be shown again, whatever is in it.
    on_hold = False
    #: Whether it can then be saved again as a new one.
    can_restore = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._locked: models.Model | None = None
        self._taken: set[str] = set()
        self._uploaded: list[str] = []
        if self.is_versioned or self.is_gone:
            self.fields[TOKEN] = TokenField(self._sign)

    @cached_property
    def is_versioned(self) -> bool:
        """Whether there is a row that somebody else could have changed."""
        return (
            version_field(self._meta.model) is not None
            and not self.instance._state.adding
        )

    @property
    def is_marked_for_deletion(self) -> bool:
        """Whether the person asks for the row to be deleted (in a formset)."""
        formset = self.formset
        return bool(
            formset and formset.can_delete and formset._should_delete_form(self)
        )

    # --- the token -------------------------------------------------------

    @cached_property
    def token(self) -> tokens.Token | None:
        """The token that was posted, ``None`` if there is none to be trusted."""
        try:
            return tokens.read(self.data.get(self.add_prefix(TOKEN)), self._meta.model)
        except tokens.BadToken:
            return None

    @property
    def opened(self) -> tokens.Row:
        """The row as the page that was posted showed it."""
        token = self.formset.token if self.formset else self.token
        return token.row(self.instance.pk) if token else tokens.UNKNOWN

    def next_row(self) -> tokens.Row:
        """Return the row as the page that is being rendered shows it."""
        if self.is_bound and self.conflict and self.conflict.deleted:
            # An answer counts only where there was a question.
            told = None if self.conflict.question else ROW
            return replace(self.opened, shown={ROW: told})
        if self.is_bound and self._locked is None:  # wasn't validated, or is gone
            return self.opened
        base = {
            name: tokens.freeze(field, self.saved(name))
            for name, field in self.model_fields.items()
        }
        shown = {}
        collisions = self.conflict.collisions if self.conflict else []
        for name in {*collisions, *self._uploaded} & set(base):
            # Still to be saved, so compared with what was opened, once more.
            shown[name] = base.pop(name)
            if name in self.opened.base:
                base[name] = self.opened.base[name]
        if self.conflict and self.conflict.question:
            shown[ROW] = self.conflict.current_version
        return tokens.Row(tokens.look(self.instance).version, base, shown)

    def _sign(self) -> str:
        rows = {str(self.instance.pk): self.next_row()}
        if self.conflict and self.token:
            # Whoever is to be named did it after the page was first opened.
            return tokens.Token(rows, self.token.loaded).sign(self._meta.model)
        return tokens.Token(rows).sign(self._meta.model)

    @cached_property
    def model_fields(self) -> dict[str, models.Field[Any, Any]]:
        """The model's fields that this form lets its user see and edit."""
        found = {}
        for name, field in self.fields.items():
            if field.disabled or isinstance(field, InlineForeignKeyField):
                continue
            try:
                model_field = self._meta.model._meta.get_field(name)
            except FieldDoesNotExist:
                continue
            if isinstance(model_field, models.Field) and not model_field.primary_key:
                found[name] = model_field
        return found

    def saved(self, name: str) -> Any:
        """Return the value of a field in the database, as last read."""
        field = self.model_fields[name]
        if field.many_to_many:  # was read when the form was made
            return self.initial.get(name, ())
        row = self.instance if self._locked is None else self._locked
        return field.value_from_object(row)

    def typed(self, name: str) -> Any:
        """Return the value of a field as it was posted: cleaned, if that went well."""
        return self.cleaned_data.get(name, self[name].data)

    # --- comparing -------------------------------------------------------

    def _clean_form(self) -> None:
        # Here rather than in clean(), so that a clean() that forgets to call
        # super() can't switch it off, and sees the merged values.
        if self.is_versioned or self.is_gone:
            self._compare()
        if self.on_hold:
            self.add_error(None, NO_ACTION)
        super()._clean_form()

    def _compare(self) -> None:
        locked = self._locked = (
            self.formset.lock(self) if self.formset else self._lock()
        )
        if locked is not None:
            self._refresh(locked)
        conflict = FormConflict(self, locked, self.opened)
        if (
            conflict.question
            or conflict.is_open
            or conflict.collisions
            or conflict.dropped
            or conflict.vanished
        ):
            self.conflict = conflict
        for name in conflict.dropped:
            self._take(name)
        if conflict.question == "deleting" and conflict.answer == "theirs":
            self.cleaned_data[DELETION_FIELD_NAME] = False
            self._taken.add(DELETION_FIELD_NAME)
        self.changed_data = [] if locked is None else self._names_to_save()
        for name in self.lost_files:
            if conflict.decisions.get(name) == "mine":
                self.add_error(name, CHOOSE_FILE_AGAIN)
        if not conflict.is_open:
            return
        self.ask_for_files()
        if conflict.deleted:
            self.add_error(None, ValidationError(DELETED, code="deleted"))
        elif conflict.too_old and not self.formset:
            self.add_error(None, ValidationError(TOO_OLD, code="too_old"))
        else:
            self.add_error(None, ValidationError(CONFLICT, code="conflict"))

    def _names_to_save(self) -> list[str]:
        return [
            name
            for name, bound in self._bound_items()
            if name not in self._taken
            and (
                self.differs(name, self.saved(name))
                if name in self.model_fields
                else bound._has_changed()
            )
        ]

    def _post_clean(self) -> None:
        pk, name = self.instance.pk, self._meta.model._meta.pk.name
        super()._post_clean()
        if self.is_versioned and self.instance.pk != pk:
            # Django would insert a copy; the lock finds no row to update.
            self.instance.pk = pk
            self.add_error(name, ValidationError(KEY_CHANGED, code="key_changed"))

    def _lock(self) -> models.Model | None:
        if self.is_gone:  # or whoever made the form has reasons not to show it
            return None
        model = self._meta.model
        using = router.db_for_write(model, instance=self.instance)
        rows = model._base_manager.using(using).filter(pk=self.instance.pk)
        if connections[using].in_atomic_block:
            rows = rows.select_for_update()
        return next(iter(rows), None)

    def _refresh(self, locked: models.Model) -> None:
        """Bring the instance up to date, if it was read before another's commit."""
        if tokens.look(locked) == tokens.look(self.instance):
            return
        for field in self._meta.model._meta.concrete_fields:
            if field.attname in vars(locked):
                setattr(self.instance, field.attname, getattr(locked, field.attname))
        for name, form_field in self.fields.items():
            if form_field.disabled:  # has the value that was read too early
                self.cleaned_data.pop(name, None)
        self.initial |= model_to_dict(locked, self.model_fields)
        self._bound_fields_cache.clear()

    def has_typed(self, name: str, frozen: Any) -> bool:
        """Return whether the person changed a field that was opened like this."""
        field = self.model_fields[name]
        if not tokens.is_digest(frozen):
            return self.differs(name, tokens.thaw(field, frozen))
        return name not in self.cleaned_data or not tokens.is_typed(
            field, self.cleaned_data[name], frozen
        )

    def differs(self, name: str, value: Any) -> bool:
        """Return whether what was posted isn't a value, as a form sees it."""
        field, model_field = self.fields[name], self.model_fields[name]
        data = self[name].data
        if isinstance(value, datetime.datetime | datetime.time):
            if not field.widget.supports_microseconds:
                value = value.replace(microsecond=0)
        elif isinstance(
            model_field, models.CharField | models.TextField
        ) and isinstance(data, str):
            data = data.replace("\r\n", "\n")
            value = field.to_python(str(value or "").replace("\r\n", "\n"))
        return bool(field.has_changed(value, data))

    def save(self, commit: bool = True) -> Any:
        if commit and self.is_gone:
            prepare_as_new(self.instance)
        return super().save(commit)

    save.alters_data = True  # type: ignore[attr-defined]

    @property
    def lost_files(self) -> list[str]:
        """The names of fields for which a file was sent before, and now isn't."""
        return [
            name
            for name in self.model_fields
            if isinstance(self.fields[name], forms.FileField)
            and name in self.opened.shown
            and self[name].data is None
        ]

    def ask_for_files(self) -> None:
        """Ask for the files that were sent, because a page can't keep them."""
        for name, field in self.fields.items():
            if isinstance(field, forms.FileField) and self[name].data:
                self._uploaded.append(name)
                if name not in self.errors:
                    self.add_error(name, CHOOSE_FILE_AGAIN)

    def _take(self, name: str) -> None:
        """Keep what is saved, whatever was posted."""
        field, value = self.model_fields[name], self.saved(name)
        if isinstance(field, models.ForeignKey):
            value = getattr(self.instance, field.name)
        self._taken.add(name)
        self.cleaned_data[name] = value
        self._errors.pop(name, None)
        if self.conflict and name not in self.conflict.decisions:
            self.fields[name].bound_field_class = _SavedValue
            self._bound_fields_cache.pop(name, None)


class VersionedModelForm(VersionedFormMixin, forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A ``ModelForm`` for a versioned model; see ``VersionedFormMixin``."""


class VersionedFormSetMixin(_Any):  # type: ignore[misc]  # see _Any
    """A model formset whose rows notice what others saved.

    One hidden input in the management form carries the token of all rows, and
    one query locks them. The rows' form class becomes a versioned one.

    Attributes:
        can_restore: whether a row that somebody else deleted can be saved again
            as a new one.
        is_one_thing: whether the rows are parts of one thing, so that with
            ``ask_always`` those nobody touched here are asked about as well.
        added: once the formset is validated, the rows that somebody else has
            added since; there are no forms for them.
    """

    can_restore = True
    is_one_thing = True
    added: Sequence[models.Model] = ()
    #: Whether it is to be shown again, whatever is in it.
    on_hold = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "form" in vars(cls):
            cls.form = versioned_form(cls.form)

    @property
    def is_versioned(self) -> bool:
        """Whether there are rows that somebody else could have changed."""
        as_new = getattr(self, "save_as_new", False)
        return version_field(self.model) is not None and not as_new

    @cached_property
    def management_form(self) -> Any:
        form = super().management_form
        if self.is_versioned:
            form.fields[TOKEN] = TokenField(self._sign)
        return form

    @property
    def media(self) -> forms.Media:
        media: forms.Media = super().media + self.management_form.media
        return media

    @cached_property
    def token(self) -> tokens.Token | None:
        """The token that was posted, ``None`` if there is none to be trusted."""
        try:
            return tokens.read(self.data.get(f"{self.prefix}-{TOKEN}"), self.model)
        except tokens.BadToken:
            return None

    def _sign(self) -> str:
        rows = {str(form.instance.pk): form.next_row() for form in self.initial_forms}
        rows |= {str(row.pk): tokens.look(row) for row in self.added}  # once is enough
        if self.token and self.conflicts:
            # Whoever is to be named did it after the page was first opened.
            return tokens.Token(rows, self.token.loaded).sign(self.model)
        return tokens.Token(rows).sign(self.model)

    def _construct_form(self, i: int, **kwargs: Any) -> Any:
        form = super()._construct_form(i, **kwargs)
        form.fields.pop(TOKEN, None)
        if self.is_versioned and i < self.initial_form_count():
            form.formset = self
            if form.instance._state.adding:
                self._mark_as_gone(form)
        return form

    def _mark_as_gone(self, form: Any) -> None:
        """Let the form go on without its row, which Django's would reject."""
        pk = self.model._meta.pk
        with suppress(ValidationError):
            posted = self.data.get(form.add_prefix(pk.name))
            form.instance.pk = self._get_to_python(pk)(posted)
        form.is_gone = True
        if form.fields[pk.name].widget.is_hidden:
            form.fields[pk.name] = forms.CharField(
                required=False, widget=forms.HiddenInput
            )

    def full_clean(self) -> None:
        if self.is_bound and self.is_versioned:
            self._locked_rows = self._lock_rows()
            if self.token:
                known = self.token.rows
                self.added = [r for r in self.get_queryset() if str(r.pk) not in known]
        super().full_clean()
        if not self.is_bound or not self.is_versioned:
            return
        # Here rather than in clean(), which may forget to call super().
        if self.on_hold:
            self._add_error(NO_ACTION, "on_hold")
        if self.token is None and self.initial_forms:
            self._add_error(TOO_OLD, "too_old")
        elif any(conflict.is_open for conflict in self.conflicts) or (
            self.added and self.form.ask_always
        ):
            self._add_error(CONFLICT, "conflict")
        # Django pairs forms with rows by position when it renders errors. Rows
        # may have come and gone since.
        self._queryset = [form.instance for form in self.initial_forms]

    def _add_error(self, message: Any, code: str) -> None:
        self._non_form_errors.extend(ValidationError(message, code=code).error_list)

    def _lock_rows(self) -> dict[Any, models.Model]:
        found = [f.instance for f in self.initial_forms if not f.is_gone]
        if not found:
            return {}
        using = router.db_for_write(self.model, instance=found[0])
        rows = self.model._base_manager.using(using)
        # In the order of the keys, so that two sessions can't lock each other out.
        rows = rows.filter(pk__in=[instance.pk for instance in found]).order_by("pk")
        if connections[using].in_atomic_block:
            rows = rows.select_for_update()
        return {row.pk: row for row in rows}

    def lock(self, form: Any) -> models.Model | None:
        """Return the form's row as it is now, locked."""
        return None if form.is_gone else self._locked_rows.get(form.instance.pk)

    @property
    def conflicts(self) -> list[FormConflict]:
        """The conflicts of the rows, in the order of the forms."""
        return [form.conflict for form in self.initial_forms if form.conflict]

    def save_new_objects(self, commit: bool = True) -> list[models.Model]:
        super().save_new_objects(commit)
        for form in self.initial_forms:
            conflict = form.conflict
            if form.is_gone and conflict and conflict.answer == "mine":
                prepare_as_new(form.instance)
                self.new_objects.append(self.save_new(form, commit=commit))
                if not commit:
                    self.saved_forms.append(form)
        return list(self.new_objects)


class VersionedModelFormSet(VersionedFormSetMixin, forms.BaseModelFormSet):  # type: ignore[type-arg]  # not generic at run time
    """For ``modelformset_factory(…, formset=VersionedModelFormSet)``."""


class VersionedInlineFormSet(VersionedFormSetMixin, forms.BaseInlineFormSet):  # type: ignore[type-arg]  # not generic at run time
    """For ``inlineformset_factory(…, formset=VersionedInlineFormSet)``."""


def versioned_form(form: Any, **attributes: Any) -> Any:
    """Return a subclass of the form class that is versioned."""
    if issubclass(form, VersionedFormMixin) and not attributes:
        return form
    bases = (
        (form,) if issubclass(form, VersionedFormMixin) else (VersionedFormMixin, form)
    )
    # With no model to make them for, the metaclass makes no fields: those of the
    # finished class are kept, with whatever somebody has changed about them.
    attributes["Meta"] = type("Meta", (), {})
    new = type(form)(form.__name__, bases, attributes)
    new.Meta, new._meta, new.base_fields = form.Meta, form._meta, form.base_fields
    return new


def versioned_formset(
    formset: Any, *, ask_always: bool, conflict_groups: Any, **attributes: Any
) -> Any:
    """Return a subclass of the model formset class that is versioned, as its forms."""
    attributes["form"] = versioned_form(
        formset.form, ask_always=ask_always, conflict_groups=conflict_groups
    )
    return type(formset.__name__, (VersionedFormSetMixin, formset), attributes)


def prepare_as_new(instance: models.Model) -> None:
    """Let an instance whose row is gone be inserted, under a new key if it can be."""
    pk = instance._meta.pk
    if isinstance(pk, models.AutoField) or pk.has_default():
        instance.pk = None
    instance._state.adding = True


def deleted_instance(
    model: type[models.Model], text: str | None
) -> models.Model | None:
    """Return an unsaved instance like the one a form was opened for.

    For a form whose row is gone when it is sent, so that it can be shown again.

    Args:
        model: the form's model.
        text: the token that was posted.

    Returns:
        The instance; ``None`` if the token isn't one for a form of this model.
    """
    try:
        [(pk, row)] = tokens.read(text, model).rows.items()
        instance = model(pk=model._meta.pk.to_python(pk))
    except (tokens.BadToken, ValidationError, ValueError):
        return None
    for name, value in row.base.items():
        with suppress(FieldDoesNotExist):
            field: Any = model._meta.get_field(name)
            if not field.many_to_many and not tokens.is_digest(value):
                setattr(instance, field.attname, tokens.thaw(field, value))
    return instance
