"""Plans what becomes of fields, of classes, and of settings."""

from __future__ import annotations

import libcst as cst
from libcst import matchers as m

from optilock.moving.editing import (
    appended,
    argument,
    followed,
    replaced_by,
    with_comma,
    with_meta,
    without_repeated_bases,
)
from optilock.moving.names import (
    DROPPED_SETTINGS,
    FIELDS,
    KEPT,
    OPEN_SETTINGS,
    SETTINGS_STRINGS,
)
from optilock.moving.planning import Plan
from optilock.moving.reading import Declared, assigned, literal

__all__ = ["ClassVisitor", "FieldVisitor", "SettingsVisitor"]

#: The text that django-concurrency gives every field.
_THEIR_HELP = "record revision number"
#: The options of its admin classes, which ours don't have.
_ADMIN_OPTIONS = {"list_editable_policy", "check_concurrent_action"}


class _Visitor(cst.CSTVisitor):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class FieldVisitor(_Visitor):
    """Version fields, in models and in old migrations."""

    def visit_Call(self, node: cst.Call) -> None:
        if self.plan.source.name_of(node.func) in FIELDS:
            self._field(node)

    def _field(self, node: cst.Call) -> None:
        kept, dropped = [], []
        package = self.plan.source.name_of(node.func).partition(".")[0]
        for number, arg in enumerate(node.args):
            if arg.star or (arg.keyword is None and package == "ool" and number):
                text = "a version field with arguments that have no name"
                self.plan.note(node, text, stays=True)
            elif arg.keyword is None and package == "ool":  # it is the verbose name
                kept.append(arg)
            elif literal(arg.value) == _THEIR_HELP:
                continue
            elif arg.keyword and arg.keyword.value in KEPT[package]:
                kept.append(arg)
            elif not (arg.keyword and arg.keyword.value == "trigger_name"):
                dropped.append(cst.Module([]).code_for_node(arg.with_changes(comma="")))
        if dropped and not self.plan.source.is_migration:
            lost = ", ".join(dropped)
            text = f"the field loses {lost}: it had no effect, or optilock sees to it"
            self.plan.note(node, text, is_open=False)
        args = [*kept, *map(argument, self._extra(node))]
        if args == [*node.args]:
            return  # with the comments in between
        if args:
            args[-1] = args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            args[:-1] = [followed(arg) for arg in args[:-1]]
        self.plan.change(
            node,
            lambda updated: updated.with_changes(
                args=args, whitespace_before_args=cst.SimpleWhitespace("")
            ),
        )

    def _extra(self, node: cst.Call) -> list[str]:
        """Return what a field is given that theirs didn't have."""
        extra = ["editable=True"] if self.plan.editable else []
        declared = self._owner_of(node)
        if declared is None and not self.plan.source.is_migration:
            self.plan.note(
                node,
                "a version field that no class at the top of the file declares: its "
                "migration is left to you",
                stays=True,
            )
        if declared is not None:
            excluded = self.plan.project.excluded(declared)
            if excluded is None:
                self.plan.note(
                    node,
                    "ConcurrencyMeta: which fields it leaves out isn't plain",
                    stays=True,
                )
            elif excluded:
                extra.append(f"exclude={excluded!r}".replace("'", '"'))
                self.plan.note(
                    node,
                    "a save() of all fields is always counted now: write what changed, "
                    "by save(update_fields=object.changed_fields())",
                    is_open=False,
                )
        return extra

    def _owner_of(self, node: cst.Call) -> Declared | None:
        return next(
            (
                one
                for one in self.plan.project.owners
                if node in one.statements.values()
            ),
            None,
        )


class ClassVisitor(_Visitor):
    """Classes of the admin, forms, serializers and views, and models with triggers."""

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        declared = next((c for c in self.plan.source.classes if c.node is node), None)
        if declared is None:
            return
        theirs = [base for base in declared.bases if base.startswith("concurrency.")]
        if any(base.startswith("concurrency.admin.") for base in theirs):
            self._admin(declared)
        self._meta(declared, is_theirs="concurrency.forms.ConcurrentForm" in theirs)
        options = declared.inner.get("ConcurrencyMeta")
        if options and not declared.version:
            self.plan.note(
                options.node,
                "a ConcurrencyMeta for a field that another class has",
                stays=True,
            )
        if any(base in FIELDS for base in declared.bases):
            self.plan.note(
                node,
                f"{declared.name} is a version field of your own: the models that "
                f"have it, and their migrations, are left to you",
                stays=True,
            )
        if (
            declared.version
            and options
            and self.plan.project.excluded(declared) is not None
        ):
            self.plan.change(options.node, lambda _: cst.RemoveFromParent())
        for owner, field, name in self.plan.project.triggers():
            if owner is declared:
                self._declare_trigger(declared, field, name)
        for model, text in self.plan.project.remarks:
            if model is declared:
                self.plan.note(node, text, stays=True)

    def visit_Call(self, node: cst.Call) -> None:
        """Name the forms that a function makes, by modelform_factory(Model)."""
        made = self.plan.source.name_of(node.func).rpartition(".")[2]
        if not made.endswith(("form_factory", "formset_factory")):
            return
        models = [self.plan.source.name_of(arg.value) for arg in node.args]
        if any(map(self.plan.project.is_versioned, models)) and not (
            self.plan.editable
        ):
            self.plan.note(
                node,
                f"{made}() makes a form that no longer has the version, so it "
                f"overwrites: give it a VersionedModelForm, or the field editable=True",
                stays=True,
            )

    def _admin(self, declared: Declared) -> None:
        if len(declared.node.bases) > 1:
            self.plan.change(declared.node, without_repeated_bases)
        for statement in declared.node.body.body:
            found = assigned(statement)
            if found is None:
                continue
            name, value = found
            if name in _ADMIN_OPTIONS:
                self.plan.change(statement, lambda _: cst.RemoveFromParent())
            elif name == "fieldsets":
                for one in m.findall(value, m.DictElement()):
                    key, fields = one.key, one.value  # type: ignore[attr-defined]
                    if literal(key) == "fields":  # and not what is a title
                        self._take_out_versions(fields)
            elif name in ("fields", "list_editable"):
                self._take_out_versions(value)

    def _take_out_versions(self, node: cst.CSTNode) -> None:
        if self.plan.editable:
            return
        versions = {one.version[0] for one in self.plan.project.owners if one.version}
        for found in m.findall(node, m.List() | m.Tuple()):
            for element in found.elements:  # type: ignore[attr-defined]
                if literal(element.value) in [*versions]:
                    self.plan.change(element, lambda _: cst.RemoveFromParent())
                    self.plan.change(found, with_comma)

    def _meta(self, declared: Declared, *, is_theirs: bool) -> None:
        """Look at a form's, serializer's or view's model."""
        meta = declared.inner.get("Meta", declared)
        node = meta.statements.get("model")
        model = "" if node is None else self.plan.source.name_of(node)
        if not model or not self.plan.project.is_versioned(model) or self.plan.editable:
            return
        fields = meta.statements.get("fields")
        if is_theirs:
            if fields is not None:
                self._take_out_versions(fields)
        elif declared.inner.get("Meta") is meta:
            if any(base.endswith(("Form", "Serializer")) for base in declared.bases):
                self.plan.note(
                    declared.node,
                    f"{declared.name} no longer has the version, so it overwrites: "
                    f"derive it from VersionedModelForm (a serializer's view from "
                    f"ConditionalMixin), or give the field editable=True",
                    stays=True,
                )
        elif any(base.endswith("UpdateView") for base in declared.bases):
            self.plan.note(
                declared.node,
                f"{declared.name} no longer has the version, so it overwrites: put "
                f"VersionedUpdateMixin in front, or give the field editable=True",
                stays=True,
            )

    def _declare_trigger(self, declared: Declared, field: str, name: str) -> None:
        reference = self.plan.refer_to("optilock", "VersionTrigger")
        option = "" if field == "version" else f', field="{field}"'
        trigger = f'{cst.Module([]).code_for_node(reference)}(name="{name}"{option})'
        meta = declared.inner.get("Meta")
        above = "" if meta is None else self._constraints_above(declared)
        if meta is not None and "constraints" in meta.statements:
            value = meta.statements["constraints"]
            if not isinstance(value, cst.List):
                text = f"add {trigger} to its constraints"
                self.plan.note(meta.node, text, stays=True)
                return
            element = cst.Element(cst.parse_expression(trigger))
            self.plan.change(
                value,
                lambda updated: updated.with_changes(
                    elements=[*updated.elements, element]
                ),
            )
        elif above is None:
            text = f"add {trigger} to its constraints, beside those it inherits"
            self.plan.note(declared.node, text, stays=True)
        elif meta is not None:
            line = cst.parse_statement(f"constraints = [{above}{trigger}]")
            self.plan.change(meta.node, lambda updated: appended(updated, line))
        else:
            code = f"class Meta:\n    constraints = [{trigger}]\n"
            new = cst.parse_statement(code).with_changes(
                leading_lines=[cst.EmptyLine(indent=False)]
            )
            self.plan.change(declared.node, lambda updated: with_meta(updated, new))

    def _constraints_above(self, declared: Declared) -> str | None:
        """Return how to write the constraints that a class's Meta inherits.

        Returns:
            An empty string if it inherits none, ``None`` if that can't be told.
        """
        node = declared.inner["Meta"].node
        if not node.bases:
            return ""
        above = self.plan.project.meta_above(declared)
        if above is None:
            return None
        if "constraints" in above.statements:
            return f"*{cst.Module([]).code_for_node(node.bases[0].value)}.constraints, "
        return None if above.node.bases else ""


class SettingsVisitor(_Visitor):
    """Apps, middleware, and the package's own settings."""

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> None:
        found = assigned(node)
        if found is None:
            return
        name, value = found
        if name in DROPPED_SETTINGS:
            self.plan.change(node, lambda _: cst.RemoveFromParent())
        elif name in OPEN_SETTINGS:
            self.plan.note(node, f"{name}: {OPEN_SETTINGS[name]}")
        elif name.endswith(("APPS", "MIDDLEWARE")):
            self._strings(value)

    def visit_Call(self, node: cst.Call) -> None:
        """Name what puts something in later: INSTALLED_APPS.append("concurrency")."""
        where = node.func.value if isinstance(node.func, cst.Attribute) else None
        into = where.value if isinstance(where, cst.Name) else ""
        if not into.endswith(("APPS", "MIDDLEWARE")):
            return
        for one in m.findall(node, m.SimpleString()):
            new = SETTINGS_STRINGS.get(literal(one))
            if new is not None:
                self.plan.note(node, f'write "{new}" into {into}')

    def visit_Arg(self, node: cst.Arg) -> None:
        """Name what a test sets: override_settings(CONCURRENCY_ENABLED=False)."""
        name = node.keyword.value if node.keyword else ""
        if name in DROPPED_SETTINGS | OPEN_SETTINGS.keys():
            advice = OPEN_SETTINGS.get(name, "optilock has no such setting")
            self.plan.note(node, f"{name}: {advice}")

    def _strings(self, node: cst.CSTNode) -> None:
        is_there = any(
            literal(one) in ("optilock", "optilock.apps.OptilockConfig")
            for one in m.findall(node, m.SimpleString())
        )
        for element in m.findall(node, m.Element()):
            old = literal(element.value)  # type: ignore[attr-defined]
            if old not in SETTINGS_STRINGS:
                continue
            new = SETTINGS_STRINGS[old]
            if new == "optilock" and is_there:
                self.plan.change(element, lambda _: cst.RemoveFromParent())
            else:
                string = cst.SimpleString(f'"{new}"')
                self.plan.change(element, replaced_by(string))
