"""Changes one file: imports, fields, admin classes, settings, old migrations."""

from __future__ import annotations

from collections import Counter

import libcst as cst
from libcst import matchers as m
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from optilock.moving.classes import ClassVisitor, FieldVisitor, SettingsVisitor
from optilock.moving.editing import Change
from optilock.moving.imports import NameVisitor
from optilock.moving.models import Project
from optilock.moving.planning import Plan
from optilock.moving.reading import Note, Source

__all__ = ["rewrite"]


def rewrite(
    source: Source, project: Project, *, editable: bool
) -> tuple[str, list[Note]]:
    """Return a file's new text, and what there is to say about it."""
    plan, tree = Plan(source, project, editable=editable), source.wrapper.module
    names = NameVisitor(plan)
    visitors = FieldVisitor(plan), ClassVisitor(plan), SettingsVisitor(plan)
    for visitor in (names, *visitors):
        tree.visit(visitor)
    names.finish()
    changed = tree.visit(_Rewriter(plan.changes))
    context = CodemodContext()
    for module, name in sorted(plan.imports, key=str):
        AddImportsVisitor.add_needed_import(context, module, name)
    if plan.imports:
        changed = AddImportsVisitor(context).transform_module(changed)
    _tell_of_comments(plan, changed)
    return changed.code, plan.notes


def _tell_of_comments(plan: Plan, changed: cst.Module) -> None:
    """Name the comments that go with what they stood at."""
    before = _comments(plan.source.wrapper.module)
    lost = Counter(one.value for one in before)
    lost -= Counter(one.value for one in _comments(changed))
    for comment in before:
        if lost[comment.value] > 0:
            lost[comment.value] -= 1
            text = f"this comment goes with what it stood at: {comment.value}"
            plan.note(comment, text, is_open=False)


def _comments(tree: cst.Module) -> list[cst.Comment]:
    return [cst.ensure_type(one, cst.Comment) for one in m.findall(tree, m.Comment())]


class _Rewriter(cst.CSTTransformer):
    def __init__(self, changes: dict[cst.CSTNode, list[Change]]) -> None:
        super().__init__()
        self.changes = changes

    def on_leave(
        self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        result = super().on_leave(original_node, updated_node)
        for change in self.changes.get(original_node, ()):
            if isinstance(result, cst.RemovalSentinel):
                break
            result = change(result)
        return result
