"""Pages of other packages that show an old state on the form, to go back to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, cast

from django import forms
from django.db import models, router
from django.http import HttpRequest, HttpResponse

from optilock.admin.base import ModelAdmin, VersionedAdminBase
from optilock.djangos import signature_of
from optilock.fields import IntegerVersionField
from optilock.rows import as_of_now, version_field

__all__ = ["RevertMixin"]


class _PagesThatRevert(Protocol):
    """What an admin of django-reversion or django-simple-history has."""

    revision_view: Callable[..., HttpResponse]
    recover_view: Callable[..., HttpResponse]
    history_form_view: Callable[..., HttpResponse]


class RevertMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that knows what is put back on purpose.

    Nothing is compared there: whoever goes back wants to overwrite. But the
    versions are bumped all the same, or a page opened before would take the old
    state for what it has shown.
    """

    def revision_view(
        self,
        request: HttpRequest,
        object_id: str,
        version_id: str,
        *args: object,
        **kwargs: object,
    ) -> HttpResponse:
        """Go back to a revision: a page of django-reversion."""
        other = cast("_PagesThatRevert", super())
        view = partial(
            other.revision_view, request, object_id, version_id, *args, **kwargs
        )
        return self._optilock_revert(request, version_id, view)

    def recover_view(
        self, request: HttpRequest, version_id: str, *args: object, **kwargs: object
    ) -> HttpResponse:
        """Get back what was deleted: a page of django-reversion."""
        other = cast("_PagesThatRevert", super())
        view = partial(other.recover_view, request, version_id, *args, **kwargs)
        return self._optilock_revert(request, version_id, view)

    def history_form_view(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> HttpResponse:
        """Go back to a record: a page of django-simple-history."""
        vars(request)["_optilock_reverting"] = True
        other = cast("_PagesThatRevert", super())
        view = partial(other.history_form_view, request, *args, **kwargs)
        return self._optilock_once_more(request, view)

    def _optilock_revert(
        self, request: HttpRequest, version_id: str, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        vars(request)["_optilock_reverting"] = True
        if request.method != "POST":
            return view()
        return self._optilock_once_more(request, partial(_put_back, version_id, view))

    @signature_of(ModelAdmin.save_model)
    def save_model(
        self,
        request: HttpRequest,
        obj: models.Model,
        form: forms.ModelForm[models.Model],
        change: bool,
    ) -> None:
        field = version_field(type(obj))
        if field is not None and self.is_reverting(request):
            using = router.db_for_write(type(obj), instance=obj)
            version = _read_version(field, field.rows(using, obj.pk))
            obj._state.adding = version is None
            if version is not None:
                setattr(obj, field.attname, version)
        super().save_model(request, obj, form, change)


def _put_back(version_id: str, view: Callable[[], HttpResponse]) -> HttpResponse:
    """Let a page of django-reversion go back, to versions that nobody has seen."""
    rows = [
        (field, row, _read_version(field, row))
        for field, row in _rows_of_revision(version_id)
    ]
    response = view()
    if response.status_code == 302:  # else nothing was kept
        for field, row, version in rows:
            _raise_above(field, row, version)
    return response


def _rows_of_revision(
    version_id: str,
) -> Iterator[tuple[IntegerVersionField, models.QuerySet[models.Model]]]:
    """Yield the versioned rows that a revision of django-reversion writes."""
    from reversion.models import Version

    versions = Version.objects.filter(revision__version=version_id)
    for version in versions.select_related("content_type").order_by("pk"):
        model = version.content_type.model_class()
        if model and (field := version_field(model)):
            yield field, field.rows(version.db, version.object_id)


def _read_version(
    field: IntegerVersionField, row: models.QuerySet[models.Model]
) -> int | None:
    """Return a row's version, ``None`` if it is deleted, and lock it."""
    versions = as_of_now(row, row.db, lock=True).values_list(field.attname, flat=True)
    return versions.first()


def _raise_above(
    field: IntegerVersionField, row: models.QuerySet[models.Model], version: int | None
) -> None:
    """Give a new version to a row that was written with an old one."""
    if version is not None:
        stale = row.filter(**{f"{field.attname}__lte": version})
        stale.update(**{field.attname: version + 1})
