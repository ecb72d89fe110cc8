"""The options that are about rows: those of admin classes, and those of inlines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from optilock.decisions import Decision

if TYPE_CHECKING:
    from optilock.forms.form import RowOptions

__all__ = ["RowOptionsMixin"]


class RowOptionsMixin:
    """What ``VersionedAdminMixin`` and ``VersionedInlineMixin`` both document."""

    optilock_ask_always: bool = False
    optilock_merge_together: Sequence[Sequence[str]] | None = None
    optilock_merge_decisions: Mapping[str, Decision] | None = None
    optilock_secret_fields: Collection[str] = ()
    optilock_compare_also: Collection[str] = ()

    @property
    def _optilock_cell_options(self) -> RowOptions:
        """The options for rows of a list, by the names that forms have for them.

        A list asks at its cells: there are none of a field that isn't in it.
        """
        return {
            "ask_always": self.optilock_ask_always,
            "merge_together": self.optilock_merge_together,
            "merge_decisions": self.optilock_merge_decisions,
            "secret_fields": self.optilock_secret_fields,
        }

    @property
    def _optilock_row_options(self) -> RowOptions:
        """The same for forms and inlines, which ask on a page of their own."""
        also = self.optilock_compare_also
        return {**self._optilock_cell_options, "compare_also": also}
