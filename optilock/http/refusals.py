"""The answer to a client whose request was refused by an error.

https://www.rfc-editor.org/rfc/rfc9457 (problem details)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, IntegrityError, connections, models, router
from django.http import HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext

from optilock.exceptions import RecordDeletedError, RecordModifiedError
from optilock.http.errors import PreconditionError, PreconditionFailed, VersionMismatch
from optilock.http.tags import ETag, field_of
from optilock.http.targets import Request, Target, all_noted, noted, row_of
from optilock.retry import errors
from optilock.rows import as_of_now

__all__ = ["PROBLEM_JSON", "TEMPLATE", "TYPE", "Refusal", "may_hold", "refusal_of"]

#: What stands before the slug in the ``type`` of problem details; see docs/http.md.
TYPE = "urn:optilock:problem:"

PROBLEM_JSON = "application/problem+json"
TEMPLATE = "optilock/refused.html"

#: Seconds after which a client may repeat what the database was too busy for.
_RETRY_AFTER = 1


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer to a request that was refused.

    Attributes:
        status: the status code.
        slug: names the kind of problem, in a word that doesn't change.
        title: names it for people.
        detail: what happened and what to do next. No field's values.
        current_version: the version of the request's target, if it is known.
        tag: the tag of the target's current representation, if it is known.
        current: that representation, if the client may see it.
        conflicts: of a bulk write, each row that wasn't at its version.
        retry_after: seconds to wait before the request is repeated as it is.
    """

    status: int
    slug: str
    title: str
    detail: str
    current_version: int | None = None
    tag: ETag | None = None
    current: object = None
    conflicts: list[dict[str, object]] = field(default_factory=list)
    retry_after: int | None = None

    @property
    def text(self) -> str:
        """What to tell a person who has sent a form."""
        if self.slug == "deleted":
            return gettext(
                "This was deleted while you were editing. Nothing was saved."
            )
        if self.slug == "busy":
            return gettext("Others are writing this right now. Nothing was saved.")
        if self.status in (409, 412):
            return gettext(
                "This was changed by somebody else in the meantime. Nothing was saved."
            )
        return gettext("This couldn't be done. Nothing was saved.")

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Cache-Control": "no-store"}
        if self.tag is not None:
            headers["ETag"] = str(self.tag)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    def problem(self) -> dict[str, object]:
        """Return the problem details."""
        details: dict[str, object] = {
            "type": TYPE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.current_version is not None:
            details["current_version"] = self.current_version
        if self.current is not None:
            details["current"] = self.current
        if self.conflicts:
            details["conflicts"] = self.conflicts
        return details

    def response(self, request: Request, template: str = TEMPLATE) -> HttpResponse:
        """Return the answer, in a form that the client accepts."""
        response: HttpResponse
        try:
            wanted = request.get_preferred_type(
                [PROBLEM_JSON, "application/json", "text/html"]
            )
        except ValueError:  # Django can't read the header, and doesn't catch it
            wanted = PROBLEM_JSON
        if wanted == "text/html":
            page = render_to_string(template, {"refusal": self}, request)
            response = HttpResponse(page)
        elif wanted is None:
            response = HttpResponse(self.detail, content_type="text/plain")
        else:
            response = JsonResponse(
                self.problem(), encoder=DjangoJSONEncoder, content_type=PROBLEM_JSON
            )
        response.status_code = self.status
        for name, value in self.headers.items():
            response[name] = value
        patch_vary_headers(response, ["Accept"])
        return response


def refusal_of(
    error: BaseException, request: Request, *, may_read: bool = True
) -> Refusal | None:
    """Return the answer to a request that has failed with an error.

    Call it after the request's own transaction, or savepoint, was rolled back: it
    may read the row, and what is shown must not be what was just taken back.

    Args:
        error: what was raised.
        request: Django's request, or Django REST framework's.
        may_read: ``False`` if that transaction is still open. Then the answer has
            the version, but not the row.

    Returns:
        ``None`` if the error isn't about a precondition or a conflict.
    """
    targets = (
        all_noted(request)
        if may_read
        else [replace(target, can_be_read=False) for target in all_noted(request)]
    )
    if isinstance(error, PreconditionError):
        return _of_precondition(error, targets)
    if isinstance(error, RecordModifiedError):
        return _of_conflict(error, targets)
    if isinstance(error, IntegrityError):
        return _of_duplicate(targets)
    if isinstance(error, DatabaseError) and errors.is_conflict(error):
        return _of_busy(targets)
    return None


def may_hold(error: BaseException, request: Request) -> bool:
    """Tell whether the precondition may be true, though a race was lost.

    ``If-Match: "1", "2"`` isn't false because somebody went from 1 to 2.
    """
    if not isinstance(error, RecordModifiedError) or error._optilock_of_many:
        return False
    target = noted(request, error.instance)
    return target is not None and (
        error.current_version in target.preconditions.versions
        and error.current_version != error.expected_version
    )


def _of_precondition(error: PreconditionError, targets: list[Target]) -> Refusal:
    refusal = Refusal(
        status=error.status,
        slug=error.slug,
        title=error.title,
        detail=error.detail,
        current_version=error.current_version,
        tag=error.tag,
        conflicts=error.conflicts if isinstance(error, VersionMismatch) else [],
    )
    if error.current_version is not None and targets:
        return _with_current(refusal, targets[-1], error.current_version)
    return refusal


def _of_conflict(error: RecordModifiedError, targets: list[Target]) -> Refusal:
    target, is_of_many = None, error._optilock_of_many
    if not is_of_many:
        row = row_of(error.instance)
        target = next((target for target in targets if target.row == row), None)
    is_about_it = target or not (targets or is_of_many)
    if isinstance(error, RecordDeletedError) and is_about_it:
        return Refusal(
            status=404,
            slug="deleted",
            title="It was deleted",
            detail="It was deleted in the meantime. Nothing was written.",
        )
    if target is None:
        return Refusal(
            status=409,
            slug="conflict",
            title="Somebody else was faster",
            detail=(
                "Something that this request writes was changed in the meantime. "
                "Nothing was written. Get what you want to change again."
            ),
            conflicts=_rows(error) if is_of_many else [],
        )
    return _lost(target, error.current_version)


def _lost(target: Target, version: int | None) -> Refusal:
    """Return the answer if a target was changed after it was checked."""
    listed = target.preconditions.versions
    if listed and version not in listed:
        refusal = Refusal(
            status=412,
            slug="stale",
            title=PreconditionFailed.title,
            detail=(
                "It was changed in the meantime. Nothing was written. Get it, and "
                "decide again."
            ),
            current_version=version,
        )
    else:
        refusal = Refusal(
            status=409,
            slug="conflict",
            title="Somebody else was faster",
            detail=(
                "It was changed while the request was worked on. Nothing was "
                "written. Get it, and decide again."
            ),
            current_version=version,
        )
    return _with_current(refusal, target, version)


def _of_duplicate(targets: list[Target]) -> Refusal | None:
    """Tell whether an INSERT failed because the target exists meanwhile."""
    for target in targets:
        if target.is_new and None not in target.lookup.values():
            row = _read(target)
            if row is None:
                continue
            wants_none = target.preconditions.if_none_match is not None
            refusal = Refusal(
                status=412 if wants_none else 409,
                slug="exists",
                title="It exists already",
                detail=(
                    "Somebody else has created it in the meantime. Nothing was "
                    "written. To change it, send its ETag in If-Match."
                ),
            )
            version = field_of(row).held(row)
            return _with_current(
                replace(refusal, current_version=version), target, version
            )
    return None


def _of_busy(targets: list[Target]) -> Refusal:
    # A deadlock or a snapshot that is too old tells nothing about the condition.
    # Where it is known to be false, a second try would be in vain.
    for target in targets:
        if target.preconditions.versions and not target.is_new:
            row = _read(target)
            if row is None:
                continue
            version = field_of(row).held(row)
            if version not in target.preconditions.versions:
                return _lost(target, version)
    return Refusal(
        status=503,
        slug="busy",
        title="The database is busy",
        detail=(
            "Others were writing the same rows, and the database has ended this "
            "request to let them go on. Nothing was written. Repeat it as it is."
        ),
        retry_after=_RETRY_AFTER,
    )


def _with_current(refusal: Refusal, target: Target, version: int | None) -> Refusal:
    """Add the tag, and what the client may see of the row."""
    if version is None:
        return refusal
    refusal = replace(refusal, tag=target.tag_at(version))
    row = _read(target) if target.show is not None else None
    # An old snapshot shows what the client knows to be out of date.
    if target.show is None or row is None or field_of(row).held(row) < version:
        return refusal
    shown = target.show(row)
    if shown is None:
        return refusal
    version = field_of(row).held(row)
    tag = target.tag_of(row)
    return replace(refusal, current=shown, current_version=version, tag=tag)


def _read(target: Target) -> models.Model | None:
    """Return the row of a target as it is now, ``None`` if it was deleted.

    ``None`` too where nothing can be read, because a transaction that goes on
    around this is to be rolled back.
    """
    model = type(target.instance)
    using = router.db_for_write(model, instance=target.instance)
    connection = connections[using]
    if connection.needs_rollback or not target.can_be_read:
        return None
    rows: models.QuerySet[models.Model] = models.QuerySet(model, using=using)
    rows = rows.filter(**target.lookup)
    try:
        return as_of_now(rows, using).first()
    except DatabaseError:
        return None


def _rows(error: RecordModifiedError) -> list[dict[str, object]]:
    return [
        {
            "pk": _plain(row.instance.pk),
            "expected": row.expected_version,
            "current": row.current_version,
        }
        for row in error.conflicts
    ]


def _plain(pk: object) -> object:
    if isinstance(pk, tuple):
        return [_plain(part) for part in pk]
    return pk if isinstance(pk, int) else str(pk)
