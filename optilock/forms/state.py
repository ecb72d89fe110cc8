"""What a form keeps of its row: as it was opened, as it is now, as it is shown next."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django import forms
from django.db import models, router
from django.utils.functional import cached_property

from optilock import loaded
from optilock.forms import tokens
from optilock.forms.comparison import FormComparison
from optilock.forms.files import ChosenFiles
from optilock.forms.recreate import is_deleted
from optilock.forms.token_field import TOKEN
from optilock.loaded import UNKNOWN
from optilock.rows import ModelField, lock_rows, row_exists, version_field

if TYPE_CHECKING:
    from optilock.fields import IntegerVersionField
    from optilock.forms.form import VersionedFormMixin
    from optilock.forms.formset import VersionedFormSetMixin

__all__ = ["FormState", "Page"]


@dataclass(frozen=True)
class Page:
    """What a view knows of the page that a form is on.

    Attributes:
        is_hidden: whether the row of a form that tells it as deleted is there, and
            only hidden from whoever sent the form.
        on_hold: whether the form is to be shown again, whatever is in it.
        place: what the URL says of the row; it is kept in the token.
        is_row: whether the form is for a row of a formset, which carries the token.
    """

    is_hidden: bool = False
    on_hold: bool = False
    place: str = ""
    is_row: bool = False


class FormState:
    """What stands behind ``form._optilock``, out of the way of the form's own names.

    Attributes:
        form: the form.
        page: what the view knows.
        formset: the formset that carries the token and locks the rows, if there
            is one.
        is_row: whether it is the form of a formset's row, be that a new one.
        is_deleted: whether the form is for a row that isn't there any more.
        is_hidden: whether it is only hidden from whoever sent the form.
        comparison: how the form compares; it has the row as it is now.
        taken: the names of fields that keep what is saved.
        merged: what was put in the place of what was typed, by field name.
        files: the files that were chosen for the form.
        is_asked_again: whether the page asks once more for what it can't keep.
        media: what the page needs besides that of the fields.
        written_over: by field name, the frozen values that were written over what the
            form shows.
        opened_before: when they were written, in milliseconds since the epoch.
    """

    def __init__(self, form: VersionedFormMixin, page: Page) -> None:
        self.form = form
        self.page = page
        self.formset: VersionedFormSetMixin | None = None
        self.is_row = page.is_row
        self.is_deleted = is_deleted(form.instance)
        self.is_hidden = page.is_hidden
        self.comparison = FormComparison(form)
        self.taken: set[str] = set()
        self.merged: dict[str, object] = {}
        self.files = ChosenFiles(form)
        self.is_asked_again = False
        self.media = forms.Media()
        self.written_over: dict[str, tokens.Frozen] = {}
        self.opened_before: int | None = None
        self._compared: tuple[int | None, loaded.Loaded | None] = (None, None)

    @cached_property
    def version(self) -> IntegerVersionField | None:
        """The version field of the form's model, if it has one."""
        model: type[models.Model] | None = self.form._meta.model
        return None if model is None else version_field(model)

    @cached_property
    def is_versioned(self) -> bool:
        """Whether there is a row that somebody else could have changed."""
        return self.version is not None and not self.form.instance._state.adding

    @property
    def is_marked_for_deletion(self) -> bool:
        """Whether the person asks for the row to be deleted (in a formset)."""
        formset = self.formset
        return bool(
            formset and formset.can_delete and formset._should_delete_form(self.form)  # type: ignore[attr-defined]  # not in the stubs
        )

    @property
    def is_being_validated(self) -> bool:
        """Whether the formset, which has locked its rows, is about to validate this."""
        formset = self.formset
        return formset is not None and formset._optilock.is_locked

    # --- the row ---------------------------------------------------------

    @property
    def locked(self) -> models.Model | None:
        """The row as it was last read, ``None`` if it wasn't, or is deleted."""
        return self.comparison.locked

    def lock(self) -> models.Model | None:
        """Read the form's row as it is now, and lock it."""
        if self.formset:
            self.comparison.locked = self.formset._optilock.locked_row(self.form)
        elif not self.is_deleted:  # or whoever made the form has reasons not to show it
            model, instance = self.form._meta.model, self.form.instance
            using = router.db_for_write(model, instance=instance)
            found = lock_rows(model, using, pk=instance.pk)
            self.comparison.locked = found[0] if found else None
        return self.comparison.locked

    def find_hidden(self) -> None:
        """Find out whether a deleted row exists, only not for whoever sent the form."""
        pk, model = self.form.instance.pk, self.form._meta.model
        if self.formset:
            self.is_hidden = pk in self.formset._optilock.hidden_keys
        else:
            self.is_hidden = row_exists(model, pk)
        self.form.can_recreate = self.form.can_recreate and not self.is_hidden

    def is_as_opened(self, locked: models.Model) -> bool:
        """Tell whether the row is as the page showed it, and that page asked nothing.

        Then there is nothing to compare with what was typed, as in most rows of a list.
        The values count as well as the version, which a raw ``UPDATE`` doesn't bump.
        """
        comparison, opened = self.comparison, self.opened
        base = opened.base
        return (
            opened.version == self._version_of(locked)
            and not (opened.shown or opened.merged)
            and all(
                name in base
                and tokens.is_frozen(field, comparison.saved(name), base[name])
                for name, field in comparison.fields.items()
            )
        )

    def _version_of(self, row: models.Model) -> int | None:
        version = self.version
        return None if version is None else getattr(row, version.attname)

    def note_compared(self) -> None:
        """Note what the instance is like before it is saved."""
        instance = self.form.instance
        self._compared = self._version_of(instance), loaded.recall(instance)

    @property
    def was_saved(self) -> bool:
        """Whether the row was written since it was compared, and not rolled back."""
        instance = self.form.instance
        if not self.form.is_bound or (self.is_versioned and self.locked is None):
            return False
        if not self.is_versioned:  # there was no row yet, or none any more
            return not instance._state.adding
        version, known = self._compared
        return (
            self._version_of(instance) != version
            or loaded.recall(instance) is not known
        )

    def show_overwritten(
        self, name: str, theirs: tokens.Frozen, mine: tokens.Frozen, *, when: int
    ) -> None:
        """Show what was overwritten; what it is compared with was written over it.

        Args:
            name: the field's name.
            theirs: its frozen value, as it was before.
            mine: the one that it was overwritten with.
            when: that was done, in milliseconds since the epoch.
        """
        self.written_over[name], self.opened_before = mine, when
        self.form.initial[name] = tokens.thaw(self.comparison.fields[name], theirs)
        self.form._bound_fields_cache.pop(name, None)  # type: ignore[attr-defined]  # not in the stubs

    # --- the token that was posted ---------------------------------------

    @cached_property
    def token(self) -> tokens.Token | None:
        """The token that was posted, ``None`` if there is none to be trusted."""
        posted = self.form.data.get(self.form.add_prefix(TOKEN))
        return tokens.trusted(posted, self.form._meta.model)

    @property
    def opened(self) -> tokens.OpenedRow:
        """The row as the page that was posted showed it."""
        token = self.formset._optilock.token if self.formset else self.token
        return token.row(self.form.instance.pk) if token else tokens.UNSEEN

    def opened_value(self, name: str) -> object:
        """Return the value of a model's field that the page was opened with."""
        field, frozen = (
            self.comparison.fields[name],
            self.opened.base.get(name, UNKNOWN),
        )
        if frozen is UNKNOWN or tokens.is_digest(frozen):
            return self.comparison.saved(name)
        return tokens.thaw(field, frozen)

    # --- the token of the next page --------------------------------------

    def sign(self) -> str:
        """Return the token for the page that is being rendered."""
        rows = {tokens.key(self.form.instance.pk): self.next_row()}
        token = tokens.Token(rows, place=self.page.place)
        if self.form.conflict and self.token and not self.was_saved:
            # What is told happened after the page was first opened.
            token = replace(token, loaded=self.token.loaded)
        elif self.opened_before is not None:
            token = replace(token, loaded=self.opened_before)
        return token.sign(self.form._meta.model)

    def next_row(self) -> tokens.OpenedRow:
        """Return the row as the page that is being rendered shows it."""
        conflict = self.form.conflict
        if self.was_saved:
            return tokens.look(self.form.instance, self._base())
        if self.form.is_bound and conflict and conflict.deleted:
            # A decision counts only where there was a question.
            told = None if conflict.question else tokens.ROW
            return replace(self.opened, shown={tokens.ROW: told})
        if self.form.is_bound and self.locked is None:  # not validated, or deleted
            return self.opened
        base, shown, before = self._base(), {}, self.opened.base
        open_ones = [*conflict.collisions, *conflict.overwritten] if conflict else []
        uploaded = self.files.sent if self.is_asked_again else ()
        for name in {*open_ones, *uploaded} & set(base):
            # Still to be saved, so compared with what was opened, once more.
            shown[name] = tokens.brief(base.pop(name))
            if name in before:
                base[name] = before[name]
        if conflict and conflict.question:
            shown[tokens.ROW] = conflict.current_version
        row = self.form.instance if self.locked is None else self.locked
        known = {**before, **self.opened.merged}
        merged = {
            n: known[n] for n in (conflict.told if conflict else ()) if n in known
        }
        return tokens.OpenedRow(self._version_of(row), base, shown, merged)

    def _base(self) -> dict[str, tokens.Frozen]:
        """Return the values of the row, as last read or written, for the token."""
        locked = None if self.was_saved else self.locked
        row = self.form.instance if locked is None else locked
        # What a view has set, or validation, isn't in the row yet.
        as_loaded = (locked is None and loaded.recall(row)) or ()
        names = [field.attname for field in row._meta.concrete_fields]
        known = dict(zip(names, as_loaded, strict=False))
        base = {}
        for name, field in self.comparison.fields.items():
            value = self._value_in(row, name, field, known)
            if not hasattr(value, "resolve_expression"):
                with suppress(TypeError):  # not JSON, so the version has to do
                    base[name] = self.comparison.freeze(name, value)
        return {**base, **self.written_over}

    def _value_in(
        self, row: models.Model, name: str, field: ModelField, known: dict[str, object]
    ) -> object:
        cleaned = getattr(self.form, "cleaned_data", {})
        if name in self.comparison.extra_fields:
            if self.was_saved and name in cleaned:
                return self.comparison.prepared(name, cleaned[name])
            return self.comparison.saved(name)
        if field.many_to_many:
            return self.comparison.saved(name)
        value = known.get(field.attname, UNKNOWN)
        return field.value_from_object(row) if value is UNKNOWN else value
