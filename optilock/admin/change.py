"""The change form, with its conflict page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from django import forms
from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import InlineModelAdmin
from django.db import models, router
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect

from optilock import panel
from optilock.admin.base import Context, ModelAdmin
from optilock.admin.inlines import VersionedInlineMixin
from optilock.admin.page import Page, add_token, state
from optilock.admin.posted import (
    CHANGE_FORM,
    hold_without_action,
    is_on_hold,
    pressed_button,
    take_carrier,
)
from optilock.admin.told import TellingMixin
from optilock.djangos import signature_of
from optilock.forms.form import VersionedFormMixin, versioned_form
from optilock.forms.recreate import deleted_instance, prepare_as_new
from optilock.forms.state import Page as FormPage
from optilock.forms.token_field import TOKEN
from optilock.once_more import transactions
from optilock.overwriting import address
from optilock.rows import version_field

__all__ = ["ChangeFormMixin"]

_FormSet: TypeAlias = (
    "forms.BaseModelFormSet[models.Model, forms.ModelForm[models.Model]]"
)


class ChangeFormMixin(TellingMixin):
    """The part of ``VersionedAdminMixin`` that is about the change form."""

    @signature_of(ModelAdmin.get_form)
    def get_form(
        self,
        request: HttpRequest,
        obj: models.Model | None = None,
        change: bool = False,
        **kwargs: object,
    ) -> type[forms.ModelForm[models.Model]]:
        form = super().get_form(request, obj, change=change, **kwargs)
        if (
            not change
            or obj is None
            or version_field(self.model) is None
            or self.is_reverting(request)
            or not self.has_change_permission(request, obj)
        ):
            return form
        is_deleted = obj._state.adding
        is_hidden = is_deleted and getattr(obj, "_optilock_is_hidden", False)
        may_recreate = is_deleted and not is_hidden
        return versioned_form(
            form,
            page=FormPage(is_hidden=is_hidden, on_hold=is_on_hold(request)),
            can_recreate=may_recreate and self.has_add_permission(request),
            **self._optilock_row_options,
        )

    # --- the views -------------------------------------------------------

    # A view is run once more as a whole: what django-reversion has noted of the first
    # run is forgotten, too.

    @signature_of(ModelAdmin.add_view)
    def add_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        add: Callable[..., HttpResponse] = super().add_view
        view = partial(add, request, *args, **kwargs)
        return self._optilock_once_more(request, view)

    @signature_of(ModelAdmin.change_view)
    def change_view(
        self, request: HttpRequest, object_id: str, *args: object, **kwargs: object
    ) -> HttpResponse:
        take_carrier(request)
        if TOKEN in request.POST and f"{CHANGE_FORM}action" in request.POST:
            hold_without_action(request, prefix=CHANGE_FORM)
        change: Callable[..., HttpResponse] = super().change_view
        view = partial(change, request, object_id, *args, **kwargs)
        return self._optilock_once_more(request, view, prefix=CHANGE_FORM)

    @signature_of(ModelAdmin.changeform_view)
    @method_decorator(csrf_protect)
    def changeform_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        view: Callable[..., HttpResponse] = super().changeform_view
        own = admin.ModelAdmin.changeform_view
        is_own = getattr(view, "__func__", None) is own
        if is_own and router.db_for_write(self.model) in transactions(request):
            # Django's transaction would be a savepoint in the one there is.
            view = self._changeform_view  # type: ignore[attr-defined]  # Django's, but not in its stubs
        return view(request, *args, **kwargs)

    @signature_of(ModelAdmin.get_object)
    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> models.Model | None:
        # An empty `_to_field` names no field at all.
        obj = super().get_object(request, object_id, from_field or None)
        if obj is None and request.method == "POST" and TOKEN in request.POST:
            return self._optilock_deleted_object(request, object_id, from_field)
        return obj

    def _optilock_deleted_object(
        self, request: HttpRequest, object_id: str, from_field: str | None
    ) -> models.Model | None:
        """Return an unsaved object like the one the posted form was opened for."""
        model: type[models.Model] = self.model
        obj = deleted_instance(model, request.POST[TOKEN])
        if obj is None or not (from_field or str(obj.pk) == str(object_id)):
            return None
        vars(obj)["_optilock_is_hidden"] = self._optilock_exists(obj.pk)
        return obj

    @signature_of(ModelAdmin.get_inline_instances)
    def get_inline_instances(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> list[InlineModelAdmin[models.Model, models.Model]]:
        inlines = super().get_inline_instances(request, obj)
        for inline in inlines:
            if isinstance(inline, VersionedInlineMixin):
                inline._optilock_is_reverting = self.is_reverting(request)
        return inlines

    @signature_of(ModelAdmin.get_formset_kwargs)
    def get_formset_kwargs(
        self,
        request: HttpRequest,
        obj: models.Model,
        inline: InlineModelAdmin[models.Model, models.Model],
        prefix: str,
    ) -> dict[str, object]:
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if obj.pk is not None and obj._state.adding and TOKEN in request.POST:
            # The object is deleted, and its children with it: all of them are new.
            kwargs["save_as_new"] = True
        return kwargs

    @signature_of(ModelAdmin.render_change_form)
    def render_change_form(
        self, request: HttpRequest, context: Context, *args: object, **kwargs: object
    ) -> HttpResponse:
        form = context["adminform"].form
        if TOKEN in form.fields:
            add_token(context["adminform"])
        formsets = [inline.formset for inline in context["inline_admin_formsets"]]
        page = Page(form, formsets)
        if page.asks:
            if isinstance(form, VersionedFormMixin) and form.conflict:
                context["original"] = panel.saved_object(form.conflict)
            page.ask_for_files()
            html = panel.render(
                page.conflicts,
                subject=context.get("original"),
                author=self._optilock_author(request, page),
                added=panel.find_added(formsets),
                too_old=page.is_too_old,
                reload_url=address(request),
                can_recreate=getattr(form, "can_recreate", False),
                button=pressed_button(request),
            )
            page.show(html)
            context["errors"] = helpers.AdminErrorList(form, formsets)
            context["media"] += panel.MEDIA
        else:  # something else is wrong, and merged values are shown already
            self._optilock_tell(request, page, saved=False)
        render: Callable[..., HttpResponse] = super().render_change_form
        response = render(request, context, *args, **kwargs)
        shown = getattr(response, "context_data", None)
        if state(form, "is_deleted") and shown is not None:
            _offer_only_to_create(shown, can_save=getattr(form, "can_recreate", False))
        return response

    # --- saving ----------------------------------------------------------

    @signature_of(ModelAdmin.save_model)
    def save_model(
        self,
        request: HttpRequest,
        obj: models.Model,
        form: forms.ModelForm[models.Model],
        change: bool,
    ) -> None:
        if state(form, "is_deleted"):
            prepare_as_new(obj)
            vars(obj)["_optilock_recreated"] = True
        elif state(form, "is_versioned"):
            page = Page(form)
            if page.may_have_changed:
                self._optilock_author(request, page)
        if change and _is_unchanged(form, obj):
            vars(form)["_optilock_is_unsaved"] = True
            return
        super().save_model(request, obj, form, change)

    @signature_of(ModelAdmin.save_related)
    def save_related(
        self,
        request: HttpRequest,
        form: forms.ModelForm[models.Model],
        formsets: Iterable[_FormSet],
        change: bool,
    ) -> None:
        page = Page(form, formsets)
        if page.conflicts or page.added:
            self._optilock_author(request, page)
        if getattr(form, "_optilock_is_unsaved", False) and _change_rows(formsets):
            # The rows belong to the object: whoever has it open has to know.
            super().save_model(request, form.instance, form, change)
        super().save_related(request, form, formsets, change)
        self._optilock_tell(request, page, saved=True)

    @signature_of(ModelAdmin.log_change)
    def log_change(
        self, request: HttpRequest, obj: models.Model, message: object
    ) -> LogEntry:
        if _was_recreated(obj):
            return self.log_addition(request, obj, [{"added": {}}])
        return super().log_change(request, obj, message)

    @signature_of(ModelAdmin.response_change)
    def response_change(self, request: HttpRequest, obj: models.Model) -> HttpResponse:
        if _was_recreated(obj):
            return self.response_add(request, obj)
        return super().response_change(request, obj)


def _offer_only_to_create(context: Context, *, can_save: bool) -> None:
    """Leave out of a page what a deleted object can't be used for."""
    context |= {
        "change": False,  # nor is it added: History stands where something is changed
        "has_editable_inline_admin_formsets": can_save,
        "has_delete_permission": False,
        "has_absolute_url": False,
        "save_as": False,
        "action_form": None,
    }


def _was_recreated(obj: models.Model) -> bool:
    return bool(vars(obj).get("_optilock_recreated"))


def _is_unchanged(form: forms.ModelForm[models.Model], obj: models.Model) -> bool:
    """Return whether saving a form's object would only bump its version.

    What the project's own ``save_model()`` has set is a change as well.
    """
    locked = state(form, "locked")
    if locked is None or form.has_changed():
        return False
    for field in obj._meta.concrete_fields:
        if not vars(obj).keys() & vars(locked).keys() & {field.attname}:
            continue  # deferred, so it isn't written
        value = field.value_from_object(obj)
        if not getattr(value, "_committed", True):  # a file that isn't stored yet
            return False
        if _equal(value, field.value_from_object(locked)):
            continue
        # What a form does to a value, such as to the ends of lines, is no change.
        is_on_form = field.name in state(form, "comparison").model_fields
        cleaned = form.cleaned_data.get(field.name)
        if not is_on_form or not _equal(value, getattr(cleaned, "pk", cleaned)):
            return False
    return True


def _equal(value: object, other: object) -> bool:
    try:
        return bool(value == other)
    except Exception:  # somebody's own type, such as an array
        return False


def _change_rows(formsets: Iterable[_FormSet]) -> bool:
    """Return whether rows are going to be added, changed or deleted."""
    return any(
        formset.has_changed() or any(c.decision == "mine" for c in conflicts)
        for formset in formsets
        for conflicts in [getattr(formset, "conflicts", ())]
    )
