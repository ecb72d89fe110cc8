"""Model formsets whose rows notice what others saved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import models, router
from django.forms.formsets import ManagementForm
from django.utils.functional import cached_property

from optilock.differences import Budget
from optilock.forms import tokens
from optilock.forms.conflict import MEDIA, FormConflict
from optilock.forms.errors import CONFLICT, NO_ACTION, too_old
from optilock.forms.form import VersionedFormMixin, versioned_form
from optilock.forms.merges import QUICK
from optilock.forms.recreate import prepare_as_new
from optilock.forms.state import Page
from optilock.forms.token_field import TOKEN, TokenField
from optilock.installation import NeedsTemplates
from optilock.rows import lock_rows, version_field

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from optilock.forms.form import RowOptions

    _FormSet = forms.BaseModelFormSet[Any, Any]
else:
    _FormSet = object

__all__ = [
    "FormSetState",
    "VersionedFormSetMixin",
    "VersionedInlineFormSet",
    "VersionedModelFormSet",
    "versioned_formset",
]


_FS = TypeVar("_FS", bound=_FormSet)


class FormSetState:
    """What stands behind ``formset._optilock``: the token, and the locked rows.

    Attributes:
        formset: the formset.
        model: the model of its rows.
        added_before: rows that somebody else has added, as an earlier page has told.
        is_locked: whether the rows were read and locked, to be compared.
    """

    def __init__(self, formset: VersionedFormSetMixin) -> None:
        self.formset = formset
        self.model: type[models.Model] = formset.model  # type: ignore[assignment]  # one that is used has a model
        self.added_before: list[models.Model] = []
        self.is_locked = False
        self._rows: dict[object, models.Model] = {}

    @property
    def is_versioned(self) -> bool:
        """Whether there are rows that somebody else could have changed."""
        as_new = getattr(self.formset, "save_as_new", False)
        return version_field(self.model) is not None and not as_new

    @cached_property
    def budget(self) -> Budget:
        """How much may still be compared to show the rows' conflicts."""
        return Budget()

    @cached_property
    def merging(self) -> Budget:
        """How much may still be compared to merge the rows' texts."""
        return Budget(QUICK)

    @cached_property
    def token(self) -> tokens.Token | None:
        """The token that was posted, ``None`` if there is none to be trusted."""
        posted = self.formset.data.get(f"{self.formset.prefix}-{TOKEN}")
        return tokens.trusted(posted, self.model)

    def sign(self) -> str:
        """Return the token of all rows, for the page that is being rendered."""
        formset = self.formset
        forms_of_rows = formset.initial_forms
        rows = {
            tokens.key(form.instance.pk): form._optilock.next_row()
            for form in forms_of_rows
        }
        was_saved = any(form._optilock.was_saved for form in forms_of_rows)
        for row in (*formset.added, *self.added_before):
            told = {} if was_saved else {tokens.ROW: None}
            rows[tokens.key(row.pk)] = replace(tokens.look(row), merged=told)
        for row in getattr(formset, "new_objects", ()):
            rows[tokens.key(row.pk)] = tokens.look(row)
        if self.token and formset.conflicts and not was_saved:
            # What is told happened after the page was first opened.
            return tokens.Token(rows, self.token.loaded).sign(self.model)
        before = [form._optilock.opened_before for form in forms_of_rows]
        if times := [time for time in before if time is not None]:
            return tokens.Token(rows, min(times)).sign(self.model)
        return tokens.Token(rows).sign(self.model)

    def lock(self) -> None:
        """Read and lock the rows of all forms, with one query."""
        forms_of_rows = self.formset.initial_forms
        found = [f.instance for f in forms_of_rows if not f._optilock.is_deleted]
        if found:
            using = router.db_for_write(self.model, instance=found[0])
            locked = lock_rows(self.model, using, pk__in=[row.pk for row in found])
            self._rows = {row.pk: row for row in locked}
            self.is_locked = True

    def locked_row(self, form: VersionedFormMixin) -> models.Model | None:
        """Return the form's row as it is now, ``None`` if it is deleted."""
        return None if form._optilock.is_deleted else self._rows.get(form.instance.pk)

    @cached_property
    def hidden_keys(self) -> set[object]:
        """The keys of rows that exist, but aren't the formset's any more."""
        forms_of_rows = self.formset.initial_forms
        keys = [f.instance.pk for f in forms_of_rows if f._optilock.is_deleted]
        rows = self.model._base_manager.using(router.db_for_write(self.model))
        rows = rows.filter(pk__in=[key for key in keys if key is not None])
        return set(rows.values_list("pk", flat=True))


class VersionedFormSetMixin(NeedsTemplates, _FormSet):
    """A model formset whose rows notice what others saved.

    One hidden input in the management form carries the token of all rows, and
    one query locks them. The rows' form class becomes a versioned one.

    Attributes:
        can_recreate: whether a row that somebody else deleted can be saved again
            as a new one.
        added: once the formset is validated, the rows that somebody else has
            added since; there are no forms for them.
    """

    can_recreate: bool = True
    added: Sequence[models.Model] = ()
    #: Whether the rows are parts of one thing, so that with ``ask_always`` those
    #: nobody touched here are asked about as well.
    _optilock_is_one_thing = True
    #: Whether it is to be shown again, whatever is in it.
    _optilock_on_hold = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "form" in vars(cls):
            cls.form = versioned_form(cls.form)

    @cached_property
    def _optilock(self) -> FormSetState:
        return FormSetState(self)

    @property
    def conflicts(self) -> list[FormConflict]:
        """The conflicts of the rows, in the order of the forms."""
        return [form.conflict for form in self.initial_forms if form.conflict]

    @cached_property
    def management_form(self) -> ManagementForm:
        form = super().management_form
        if self._optilock.is_versioned:
            form.fields[TOKEN] = TokenField(self._optilock.sign)
        return form

    @property
    def media(self) -> forms.Media:
        media = super().media + self.management_form.media
        asks = any(conflict.asks for conflict in self.conflicts)
        return media + MEDIA if asks else media

    def _construct_form(self, i: int, **kwargs: object) -> VersionedFormMixin:
        form: VersionedFormMixin = super()._construct_form(i, **kwargs)  # type: ignore[misc]  # not in the stubs
        form._optilock.is_row = True
        form.fields.pop(TOKEN, None)
        if self._optilock.is_versioned and i < self.initial_form_count():
            form._optilock.formset = self
            if form.instance._state.adding:
                self._optilock_mark_as_deleted(form)
        return form

    def _optilock_mark_as_deleted(self, form: VersionedFormMixin) -> None:
        """Let the form go on without its row, which Django's would reject."""
        model = self._optilock.model
        pk = model._meta.pk
        with suppress(ValidationError):
            posted = self.data.get(form.add_prefix(pk.name), "")
            if tokens.is_key(model, posted):
                form.instance.pk = self._get_to_python(pk)(posted)  # type: ignore[attr-defined]  # not in the stubs
        form._optilock.is_deleted = True
        if form.fields[pk.name].widget.is_hidden:
            form.fields[pk.name] = forms.CharField(
                required=False, widget=forms.HiddenInput
            )

    def full_clean(self) -> None:
        state = self._optilock
        if self.is_bound and state.is_versioned:
            state.lock()
            if state.token:
                known, rows = state.token.rows, self.get_queryset()
                self.added = [r for r in rows if tokens.key(r.pk) not in known]
                state.added_before = [
                    r for r in rows if tokens.ROW in state.token.row(r.pk).merged
                ]
        super().full_clean()
        if not self.is_bound or not state.is_versioned:
            return
        # Here rather than in clean(), which may forget to call super().
        if self._optilock_on_hold:
            self._optilock_add(ValidationError(NO_ACTION, code="on_hold"))
        if state.token is None and self.initial_forms:
            self._optilock_add(too_old(self.management_form))
        elif any(conflict.is_open for conflict in self.conflicts) or (
            self.added and self.form.ask_always
        ):
            self._optilock_add(ValidationError(CONFLICT, code="conflict"))
        # Django pairs forms with rows by position when it renders errors. Rows
        # may have been added or deleted since.
        self._queryset = [form.instance for form in self.initial_forms]

    def _optilock_add(self, error: ValidationError) -> None:
        self._non_form_errors.extend(error.error_list)  # type: ignore[attr-defined]  # not in the stubs

    def save_new_objects(self, commit: bool = True) -> list[models.Model]:
        super().save_new_objects(commit)
        for form in self.initial_forms:
            conflict = form.conflict
            if form._optilock.is_deleted and conflict and conflict.decision == "mine":
                prepare_as_new(form.instance)
                self.new_objects.append(self.save_new(form, commit=commit))
                if not commit:
                    self.saved_forms.append(form)
        return list(self.new_objects)


class VersionedModelFormSet(VersionedFormSetMixin, forms.BaseModelFormSet):  # type: ignore[type-arg]  # not generic at run time
    """For ``modelformset_factory(…, formset=VersionedModelFormSet)``."""


class VersionedInlineFormSet(VersionedFormSetMixin, forms.BaseInlineFormSet):  # type: ignore[type-arg]  # not generic at run time
    """For ``inlineformset_factory(…, formset=VersionedInlineFormSet)``."""


def versioned_formset(
    formset: type[_FS],
    *,
    can_recreate: bool = True,
    is_one_thing: bool = True,
    on_hold: bool = False,
    **options: Unpack[RowOptions],
) -> type[_FS]:
    """Return a subclass of the model formset class, versioned like its forms.

    Args:
        formset: the class.
        can_recreate: as for ``VersionedFormSetMixin``.
        is_one_thing: whether the rows are parts of one thing, so that with
            ``ask_always`` those nobody touched here are asked about as well.
        on_hold: whether it is to be shown again, whatever is in it.
        options: attributes of the forms' class, a ``VersionedFormMixin``.
    """
    attributes = {
        "form": versioned_form(formset.form, page=Page(is_row=True), **options),
        "can_recreate": can_recreate,
        "_optilock_is_one_thing": is_one_thing,
        "_optilock_on_hold": on_hold,
    }
    return type(formset.__name__, (VersionedFormSetMixin, formset), attributes)
