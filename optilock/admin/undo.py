"""What was overwritten is put back, and told to the person whose it was."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext

from optilock import panel
from optilock.admin.base import Context, ModelAdmin
from optilock.admin.told import TellingMixin
from optilock.djangos import signature_of
from optilock.overwriting import Overwritten

__all__ = ["UndoMixin"]


class UndoMixin(TellingMixin):
    """The part of ``VersionedAdminMixin`` that is about what was overwritten."""

    @signature_of(ModelAdmin.render_change_form)
    def render_change_form(
        self, request: HttpRequest, context: Context, *args: object, **kwargs: object
    ) -> HttpResponse:
        if overwritten := Overwritten.of(request):
            formsets = [one.formset for one in context["inline_admin_formsets"]]
            rows = [form for formset in formsets for form in formset.initial_forms]
            text, level = panel.tell_put_back(
                (form, overwritten.put_into(form))
                for form in (context["adminform"].form, *rows)
            )
            self.message_user(request, text, level)
        render: Callable[..., HttpResponse] = super().render_change_form
        return render(request, context, *args, **kwargs)

    # --- the person whose it was -----------------------------------------

    @signature_of(ModelAdmin.changeform_view)
    def changeform_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        self._optilock_tell_notices(request)
        view: Callable[..., HttpResponse] = super().changeform_view
        return view(request, *args, **kwargs)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        self._optilock_tell_notices(request)
        return super().changelist_view(request, extra_context)

    def _optilock_tell_notices(self, request: HttpRequest) -> None:
        """Tell the person what others have overwritten since the last page."""
        if not self.optilock_tell_overwritten or request.method != "GET":
            return
        from optilock.log.notices import take

        for notice in take(request.user):
            model, pk = notice.model_class, notice.object_id
            row = self._optilock_find_row(request, model, pk)
            if row is None:
                continue  # it is gone, or no business of this person any more
            labels = [panel.isolate(notice.field_label(name)) for name in notice.fields]
            text = gettext(
                "What you had saved in %(object)s was overwritten by %(user)s: "
                "%(fields)s."
            ) % {
                "user": panel.isolate(notice.by),
                "object": panel.row_title(row),
                "fields": panel.listed(labels),
            }
            link = format_html(
                '{} <a href="{}">{}</a>',
                text,
                self._optilock_url(row, "history"),
                gettext("History"),
            )
            self.message_user(request, link, messages.WARNING)

    def _optilock_find_row(
        self, request: HttpRequest, model: type[models.Model] | None, pk: str
    ) -> models.Model | None:
        """Return a row of any model of the site, if the person may see it."""
        if model is None or not self.admin_site.is_registered(model):
            return None
        owner = self.admin_site.get_model_admin(model)
        row: models.Model | None = owner.get_object(request, pk)
        return (
            row if row and owner.has_view_or_change_permission(request, row) else None
        )
