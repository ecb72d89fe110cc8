"""Pages of other packages that show an old state on the form, to go back to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.db import router, transaction
from django.http import HttpRequest

from optilock.fields import IntegerVersionField, as_of_now, version_field
from optilock.requests import once_more

#: The base of mixins: what they are mixed into has all the methods they call.
_Any: Any = object


class VersionedRevertMixin(_Any):  # type: ignore[misc]  # see _Any
    """The part of ``VersionedAdminMixin`` that knows what is put back on purpose.

    Nothing is compared there: whoever goes back wants to overwrite. But the
    versions go on rising, or a page opened before would take the old state for
    what it has shown.
    """

    def is_reverting(self, request: HttpRequest) -> bool:
        """Return whether the form shows an old state on purpose.

        True for the pages of django-reversion and django-simple-history; override
        it for others.
        """
        return getattr(request, "_optilock_reverting", False)

    def revision_view(
        self, request: Any, object_id: Any, version_id: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Go back to a revision: a page of django-reversion."""
        view = partial(
            super().revision_view, request, object_id, version_id, *args, **kwargs
        )
        return self._revert(request, version_id, view)

    def recover_view(
        self, request: Any, version_id: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Get back what was deleted: a page of django-reversion."""
        view = partial(super().recover_view, request, version_id, *args, **kwargs)
        return self._revert(request, version_id, view)

    def history_form_view(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Go back to a record: a page of django-simple-history."""
        request._optilock_reverting = True
        return once_more(
            request, partial(super().history_form_view, request, *args, **kwargs)
        )

    def _revert(self, request: Any, version_id: Any, view: Callable[[], Any]) -> Any:
        request._optilock_reverting = True
        if request.method != "POST":
            return view()
        with transaction.atomic(using=router.db_for_write(self.model)):
            rows = [
                (field, row, _read_version(field, row))
                for field, row in _rows_of_revision(version_id)
            ]
            response = view()
            if response.status_code == 302:  # else nothing was kept
                for field, row, version in rows:
                    _raise_above(field, row, version)
        return response

    def save_model(self, request: Any, obj: Any, form: Any, change: bool) -> None:
        field = version_field(type(obj))
        if field is not None and self.is_reverting(request):
            using = router.db_for_write(type(obj), instance=obj)
            version = _read_version(field, field.rows(using, obj.pk))
            obj._state.adding = version is None
            if version is not None:
                setattr(obj, field.attname, version)
        super().save_model(request, obj, form, change)


def _rows_of_revision(version_id: Any) -> Iterator[tuple[IntegerVersionField, Any]]:
    """Yield the versioned rows that a revision of django-reversion writes."""
    from reversion.models import Version

    versions = Version.objects.filter(revision__version=version_id)
    for version in versions.select_related("content_type").order_by("pk"):
        model = version.content_type.model_class()
        if model and (field := version_field(model)):
            yield field, field.rows(version.db, version.object_id)


def _read_version(field: IntegerVersionField, row: Any) -> int | None:
    """Return a row's version, ``None`` if it is gone, and lock it."""
    versions = as_of_now(row, row.db, lock=True).values_list(field.attname, flat=True)
    return versions.first()


def _raise_above(field: IntegerVersionField, row: Any, version: int | None) -> None:
    """Give a row that was written with an old version one that is new."""
    if version is not None:
        stale = row.filter(**{f"{field.attname}__lte": version})
        stale.update(**{field.attname: version + 1})
