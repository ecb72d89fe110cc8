"""Plans what becomes of the other packages' names, and of their imports."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m

from optilock.moving.editing import with_comma
from optilock.moving.names import ADVICE, CLASSES, MIXIN, PACKAGES, SWITCH
from optilock.moving.planning import Plan
from optilock.moving.reading import is_passed_on

__all__ = ["NameVisitor"]


class NameVisitor(cst.CSTVisitor):
    """Finds each use of a name; ``finish()`` then knows which imports can go."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        #: What is still used of the other package, and so stays imported.
        self.left: set[str] = set()
        self._imports: list[cst.Import | cst.ImportFrom] = []

    def visit_Import(self, node: cst.Import) -> bool:
        self._imports.append(node)
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        self._imports.append(node)
        return False

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        if m.matches(node.attr, m.Name("get_version_field")) and not (
            self.plan.source.name_of(node)
        ):
            self.plan.note(
                node,
                "get_version_field() is a function of optilock, of a model",
                stays=True,
            )
        elif m.matches(node.attr, m.Name("_concurrencymeta")):
            self.plan.note(node, "_concurrencymeta is gone; see unlocked()")
        return self._use(node)

    def visit_Name(self, node: cst.Name) -> None:
        self._use(node)

    def _use(self, node: cst.Attribute | cst.Name) -> bool:
        """Replace a name; return whether its parts are to be looked at."""
        names = self.plan.source.names_of(node)
        theirs = {name for name in names if _is_theirs(name)}
        if not (self.plan.source.is_imported(node) and theirs):
            return True
        if len(names) > 1:
            self.left |= theirs
            text = " or ".join(sorted(names))
            self.plan.note(node, f"may be {text}: make it one, and run this again")
            return False
        [name] = theirs
        if name in CLASSES:
            replacement = self.plan.refer_to(*CLASSES[name])
            self.plan.change(node, lambda _: replacement)
        elif name not in (MIXIN, SWITCH):  # seen to where they stand
            self.left.add(name)
            self.plan.note(node, f"{name}: {_advice(name)}")
        elif name == MIXIN and not self._is_base(node):
            self.left.add(name)
            self.plan.note(node, f"{name} is used as something other than a base")
        elif name == SWITCH and not self._switch(node):
            self.left.add(name)
            self.plan.note(node, f"{name}: {ADVICE[name]}")
        return False

    def _is_base(self, node: cst.CSTNode) -> bool:
        parent = self.plan.source.parents[node]
        around = self.plan.source.parents.get(parent)
        if isinstance(parent, cst.Arg) and isinstance(around, cst.ClassDef):
            self.plan.change(parent, lambda _: cst.RemoveFromParent())
            return True
        if isinstance(parent, cst.Element) and isinstance(around, cst.Tuple):
            # A migration has the mixin among the bases.
            self.plan.change(parent, lambda _: cst.RemoveFromParent())
            self.plan.change(around, with_comma)
            return True
        return False

    def _switch(self, node: cst.CSTNode) -> bool:
        """Replace ``with disable_concurrency(Model):``, if it plainly names a model."""
        call = self.plan.source.parents[node]
        if not (isinstance(call, cst.Call) and call.func is node):
            return False
        if not isinstance(self.plan.source.parents[call], cst.WithItem | cst.Decorator):
            return False
        if len(call.args) != 1 or call.args[0].star:
            return False
        model = call.args[0].value
        name = model.attr if isinstance(model, cst.Attribute) else model
        if not (isinstance(name, cst.Name) and name.value[:1].isupper()):
            return False  # one object, or all of them
        unlocked, argument = self.plan.refer_to("optilock", "unlocked"), cst.Arg(model)
        self.plan.change(call, lambda _: cst.Call(unlocked, [argument]))
        return True

    def finish(self) -> None:
        """Change the imports: what is no longer used goes."""
        for node in self._imports:
            if isinstance(node, cst.ImportFrom):
                self._finish_from(node)
            else:
                kept = [a for a in node.names if not self._is_done(a.evaluated_name)]
                self._keep(node, kept)

    def _finish_from(self, node: cst.ImportFrom) -> None:
        module = cst.Module([]).code_for_node(node.module) if node.module else ""
        if node.relative or not _is_theirs(module):
            return
        if isinstance(node.names, cst.ImportStar):
            self.plan.note(
                node,
                f"from {module} import * hides what is used: import it by name. No "
                f"file is changed before",
                is_first=True,
            )
            return
        names = [alias.evaluated_name for alias in node.names]
        kept = [
            alias
            for alias, name in zip(node.names, names, strict=True)
            if not self._is_done(f"{module}.{name}") or self._is_passed_on(node, alias)
        ]
        self._keep(node, kept)

    def _is_passed_on(self, node: cst.ImportFrom, alias: cst.ImportAlias) -> bool:
        name = alias.evaluated_alias or alias.evaluated_name
        root, path = self.plan.project.root, self.plan.source.path
        found = is_passed_on(root, path, name)
        if found:
            self.plan.note(
                node,
                f"others import {name} from here: let them import it from where it is "
                f"declared, and run this again",
            )
        return found

    def _is_done(self, name: str) -> bool:
        return _is_theirs(name) and not any(
            left == name or left.startswith(f"{name}.") for left in self.left
        )

    def _keep(
        self, node: cst.Import | cst.ImportFrom, kept: Sequence[cst.ImportAlias]
    ) -> None:
        if isinstance(node.names, cst.ImportStar) or len(kept) == len(node.names):
            return
        if not kept:
            self.plan.change(node, lambda _: cst.RemoveFromParent())
            return
        last = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        names = [*kept[:-1], last]
        self.plan.change(node, lambda updated: updated.with_changes(names=names))


def _is_theirs(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def _advice(name: str) -> str:
    while name:
        if name in ADVICE:
            return ADVICE[name]
        name = name.rpartition(".")[0]
    return "has no counterpart"
