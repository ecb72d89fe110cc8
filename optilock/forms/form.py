"""Model forms that notice what others saved while the form was open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.formsets import DELETION_FIELD_NAME

from optilock import edit_conflicts, rollback
from optilock.decisions import Decision
from optilock.djangos import signature_of
from optilock.edit_conflicts import EditConflict
from optilock.forms.comparison import is_secret
from optilock.forms.conflict import MEDIA, FormConflict, is_first_met
from optilock.forms.errors import (
    CONFLICT,
    DELETED,
    HIDDEN,
    KEY_CHANGED,
    NO_ACTION,
    TYPE_AGAIN,
    too_old,
)
from optilock.forms.recreate import prepare_as_new
from optilock.forms.refresh import refresh
from optilock.forms.state import FormState, Page
from optilock.forms.token_field import TOKEN, TokenField
from optilock.forms.unseen import UnseenField
from optilock.installation import NeedsTemplates

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class RowOptions(TypedDict, total=False):
        ask_always: bool
        merge_together: Iterable[Iterable[str]] | None
        merge_decisions: Mapping[str, Decision] | None
        secret_fields: Iterable[str]
        compare_also: Iterable[str]

    class FormOptions(RowOptions, total=False):
        can_recreate: bool

    _ModelForm = forms.ModelForm[Any]
    _Form = _ModelForm
else:
    _ModelForm, _Form = forms.ModelForm, object

__all__ = ["VersionedFormMixin", "VersionedModelForm", "versioned_form"]

_F = TypeVar("_F", bound=forms.BaseForm)


class VersionedFormMixin(NeedsTemplates, _Form):
    """A ``ModelForm`` that compares: as opened, as saved now, as typed.

    What doesn't overlap is merged. What does is an error with the code
    ``"conflict"`` until the person has decided; ``conflict`` has the details.

    Attributes:
        ask_always: ask about every change somebody else made to a field of the
            form, whether or not it overlaps.
        merge_together: fields that only make sense together, as in
            ``[("amount", "currency")]``. By default the model's
            ``merge_together``.
        merge_decisions: what to do with fields that both changed, as in the model's
            ``merge_decisions``, which counts for the fields that aren't named here.
        secret_fields: names of fields whose values are neither put in the token
            nor shown when they conflict. Those with a ``PasswordInput``, which
            doesn't show them either, needn't be named.
        compare_also: names of fields that aren't on the form, but count: if somebody
            else has changed one, as a soft delete does, the person is asked. To keep
            theirs is to save nothing. Their values are in the token and on the page.
        can_recreate: whether the form of a row that was deleted can be saved, as
            a new one. It has to be told by ``versioned_form()`` that it is for one.
        conflict: a ``FormConflict`` once the form is validated, ``None`` if
            nobody else changed anything on the form.
    """

    ask_always: bool = False
    merge_together: Iterable[Iterable[str]] | None = None
    merge_decisions: Mapping[str, Decision] | None = None
    secret_fields: Iterable[str] = ()
    compare_also: Iterable[str] = ()
    can_recreate: bool = False
    conflict: FormConflict | None = None
    # What isn't for users to call stays out of the way of a form's own names.
    _optilock_page = Page()

    @signature_of(_ModelForm.__init__)
    def __init__(self, *args: object, **kwargs: object) -> None:
        make: Callable[..., None] = super().__init__
        make(*args, **kwargs)
        self._optilock = FormState(self, self._optilock_page)
        version = self._optilock.version
        if version is not None and version.name in self.fields:
            # The token knows more than the number, which isn't for people to merge.
            self.fields[version.name].disabled = True
        is_old = self._optilock.is_versioned or self._optilock.is_deleted
        if is_old and not self._optilock.is_row:
            self.fields[TOKEN] = TokenField(self._optilock.sign)
        if self._optilock.is_versioned:
            for name in self.compare_also:
                model_field = self._meta.model._meta.get_field(name)
                opened = partial(self._optilock.opened_value, name)
                self.fields.setdefault(name, UnseenField(model_field, opened))

    @property
    def media(self) -> forms.Media:
        """The form's scripts and styles; if it has to ask, the questions' too."""
        media = super().media + self._optilock.media
        return media + MEDIA if self.conflict and self.conflict.asks else media

    def _clean_form(self) -> None:
        # Here rather than in clean(), so that a clean() that forgets to call
        # super() can't switch it off, and sees the merged values.
        if self._optilock.is_versioned or self._optilock.is_deleted:
            self._optilock_compare()
        if self._optilock.files.lost:
            self._optilock.files.ask()
        if self._optilock_page.on_hold:
            self.add_error(None, NO_ACTION)
        super()._clean_form()  # type: ignore[misc]  # not in the stubs

    def has_changed(self) -> bool:
        is_new = self._errors is None  # type: ignore[attr-defined]  # not in the stubs
        if is_new and self._optilock.is_being_validated:
            self.full_clean()  # which compares it with what is saved
        # A new row in which nothing but a file was chosen isn't an empty one.
        return super().has_changed() or bool(self._optilock.files.lost)

    def _post_clean(self) -> None:
        pk, name = self.instance.pk, self._meta.model._meta.pk.name
        super()._post_clean()  # type: ignore[misc]  # not in the stubs
        if self._optilock.is_versioned and self.instance.pk != pk:
            # Django would insert a copy; the lock finds no row to update.
            self.instance.pk = pk
            self.add_error(name, ValidationError(KEY_CHANGED, code="key_changed"))
        comparison, conflict = self._optilock.comparison, self.conflict
        for name in comparison.unseen if conflict else ():
            if conflict and conflict.decisions.get(name) == "mine":
                attname = comparison.model_fields[name].attname
                rollback.put(self.instance, attname, self[name].data)

    def _save_m2m(self) -> None:
        super()._save_m2m()  # type: ignore[misc]  # not in the stubs
        comparison = self._optilock.comparison
        left_out = set(self._meta.exclude or ())
        if self._meta.fields is not None:
            left_out |= set(comparison.model_fields) - set(self._meta.fields)
        for name, field in comparison.model_fields.items():
            if field.many_to_many and name in self.cleaned_data.keys() - left_out:
                chosen = self.cleaned_data[name] or ()
                comparison.chosen[name] = [getattr(one, "pk", one) for one in chosen]
        if self._optilock.version is not None and not self._optilock.is_row:
            # If it is shown again, it is a form for this row, also if that is new.
            self.fields.setdefault(TOKEN, TokenField(self._optilock.sign))

    @signature_of(_ModelForm.save)
    def save(self, commit: bool = True) -> object:
        if commit and self._optilock.is_deleted:
            prepare_as_new(self.instance)
        return super().save(commit)

    save.alters_data = True  # type: ignore[attr-defined]

    # --- comparing -------------------------------------------------------

    def _optilock_compare(self) -> None:
        state = self._optilock
        locked = state.lock()
        if locked is not None:
            refresh(self, locked)
            state.note_compared()
            if state.is_as_opened(locked):
                self.changed_data = self._optilock_changed()
                return
        elif state.is_deleted:
            state.find_hidden()
        conflict = FormConflict(self)
        if conflict.is_news:
            self.conflict = conflict
        if is_first_met(conflict):
            _note(conflict)
        for name in conflict.dropped:
            self._optilock_take(name)
        for name, value in conflict.results.items():
            self._optilock_merge(name, value)
        if conflict.question == "deleting" and conflict.decision == "theirs":
            self.cleaned_data[DELETION_FIELD_NAME] = False
            state.taken.add(DELETION_FIELD_NAME)
        self.changed_data = [] if locked is None else self._optilock_changed()
        if conflict.is_open:
            self._optilock_ask(conflict)

    def _optilock_ask(self, conflict: FormConflict) -> None:
        """Let the form be shown again, with the questions."""
        self._optilock_ask_for_files()
        if conflict.deleted:
            message = HIDDEN if conflict.is_hidden else DELETED
            self.add_error(None, ValidationError(message, code="deleted"))
        elif conflict.too_old and not conflict.formset:
            self.add_error(None, too_old(self))
        else:
            self.add_error(None, ValidationError(CONFLICT, code="conflict"))

    def _optilock_changed(self) -> list[str]:
        """Return the names of the fields that are going to be saved."""
        comparison = self._optilock.comparison
        return [
            name
            for name, bound in self._bound_items()  # type: ignore[attr-defined]  # not in the stubs
            if name not in self._optilock.taken
            and (
                comparison.differs(name, comparison.saved(name))
                if name in comparison.fields
                else bound._has_changed()
            )
        ]

    def _optilock_ask_for_files(self) -> None:
        """Ask for files and passwords that were sent: a page can't keep them."""
        for name, field in self.fields.items():
            if is_secret(field) and self[name].data and name not in self.errors:
                self.add_error(name, TYPE_AGAIN)
        self._optilock.files.ask()
        self._optilock.is_asked_again = True

    def _optilock_take(self, name: str) -> None:
        """Keep what is saved, whatever was posted."""
        comparison = self._optilock.comparison
        field, value = comparison.fields[name], comparison.saved(name)
        if isinstance(field, models.ForeignKey):
            value = getattr(self.instance, field.name)
        if name in comparison.extra_fields:
            try:
                value = _cleaned(self.fields[name], self[name].initial)
            except (ValidationError, TypeError, ValueError):
                self.add_error(name, ValidationError(CONFLICT, code="conflict"))
                return
        self._optilock.taken.add(name)
        self.cleaned_data[name] = value
        self._errors.pop(name, None)  # type: ignore[attr-defined]  # not in the stubs
        if self.conflict and name not in self.conflict.decisions:
            self.fields[name].bound_field_class = _SavedValue
            self._bound_fields_cache.pop(name, None)  # type: ignore[attr-defined]  # not in the stubs

    def _optilock_related(self, name: str, keys: object) -> object:
        """Return the objects of a merged set, if the field may have as many."""
        field, found = self.fields[name], self._optilock.comparison.related(name, keys)
        if field.required and not keys:
            raise ValidationError(field.error_messages["required"], code="required")
        field.run_validators(found)
        return found

    def _optilock_merge(self, name: str, value: object) -> None:
        """Put a value in the place of what was posted, and validate it."""
        comparison = self._optilock.comparison
        try:
            if comparison.fields[name].many_to_many:
                self.cleaned_data[name] = self._optilock_related(name, value)
            else:
                self.cleaned_data[name] = _cleaned(self.fields[name], value)
            if clean := getattr(self, f"clean_{name}", None):
                self.cleaned_data[name] = clean()
            if isinstance(value, str) and value == comparison.saved(name):
                self._optilock.taken.add(name)
        except ValidationError as error:
            self.add_error(name, error)
        if self.conflict and name not in self.conflict.decisions:
            self._optilock.merged[name] = value
            self.fields[name].bound_field_class = _MergedValue
            self._bound_fields_cache.pop(name, None)  # type: ignore[attr-defined]  # not in the stubs


class VersionedModelForm(VersionedFormMixin, forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A ``ModelForm`` for a versioned model; see ``VersionedFormMixin``."""


def _note(conflict: FormConflict) -> None:
    """Let receivers count a conflict that was found before anything is written."""
    formset = conflict.formset
    found_in = "form" if formset is None else "formset"
    if formset and not formset._optilock_is_one_thing:
        found_in = "list"
    edit_conflicts.note(
        EditConflict(
            conflict.instance,
            found_in,
            colliding=conflict.collisions,
            merged=conflict.merged,
            conflict=conflict,
        )
    )


class _SavedValue(forms.BoundField):
    """An input that shows what is saved, not what was posted."""

    def value(self) -> object:
        return self.field.prepare_value(self.initial)


class _MergedValue(forms.BoundField):
    """An input that shows what was merged, not what was posted."""

    form: VersionedFormMixin

    def value(self) -> object:
        return self.field.prepare_value(self.form._optilock.merged[self.name])


def _cleaned(field: forms.Field, value: object) -> object:
    """Return what a field gives the form for a value that it was shown with."""
    value = field.prepare_value(value)
    if isinstance(field, forms.MultiValueField):
        value = field.widget.decompress(value)
    return field.clean(value)


def versioned_form(
    form: type[_F], *, page: Page | None = None, **options: Unpack[FormOptions]
) -> type[_F]:
    """Return a subclass of the form class that is versioned.

    Args:
        form: the class.
        page: what a view knows of the page that the form is on.
        options: attributes of ``VersionedFormMixin``. One that isn't set leaves what
            the class says of itself.
    """
    is_versioned = issubclass(form, VersionedFormMixin)
    attributes: dict[str, object] = {
        name: value
        for name, value in options.items()
        if name == "can_recreate" or value not in (None, False)
    }
    for name in attributes.keys() & {"secret_fields", "compare_also"}:
        own: Iterable[str] = getattr(form, name, ())
        given: Iterable[str] = options[name]  # type: ignore[literal-required]  # one of the two
        attributes[name] = [*dict.fromkeys([*own, *given])]
    if page is not None:
        attributes["_optilock_page"] = page
    if is_versioned and not attributes:
        return form
    bases = (form,) if is_versioned else (VersionedFormMixin, form)
    # Without a model the metaclass makes no fields: those of the finished class are
    # kept, with whatever somebody has changed about them.
    attributes["Meta"] = type("Meta", (), {"model": None})  # asked by parler's
    old: Any = form
    new = type(old)(form.__name__, bases, attributes)
    new.Meta = getattr(old, "Meta", new.Meta)
    new._meta, new.base_fields = old._meta, old.base_fields
    made: type[_F] = new
    return made
