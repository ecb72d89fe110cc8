"""Which models have a version of another lock, and what their migration has to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst import matchers as m

from optilock.moving.names import CONDITIONAL, FIELDS, MIXIN, TRIGGER
from optilock.moving.reading import App, Declared, Source, literal

__all__ = ["Model", "Project"]


@dataclass(frozen=True)
class Model:
    """A table with a version of another lock.

    Attributes:
        declared: the class that the table belongs to.
        owner: the class that declares the field: itself, or an abstract parent.
        app: its app.
    """

    declared: Declared
    owner: Declared
    app: App

    @property
    def field(self) -> str:
        assert self.owner.version is not None
        return self.owner.version[0]

    @property
    def kind(self) -> str:
        assert self.owner.version is not None
        return self.owner.version[1]

    @property
    def was(self) -> str:
        """What its column was, as a field of Django."""
        if not self.kind.startswith("ool."):  # which hands its arguments on
            return FIELDS[self.kind]
        given = [name for name in ("null", "db_index") if self.arguments.get(name)]
        options = "".join(f", {name}=True" for name in given)
        return FIELDS[self.kind].replace(")", f"{options})")

    @property
    def name(self) -> str:
        return self.declared.name.lower()

    @cached_property
    def arguments(self) -> dict[str, object]:
        """What the field was given by name, as far as that is text, a number or so."""
        call = self.owner.statements[self.field]
        assert isinstance(call, cst.Call)
        found: dict[str, object] = {}
        for arg in call.args:
            value = arg.value
            if isinstance(value, cst.Call) and len(value.args) == 1:
                value = value.args[0].value  # gettext_lazy("Version")
            plain = literal(value)
            if arg.keyword is not None and plain is not None:
                found[arg.keyword.value] = plain
        return found


class Project:
    """All that was read.

    Attributes:
        root: the folder of the project.
        sources: its files.
        remarks: what a person has to do about which of its models.
    """

    def __init__(self, root: Path, sources: Sequence[Source]) -> None:
        self.root = root
        self.sources = sources
        self.remarks: list[tuple[Declared, str]] = []

    @cached_property
    def models(self) -> list[Model]:
        """The tables that have such a version."""
        found = []
        for declared in self._classes:
            owner = self._owner(declared, set())
            if owner is None or declared.option("abstract"):
                continue
            if declared.option("proxy") or self._has_table_with_it(declared):
                continue
            if declared.option("managed") is False:
                self.remark(declared, "isn't managed: alter its table yourself")
                continue
            label = declared.option("app_label")
            app = App.of(declared.source.path, self.root)
            if label is not None and label != app.label:
                self.remark(
                    declared,
                    f"is of the app {label!r}: put the migration for it there yourself",
                )
                continue
            found.append(Model(declared, owner, app))
        return found

    @cached_property
    def owners(self) -> list[Declared]:
        """The classes that declare such a field."""
        return [declared for declared in self._classes if declared.version]

    def is_versioned(self, name: str) -> bool:
        """Tell whether a class, by its qualified name, is one of the models."""
        last = name.rpartition(".")[2]
        return any(model.declared.name == last for model in self.models)

    def excluded(self, declared: Declared) -> list[str] | None:
        """Return what a ``ConditionalVersionField`` doesn't look at.

        Returns:
            The names of fields; ``None`` if a person has to find out.
        """
        assert declared.version is not None
        name, kind = declared.version
        options = declared.inner.get("ConcurrencyMeta")
        if kind != CONDITIONAL or options is None:
            return [] if options is None else None
        if set(options.statements) == {"ignore_fields"}:
            ignored = literal(options.statements["ignore_fields"])
            return None if ignored is None else [*ignored]
        checked = literal(options.statements.get("check_fields"))
        if set(options.statements) != {"check_fields"} or checked is None:
            return None
        if not {*declared.bases} <= {"django.db.models.Model", MIXIN}:
            return None  # other fields come from elsewhere
        columns = [one for one in _columns(declared) if one != name]
        return [one for one in columns if one not in checked]

    def triggers(self) -> Iterator[tuple[Declared, str, str]]:
        """Yield the classes whose versions a trigger counts.

        With the name of the field, and that of the new trigger.
        """
        for owner in self.owners:
            assert owner.version is not None
            name, kind = owner.version
            if kind != TRIGGER or _has_trigger(owner):
                continue
            if owner.option("abstract"):
                yield owner, name, f"%(app_label)s_%(class)s_{name}"
            heirs = [one for one in self.models if one.owner is owner]
            for model in heirs:
                if model.declared is owner or _has_constraints_of_its_own(model):
                    label = f"{model.app.label}_{model.name}_{name}"
                    yield model.declared, name, label

    def meta_above(self, declared: Declared) -> Declared | None:
        """Return the ``Meta`` that a class's own derives from, if that is known."""
        meta = declared.inner["Meta"]
        for base in self._bases(declared):
            inner = base.inner.get("Meta")
            if inner and meta.node.bases and len(meta.node.bases) == 1:
                code = cst.Module([]).code_for_node(meta.node.bases[0].value)
                if code == f"{base.name}.Meta":
                    return inner
        return None

    @cached_property
    def _classes(self) -> list[Declared]:
        return [
            declared
            for source in self.sources
            if not source.is_migration
            for declared in source.classes
        ]

    def _bases(self, declared: Declared) -> Iterator[Declared]:
        for base in declared.bases:
            last = base.rpartition(".")[2]
            same = [one for one in declared.source.classes if one.name == last]
            found = [one for one in self._classes if one.name == last]
            if "." not in base and same:
                found = same
            elif len(found) > 1:
                module = base.rpartition(".")[0].lstrip(".").replace(".", "/")
                found = [
                    one
                    for one in found
                    if str(one.source.path.with_suffix("")).endswith(module)
                ]
            if len(found) == 1 and found[0] is not declared:
                yield found[0]

    def _owner(self, declared: Declared, seen: set[int]) -> Declared | None:
        """Return the class that declares the field in a model's own table."""
        if declared.version:
            return declared
        seen.add(id(declared))
        for base in self._bases(declared):
            if id(base) not in seen and base.option("abstract"):
                owner = self._owner(base, seen)
                if owner is not None:
                    return owner
        return None

    def _has_table_with_it(self, declared: Declared) -> bool:
        """Tell whether a parent's table has the field (multi-table inheritance)."""
        return declared.version is None and any(
            not base.option("abstract") and self._owner(base, set()) is not None
            for base in self._bases(declared)
        )

    def remark(self, declared: Declared, text: str) -> None:
        """Note that a person has to see to a model."""
        self.remarks.append((declared, f"{declared.name} {text}"))


def _has_constraints_of_its_own(model: Model) -> bool:
    """Tell whether those of the abstract parent aren't a model's."""
    meta = model.declared.inner.get("Meta")
    return bool(
        meta is not None and (not meta.node.bases or "constraints" in meta.statements)
    )


def _has_trigger(declared: Declared) -> bool:
    """Tell whether somebody has put the new trigger on the table already."""
    meta = declared.inner.get("Meta")
    constraints = meta.statements.get("constraints") if meta else None
    return constraints is not None and any(
        declared.source.name_of(call.func) == "optilock.VersionTrigger"
        for call in m.findall(constraints, m.Call())
        if isinstance(call, cst.Call)
    )


def _columns(declared: Declared) -> Iterator[str]:
    """Yield the names of the fields with a column of their own, but for the key."""
    for name, value in declared.statements.items():
        if not isinstance(value, cst.Call):
            continue
        kind = declared.source.name_of(value.func)
        last = kind.rpartition(".")[2]
        if not last.endswith(("Field", "ForeignKey")) or last == "ManyToManyField":
            continue
        keys = [a for a in value.args if a.keyword and a.keyword.value == "primary_key"]
        if not keys:
            yield name
