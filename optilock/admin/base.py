"""What all parts of the admin have: the options, the hooks, one more run of a view."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import models, router
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse

from optilock.admin.authors import find_author
from optilock.admin.options import RowOptionsMixin
from optilock.admin.posted import CHANGE_FORM, action_name, is_saved
from optilock.installation import NeedsTemplates
from optilock.once_more import in_one_transaction, once_more
from optilock.panel import Author
from optilock.rows import row_exists

__all__ = ["Context", "ModelAdmin", "VersionedAdminBase"]

#: Of a template.
Context: TypeAlias = "dict[str, Any]"

#: The ends of the names of URLs whose views are run once more (some are those of
#: django-reversion and django-simple-history), with how the inputs of the action forms
#: in them begin.
_VIEWS = {
    "changelist": "",
    "add": None,
    "change": CHANGE_FORM,
    "delete": None,
    "revision": None,
    "recover": None,
    "history": None,
}

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    _Base = ModelAdmin
else:  # it is mixed into one
    ModelAdmin = admin.ModelAdmin
    _Base = object


class VersionedAdminBase(RowOptionsMixin, NeedsTemplates, _Base):
    """What the parts of ``VersionedAdminMixin`` have in common.

    The options are documented there. Names that aren't for users begin with
    ``_optilock_``, because the classes it is mixed into are other people's.
    """

    optilock_actions: Collection[str] = ()
    optilock_drafts: bool = True
    optilock_poll: int | None = None
    optilock_tell_overwritten: bool = False
    optilock_presence: bool = False

    # --- hooks -----------------------------------------------------------

    def get_conflict_author(
        self, request: HttpRequest, obj: models.Model, since: int | None
    ) -> Author:
        """Return who changed the object; override it if the model itself knows.

        Args:
            request: the request of the person who is to be told.
            obj: the object.
            since: when that person's page was loaded, in milliseconds since the
                epoch; ``None`` if that isn't known.
        """
        return find_author(request, obj, since)

    def is_reverting(self, request: HttpRequest) -> bool:
        """Return whether the form shows an old state on purpose.

        True for the pages of django-reversion and django-simple-history; override
        it for others.
        """
        return getattr(request, "_optilock_reverting", False)

    # --- once more -------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        urls = super().get_urls()
        for url in urls:
            name = (url.name or "").rpartition("_")[2]
            if name in _VIEWS:
                repeat = partial(self._optilock_once_more, prefix=_VIEWS[name])
                url.callback = in_one_transaction(url.callback, repeat)
        return urls

    def _optilock_once_more(
        self,
        request: HttpRequest,
        view: Callable[[], HttpResponse],
        *,
        using: Iterable[str] = (),
        prefix: str | None = None,
    ) -> HttpResponse:
        """Run a view of this admin in a transaction, and again if it loses.

        Args:
            request: the request.
            view: what answers it.
            using: aliases of databases that need a transaction, too.
            prefix: what the inputs of its action form begin with, if it has one.
        """
        inlines = (getattr(inline, "model", None) for inline in self.inlines)
        return once_more(
            request,
            view,
            models=[self.model, LogEntry, *filter(None, inlines)],
            using=using,
            atomic=prefix is None
            or not self._optilock_runs_non_atomic(request, prefix),
        )

    def _optilock_runs_non_atomic(self, request: HttpRequest, prefix: str) -> bool:
        """Return whether the action to be run is marked as non-atomic."""
        name = action_name(request, prefix)
        if is_saved(request) or name in self._optilock_actions_that_ask:
            return False
        functions = {getattr(one, "__name__", one): one for one in self.actions or ()}
        function: object = functions.get(name)
        if not callable(function):
            site_actions = dict[str, object](self.admin_site.actions)
            function = getattr(type(self), name, site_actions.get(name))
        own = getattr(function, "_non_atomic_requests", ())
        return router.db_for_write(self.model) in own

    @property
    def _optilock_actions_that_ask(self) -> set[str]:
        return {"delete_selected", *self.optilock_actions}

    def _optilock_url(self, row: models.Model, view: str) -> str:
        """Return where a view of this site shows a row, as "change" or "history"."""
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_{view}"
        return reverse(name, args=[quote(row.pk)], current_app=self.admin_site.name)

    def _optilock_exists(self, pk: object) -> bool:
        """Return whether there is a row, although the user can't reach it."""
        return row_exists(self.model, pk)
