"""Says in an open form that somebody else has it open, too, or has saved meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django import forms
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from optilock.admin.base import Context, ModelAdmin, VersionedAdminBase
from optilock.admin.page import state
from optilock.djangos import signature_of
from optilock.forms import tokens
from optilock.forms.token_field import TOKEN, TokenField
from optilock.lookout import Lookout, WatchedInput, is_question
from optilock.rows import version_field

__all__ = ["PollMixin"]

#: How often a form asks, in seconds, if only ``optilock_presence`` is set.
_SECONDS = 15


class PollMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that looks while a form is open."""

    def get_presence_name(self, request: HttpRequest, user: AbstractBaseUser) -> str:
        """Return what somebody is called who has the same form open.

        Args:
            request: the request of the person who is to be told.
            user: who has it open. For an empty text, nobody is told of them.
        """
        return str(user.get_username())

    def get_urls(self) -> list[URLPattern]:
        urls = super().get_urls()
        if not self._optilock_is_watching:
            return urls
        view = csrf_protect(require_POST(never_cache(self._optilock_poll_view)))
        name = f"{self.opts.app_label}_{self.opts.model_name}_optilock_poll"
        return [path("<path:object_id>/optilock-poll/", view, name=name), *urls]

    @property
    def _optilock_is_watching(self) -> bool:
        return self.optilock_presence or self.optilock_poll is not None

    def _optilock_poll_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        """Answer the script of a form that is open.

        Whoever may not see the object gets the answer for one that doesn't exist.
        """
        if not self.admin_site.has_permission(request) or not is_question(request):
            raise Http404
        pk = unquote(object_id)
        obj = None if "\x00" in pk else self.get_object(request, pk)
        if obj is None or not self.has_view_or_change_permission(request, obj):
            raise Http404
        make_form = partial(self._optilock_new_form, request, obj)
        return self._optilock_lookout(request, obj).answer(make_form)

    def _optilock_lookout(self, request: HttpRequest, obj: models.Model) -> Lookout:
        return Lookout(
            request,
            obj,
            author=partial(self.get_conflict_author, request, obj),
            name=partial(self.get_presence_name, request),
            seconds=self.optilock_poll or _SECONDS,
            presence=self.optilock_presence,
            announces=self.has_change_permission(request, obj),
        )

    def _optilock_new_form(
        self, request: HttpRequest, obj: models.Model
    ) -> forms.BaseForm:
        fields = flatten_fieldsets(self.get_fieldsets(request, obj))
        form = self.get_form(request, obj, change=True, fields=fields)
        return form(instance=obj)

    @signature_of(ModelAdmin.render_change_form)
    def render_change_form(
        self, request: HttpRequest, context: Context, *args: object, **kwargs: object
    ) -> HttpResponse:
        form = context["adminform"].form
        if self._optilock_is_watching:
            if context["adminform"].fieldsets:
                self._optilock_let_readers_ask(request, form)
            if TOKEN in form.fields and not state(form, "is_deleted"):
                context["media"] += self._optilock_watch(request, context["adminform"])
        render: Callable[..., HttpResponse] = super().render_change_form
        return render(request, context, *args, **kwargs)

    def _optilock_let_readers_ask(
        self, request: HttpRequest, form: forms.ModelForm[models.Model]
    ) -> None:
        """Give a token to the page of somebody who may only look at it."""
        obj = form.instance
        if (
            version_field(self.model)
            and not obj._state.adding
            and not self.has_change_permission(request, obj)
            and not self.is_reverting(request)
        ):
            seen = tokens.Token({tokens.key(obj.pk): tokens.look(obj)})
            form.fields[TOKEN] = TokenField(partial(seen.sign, self.model))

    def _optilock_watch(
        self, request: HttpRequest, adminform: AdminForm
    ) -> forms.Media:
        """Let a form ask, and say who has it open; return what it needs for that."""
        form = adminform.form
        lookout = self._optilock_lookout(request, form.instance)
        url = self._optilock_url(form.instance, "optilock_poll")
        attributes = lookout.attributes(url, form)
        widget = form.fields[TOKEN].widget = WatchedInput(attributes)
        if line := lookout.line():
            (title, options), *others = adminform.fieldsets
            # Each theme renders it, above the first field.
            old = options.get("description") or SafeString()
            options = {**options, "description": line + str(old)}  # type: ignore[dict-item]  # the stubs know only "fields"
            adminform.fieldsets = [(title, options), *others]
        return widget.media
