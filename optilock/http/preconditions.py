"""``If-Match`` and ``If-None-Match``, against the row a request is about.

What is compared here is compared again by the database: the instance that was
checked is saved with the same version in the ``WHERE`` of its ``UPDATE``. The
number in the header is never *assigned* to the instance: a stale copy of the row, for
instance from a lagging replica, would then pass with a newer number.

https://www.rfc-editor.org/rfc/rfc9110#section-13
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Model
from django.http import HttpResponseNotModified

from optilock import signals
from optilock.http.errors import PreconditionFailed, PreconditionRequired
from optilock.http.tags import ETag, epoch_digest, etag_of, field_of, parse_tags
from optilock.http.targets import Request, Target, row_of, targets

__all__ = ["Preconditions", "check_preconditions", "is_safe", "not_modified", "pin"]

#: Methods that have nothing to do with the representation.
#: https://www.rfc-editor.org/rfc/rfc9110#section-13.2.1
_WITHOUT_PRECONDITIONS = ("OPTIONS", "CONNECT", "TRACE")

#: Header fields, as a request's META has them.
_NAMES = {"HTTP_IF_MATCH": "If-Match", "HTTP_IF_NONE_MATCH": "If-None-Match"}

_Tags = list[ETag] | str | None

_M = TypeVar("_M", bound=Model)

_DETAILS = {
    "stale": "It was changed in the meantime. Get it, and decide again.",
    "weak-etag": (
        "If-Match needs a strong tag here. Ask for the resource without compression, "
        "and send the ETag as it came."
    ),
    "foreign-etag": (
        "If-Match names no tag of this resource. Get it, and send the ETag of that "
        "answer."
    ),
}


@dataclass(frozen=True)
class Preconditions:
    """What a request requires of its target.

    Attributes:
        method: the request's method, in capitals.
        if_match: the tags of ``If-Match``, ``"*"``, or ``None`` without it.
        if_none_match: the same for ``If-None-Match``.
    """

    method: str
    if_match: _Tags = None
    if_none_match: _Tags = None

    @classmethod
    def of(cls, request: Request) -> Preconditions:
        """Read a request's header fields.

        Raises:
            MalformedPrecondition: one of them can't be read.
        """
        method = request.method or "GET"
        if method in _WITHOUT_PRECONDITIONS:
            return cls(method)
        sent = request.META
        return cls(
            method,
            _tags_in(sent, "HTTP_IF_MATCH"),
            _tags_in(sent, "HTTP_IF_NONE_MATCH"),
        )

    @property
    def is_safe(self) -> bool:
        return is_safe(self.method)

    @property
    def versions(self) -> frozenset[int]:
        """The versions that ``If-Match`` names. None with ``*``, or without it."""
        versions = (tag.version for tag in _listed(self.if_match))
        return frozenset(number for number in versions if number is not None)

    def is_fresh(self, tag: ETag) -> bool:
        """Tell whether the client of a GET has the representation with this tag."""
        has_it = self.if_none_match == "*" or any(
            map(tag.looks_like, _listed(self.if_none_match))
        )
        return has_it and self.method in ("GET", "HEAD")

    def of_epoch(self, epoch: str | None) -> Preconditions:
        """Return the same without tags of other rows that had the key before."""
        wanted = epoch_digest(epoch)

        def left(tags: _Tags) -> _Tags:
            if tags is None or isinstance(tags, str):
                return tags
            return [tag for tag in tags if tag.epoch == wanted]

        return Preconditions(self.method, left(self.if_match), left(self.if_none_match))

    def check(
        self, instance: Model, *, required: bool = False, accept_weak: bool = True
    ) -> None:
        """Compare with the row of an instance; see ``check_preconditions()``."""
        if self.method in _WITHOUT_PRECONDITIONS:
            return
        if instance._state.adding:
            self.check_missing()
            return
        version = field_of(instance).held(instance)
        if self.if_match is None:
            if required and not self.is_safe and self.if_none_match != "*":
                raise PreconditionRequired(
                    "Say which version this is about: get the resource, and repeat "
                    "the request with the ETag of the answer in If-Match."
                )
        elif self.if_match != "*":
            self._check_versions(instance, version, accept_weak)
        if self.is_safe or self.if_none_match is None:
            return
        if self.if_none_match == "*" or any(
            other.version == version for other in _listed(self.if_none_match)
        ):
            raise PreconditionFailed(
                "It exists already, in a representation that If-None-Match rules "
                "out. To change it, send its ETag in If-Match.",
                slug="exists",
                current_version=version,
                tag=etag_of(instance),
            )

    def check_missing(self) -> None:
        """Compare with a target that doesn't exist.

        Raises:
            PreconditionFailed: ``If-Match`` wants it to exist.
        """
        if self.if_match is not None:
            raise PreconditionFailed(
                "There is nothing that If-Match could be about. It may have been "
                "deleted; to create it, repeat the request with If-None-Match: *.",
                slug="missing",
            )

    def check_tag(self, tag: ETag | None) -> None:
        """Compare with a target that isn't a row, such as a collection.

        Args:
            tag: its tag, ``None`` if it has none. The target exists in either case.

        Raises:
            PreconditionFailed: it isn't in the state that is demanded.
        """
        if self.method in _WITHOUT_PRECONDITIONS:
            return
        if self.if_match not in (None, "*") and not any(
            tag == other and not other.weak for other in _listed(self.if_match)
        ):
            raise PreconditionFailed(
                "If-Match names no tag of what this request is sent to. A row's tag "
                "is for requests to the row itself.",
                slug="stale" if tag else "foreign-etag",
                tag=tag,
            )
        listed = _listed(self.if_none_match)
        if not self.is_safe and (
            self.if_none_match == "*" or (tag and any(map(tag.looks_like, listed)))
        ):
            raise PreconditionFailed(
                "What this request is sent to exists, and If-None-Match rules it "
                "out. To create something under a name of its own, send a PUT to it.",
                slug="exists",
                tag=tag,
            )

    def _check_versions(self, instance: Model, version: int, accept_weak: bool) -> None:
        matching = [tag for tag in _listed(self.if_match) if tag.version == version]
        if any(accept_weak or not other.weak for other in matching):
            return
        slug = "stale"
        if matching:
            slug = "weak-etag"
        elif not self.versions:
            slug = "foreign-etag"
        raise PreconditionFailed(
            _DETAILS[slug], slug=slug, current_version=version, tag=etag_of(instance)
        )


def check_preconditions(
    request: Request,
    instance: _M | None,
    *,
    required: bool = False,
    accept_weak: bool = True,
    variant: Callable[[_M], str | None] | str | None = None,
    epoch: Callable[[_M], str | None] | None = None,
    current: Callable[[_M], object] | None = None,
    lookup: Mapping[str, object] | None = None,
) -> None:
    """Compare ``If-Match`` and ``If-None-Match`` with the instance to be written.

    Call it after the permissions are checked and before anything else, with the
    instance that is going to be saved or deleted, loaded from the database that is
    written to. Costs no query. If the row changes after this, the save is refused,
    and ``ConflictMiddleware`` or ``conditional_view`` answers as if it had been
    refused here.

    With a version in ``If-Match`` a conflict isn't merged, whatever the model's
    ``on_conflict`` says.

    Args:
        request: Django's request, or Django REST framework's.
        instance: what is to be written. One that isn't saved yet, or ``None``, for
            what doesn't exist and is going to be created.
        required: refuse a request that changes the row without ``If-Match``.
        accept_weak: take ``W/"7"`` for version 7. Servers and proxies that compress
            answers make tags weak; what is compared is a number in any case.
        variant: as in ``etag_of()``, for the tag of the answer if it is refused; or
            what returns it, called with the row.
        epoch: called with a row, returns its epoch, as in ``etag_of()``.
        current: called with the row as it is now if the request is refused; what it
            returns is shown to the client as ``current``. Return ``None`` if the
            client may not see it.
        lookup: what finds a row that is to be created, if somebody else is faster;
            by default its primary key.

    Raises:
        PreconditionFailed: the row isn't at a version that ``If-Match`` names (412).
        PreconditionRequired: there is no ``If-Match`` (428).
        MalformedPrecondition: a header field can't be read (400).
        TypeError: the model has no version field.
        ValueError: the version wasn't loaded.
    """
    preconditions = Preconditions.of(request)
    if instance is None:
        preconditions.check_missing()
        return
    is_new = instance._state.adding
    if not is_new:
        preconditions = preconditions.of_epoch(epoch(instance) if epoch else None)
    target = Target(
        row=row_of(instance),
        instance=instance,
        is_new=is_new,
        preconditions=preconditions,
        variant=variant,
        epoch=epoch,
        show=current,
        lookup=lookup or {"pk": instance.pk},
    )
    noted = targets(request)
    noted.pop(target.row, None)  # the last one is what is being checked
    noted[target.row] = target
    try:
        preconditions.check(instance, required=required, accept_weak=accept_weak)
    except PreconditionFailed as error:
        signals.precondition_failed.send_robust(
            type(instance), instance=instance, error=error, request=request
        )
        raise
    if preconditions.versions and not preconditions.is_safe:
        pin(instance)


def not_modified(request: Request, tag: ETag) -> HttpResponseNotModified | None:
    """Return a 304 if the client has the representation with this tag.

    What the 200 would say in ``Cache-Control``, ``Vary`` and ``Content-Location``
    has to be in the 304, too: use Django's decorators for the view.

    Args:
        request: a GET or HEAD; others are never answered.
        tag: that of the representation the view is going to answer with.

    Raises:
        PreconditionFailed: the request has an ``If-Match`` that is false.
        MalformedPrecondition: a header field can't be read.
    """
    preconditions = Preconditions.of(request)
    if preconditions.method not in ("GET", "HEAD"):
        return None
    if preconditions.if_match not in (None, "*") and not any(
        map(tag.is_about, _listed(preconditions.if_match))
    ):
        raise PreconditionFailed(
            "It was changed in the meantime.",
            slug="stale",
            current_version=tag.version,
            tag=tag,
        )
    if not preconditions.is_fresh(tag):
        return None
    return HttpResponseNotModified(headers={"ETag": str(tag)})


def pin(instance: Model) -> None:
    """Keep the version that a client has named from being replaced by a newer one.

    Neither a merging ``save()`` nor ``refresh_from_db()`` replaces it then.
    """
    version = field_of(instance).held(instance)
    instance._state._optilock_if_match = version  # type: ignore[attr-defined]


def is_safe(method: str | None) -> bool:
    """Tell whether a request by this method changes nothing (RFC 9110, 9.2.1)."""
    return method in ("GET", "HEAD", "OPTIONS", "TRACE")


def _listed(tags: _Tags) -> list[ETag]:
    """Return the tags that a field names: none with ``*``, or without the field."""
    return [] if tags is None or isinstance(tags, str) else tags


def _tags_in(sent: Mapping[str, str], name: str) -> _Tags:
    text = sent.get(name)
    if text is None:
        return None
    return parse_tags(_NAMES[name], text)
