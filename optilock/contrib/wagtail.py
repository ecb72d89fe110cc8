"""Wagtail's snippets with drafts and revisions, locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optilock import loaded, rollback
from optilock.rows import version_field

if TYPE_CHECKING:
    from typing_extensions import Self
    from wagtail.models import RevisionMixin as _Model
else:  # it is mixed into one
    _Model = object

__all__ = ["VersionedRevisionMixin"]


class VersionedRevisionMixin(_Model):
    """Put it in front of Wagtail's ``DraftStateMixin`` and ``RevisionMixin``::

        class Notice(
            VersionedRevisionMixin, DraftStateMixin, RevisionMixin, VersionedModel
        ):
            version = IntegerVersionField(
                exclude=["latest_revision", "live_revision", "has_unpublished_changes"]
            )

    A revision stores all fields of the row, its version among them. Published,
    it would be refused as soon as the row was saved again. What is published
    stands for the row as it is now: it has to be at the version of the object
    whose revision it is, the row as Wagtail has just read it.
    """

    def with_content_json(self, content: dict[str, object]) -> Self:
        stored: Self = super().with_content_json(content)
        version = version_field(type(self))
        if version is not None:
            number = vars(self).get(version.attname, rollback.ABSENT)
            rollback.put(stored, version.attname, number)
            loaded.restore(stored, loaded.recall(self))
        return stored
