"""Says in an open form that somebody else has saved meanwhile."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

from optilock import panel, tokens

_MEDIA = forms.Media(css={"all": ["optilock/conflict.css"]}, js=["optilock/poll.js"])

#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


class VersionedPollMixin(_Any):  # type: ignore[misc]  # see _Any
    """The part of ``VersionedAdminMixin`` that looks while a form is open.

    Attributes:
        optilock_poll: every how many seconds an open form asks whether somebody
            else has saved; ``None`` never asks.
    """

    optilock_poll: int | None = None

    def get_urls(self) -> list[Any]:
        urls: list[Any] = super().get_urls()
        if self.optilock_poll is None:
            return urls
        return [
            path(
                "<path:object_id>/optilock-poll/",
                never_cache(self.poll_view),
                name=self._poll_url_name(),
            ),
            *urls,
        ]

    def _poll_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_optilock_poll"

    def poll_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        """Return the object's version, and who saved it if it isn't the one asked for.

        Reads only. Whoever may not see the object gets the answer for one that
        doesn't exist.
        """
        if not self.admin_site.has_permission(request):
            raise Http404
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_view_or_change_permission(request, obj):
            raise Http404
        version = tokens.look(obj).version
        answer: dict[str, Any] = {"version": version}
        if str(version) != request.GET.get("version"):
            try:
                since = int(request.GET.get("loaded", ""))
            except ValueError:
                since = None
            who = self.get_conflict_author(request, obj, since)
            answer |= {
                "text": panel.tell_who(obj, who),
                "advice": gettext("You can go on, and decide when you save."),
                "reload": gettext("Reload the page"),
            }
        return JsonResponse(answer)

    def add_poll(self, context: dict[str, Any], token: Any, obj: Any) -> None:
        """Let the form's script know where to ask, by attributes of the token."""
        if self.optilock_poll is None:
            return
        name = f"admin:{self._poll_url_name()}"
        url = reverse(name, args=[quote(obj.pk)], current_app=self.admin_site.name)
        seen = tokens.Token({})  # for the moment it is made
        query = urlencode({"version": tokens.look(obj).version, "loaded": seen.loaded})
        token.widget.attrs |= {
            "data-optilock-poll": f"{url}?{query}",
            "data-optilock-seconds": self.optilock_poll,
        }
        context["media"] += _MEDIA
