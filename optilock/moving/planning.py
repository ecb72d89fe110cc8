"""What is to become of a file: collected first, then done at once."""

from __future__ import annotations

import libcst as cst

from optilock.moving.editing import Change, preceded_by
from optilock.moving.models import Project
from optilock.moving.reading import MARK, Note, Source

__all__ = ["Plan"]


class Plan:
    """The changes of one file.

    Attributes:
        source: the file.
        project: the project it belongs to.
        editable: whether the versions stay inputs of plain forms and serializers.
        changes: what becomes of which node of its tree.
        imports: what is to be imported: modules, and names in them.
        notes: what there is to say.
    """

    def __init__(self, source: Source, project: Project, *, editable: bool) -> None:
        self.source = source
        self.project = project
        self.editable = editable
        self.changes: dict[cst.CSTNode, list[Change]] = {}
        self.imports: set[tuple[str, str | None]] = set()
        self.notes: list[Note] = []

    def change(self, node: cst.CSTNode, change: Change) -> None:
        """Have a node changed, after the changes that it is to have already."""
        self.changes.setdefault(node, []).append(change)

    def refer_to(self, module: str, name: str) -> cst.BaseExpression:
        """Import one of our names; return how it is written in this file."""
        if self.source.is_migration or self.source.gives_away(name, module):
            self.imports.add((module, None))
            return cst.parse_expression(f"{module}.{name}")
        self.imports.add((module, name))
        return cst.Name(name)

    def note(
        self,
        node: cst.CSTNode,
        text: str,
        *,
        is_open: bool = True,
        is_first: bool = False,
        stays: bool = False,
    ) -> None:
        """Tell the person something about a node.

        Args:
            node: it.
            text: what there is to say.
            is_open: whether it is left for the person to do.
            is_first: whether nothing can be changed before.
            stays: whether it is told by a comment, too, because the next run wouldn't
                find it any more.
        """
        line = self.source.line_of(node)
        self.notes.append(Note(self.source.path, line, text, is_open, is_first))
        comment = f"{MARK}{text}"
        if stays and comment not in self.source.text:  # as an earlier run has written
            self.change(self._statement_of(node), preceded_by(comment))

    def _statement_of(self, node: cst.CSTNode) -> cst.CSTNode:
        while not isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            node = self.source.parents[node]
        return node
