"""What is typed into the admin's forms is kept by the browser until it is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django import forms
from django.db import models
from django.http import HttpRequest, HttpResponse

from optilock.admin.base import Context, ModelAdmin, VersionedAdminBase
from optilock.djangos import signature_of
from optilock.forms.drafts import drafts_of, forget_draft

__all__ = ["DraftMixin"]


class DraftMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that keeps what is typed."""

    @signature_of(ModelAdmin.render_change_form)
    def render_change_form(
        self, request: HttpRequest, context: Context, *args: object, **kwargs: object
    ) -> HttpResponse:
        if self.optilock_drafts:
            context["media"] += drafts_of(
                request,
                secret=self._optilock_secret_names(
                    context["adminform"].form,
                    *(one.formset.form for one in context["inline_admin_formsets"]),
                ),
                posted=context["adminform"].form.is_bound,
                form=f"#{self.opts.model_name}_form",
            )
        render: Callable[..., HttpResponse] = super().render_change_form
        return render(request, context, *args, **kwargs)

    def _optilock_secret_names(self, *parts: object) -> set[str]:
        """Return the names that the options say, and those forms on the page."""
        names = {*self.optilock_secret_fields}
        return names.union(
            *(getattr(one, "optilock_secret_fields", ()) for one in self.inlines),
            *(getattr(one, "secret_fields", ()) for one in parts),
        )

    @signature_of(ModelAdmin.changeform_view)
    def changeform_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        vars(request)["_optilock_was_saved"] = False  # whatever a lost run has done
        view: Callable[..., HttpResponse] = super().changeform_view
        response = view(request, *args, **kwargs)
        was_saved = vars(request)["_optilock_was_saved"]
        return forget_draft(request, response) if was_saved else response

    @signature_of(ModelAdmin.save_related)
    def save_related(
        self,
        request: HttpRequest,
        form: forms.ModelForm[models.Model],
        formsets: Iterable[
            forms.BaseModelFormSet[models.Model, forms.ModelForm[models.Model]]
        ],
        change: bool,
    ) -> None:
        super().save_related(request, form, formsets, change)
        vars(request)["_optilock_was_saved"] = True

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        formset = getattr(context.get("cl"), "formset", None)
        if formset is not None and self.optilock_drafts:
            context["media"] += drafts_of(
                request,
                secret=self._optilock_secret_names(formset.form),
                posted=formset.is_bound,
                form="#changelist-form",
            )
        if "_save" in request.POST and response.status_code == 302:
            forget_draft(request, response)
        return response
