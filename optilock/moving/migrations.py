"""Writes the migration of an app whose columns optilock takes over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from libcst import matchers as m

from optilock.moving.models import Model, Project
from optilock.moving.names import KEPT, TRIGGER
from optilock.moving.reading import App, Note, Source, literal, read

__all__ = ["NAME", "write_migrations"]

#: What the migrations are called, behind their number.
NAME = "optilock_move"

_TEMPLATE = '''"""Counts on with optilock, in the columns that are there."""

from django.db import migrations, models

import optilock
from optilock.operations import {names}


class Migration(migrations.Migration):
    dependencies = [("{label}", "{leaf}")]

    operations = [
{operations}
    ]
'''


def write_migrations(
    project: Project, *, editable: bool = False
) -> tuple[dict[Path, str], list[Note]]:
    """Return the new migrations by path, and what a person has to do instead."""
    texts: dict[Path, str] = {}
    notes: list[Note] = []
    by_app: dict[Path, list[Model]] = {}
    for model in project.models:
        by_app.setdefault(model.app.folder, []).append(model)
    for models in by_app.values():
        app = models[0].app
        known = _Known.of(app)
        models = [one for one in models if (one.name, one.field) not in known.adopted]
        if not models:
            continue  # it was written before
        if not known.names:
            for model in models:
                text = f"is of the app {app.label!r}, which has no migrations: alter "
                project.remark(model.declared, f"{text}its table yourself")
        elif len(known.leaves) != 1:
            text = (
                f"has {len(known.leaves)} last migrations: run makemigrations --merge. "
                f"No file is changed before"
            )
            notes.append(Note(app.migrations, 1, text, is_first=True))
        else:
            path = app.migrations / f"{known.next_number:04}_{NAME}.py"
            texts[path] = _text(app, known.leaves[0], models, project, editable)
    return texts, notes


class _Known:
    """The migrations that an app has.

    Attributes:
        names: their names.
        leaves: those that no other depends on.
        adopted: the models, and their fields, that an earlier run has taken over.
    """

    def __init__(
        self, names: Sequence[str], leaves: Sequence[str], adopted: set[tuple[str, str]]
    ) -> None:
        self.names = names
        self.leaves = leaves
        self.adopted = adopted

    @classmethod
    def of(cls, app: App) -> _Known:
        paths = [
            p for p in sorted(app.migrations.glob("*.py")) if p.stem[0] not in "_~"
        ]
        sources = {path.stem: Source(path, *read(path)) for path in paths}
        squashed = {
            name: _named(source, "replaces", app.label)
            for name, source in sources.items()
        }
        needed: set[str] = set().union(*squashed.values())
        for name, source in sources.items():
            found = _named(source, "dependencies", app.label)
            needed |= found
            # Who needs one of those that were squashed needs them all.
            needed |= {
                new for new, old in squashed.items() if found & old and name not in old
            }
        leaves = [name for name in sources if name not in needed]
        adopted = {
            pair
            for name, source in sources.items()
            if NAME in name
            for pair in _adopted(source)
        }
        return cls([*sources], leaves, adopted)

    @property
    def next_number(self) -> int:
        heads = [name.partition("_")[0] for name in self.names]
        return max((int(head) for head in heads if head.isdigit()), default=0) + 1


def _adopted(source: Source) -> Iterator[tuple[str, str]]:
    for call in m.findall(
        source.wrapper.module, m.Call(m.Name("AdoptVersion") | m.Attribute())
    ):
        values = [literal(arg.value) for arg in call.args[:2]]  # type: ignore[attr-defined]  # of a Call
        if source.name_of(call.func).endswith(".AdoptVersion") and None not in values:  # type: ignore[attr-defined]
            yield (values[0], values[1])


def _named(source: Source, name: str, label: str) -> set[str]:
    """Return the app's migrations that one depends on, or replaces."""
    found: set[str] = set()
    for declared in source.classes:
        node = declared.statements.get(name)
        for element in getattr(node, "elements", ()):
            pair = literal(element.value)
            if pair and pair[0] == label:
                found.add(pair[1])
    return found


def _text(
    app: App, leaf: str, models: Sequence[Model], project: Project, editable: bool
) -> str:
    lines: list[str] = []
    names = {"AdoptVersion"}
    for model in models:
        key = f'"{model.name}", "{model.field}"'
        lines.append(f"AdoptVersion({key}, was={model.was}),")
        excluded = project.excluded(model.owner)
        if excluded:
            lines += _alter(model, excluded, editable)
    new = {id(declared) for declared, _, _ in project.triggers()}
    for model in models:
        if model.kind != TRIGGER:
            continue
        if new & {id(model.owner), id(model.declared)}:
            lines += _add_trigger(app, model)
        names.add("RemoveTrigger")
        given = model.arguments.get("trigger_name")
        trigger = "" if given is None else f', trigger="concurrency_{given}"'
        lines.append(f'RemoveTrigger("{model.name}", "{model.field}"{trigger}),')
    text = _TEMPLATE.format(
        label=app.label,
        leaf=leaf,
        names=", ".join(sorted(names)),
        operations="\n".join(f"        {line}" for line in lines),
    )
    return (
        text if "optilock." in "".join(lines) else text.replace("import optilock\n", "")
    )


def _alter(model: Model, excluded: Sequence[str], editable: bool) -> list[str]:
    given = model.arguments
    options = [
        f"{name}={_code(given[name])}" for name in given if name in KEPT["concurrency"]
    ]
    options.append(f"exclude={_code([*excluded])}")
    if editable:
        options.append("editable=True")
    return [
        "migrations.AlterField(",
        f'    model_name="{model.name}",',
        f'    name="{model.field}",',
        f"    field=optilock.IntegerVersionField({', '.join(options)}),",
        "),",
    ]


def _code(value: object) -> str:
    """Return a value as it is written, in the quotes that Black likes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_code, value))}]"
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value}"
    )


def _add_trigger(app: App, model: Model) -> list[str]:
    options = [f'name="{app.label}_{model.name}_{model.field}"']
    if model.field != "version":
        options.append(f'field="{model.field}"')
    column = model.arguments.get("db_column")
    if column not in (None, model.field):
        options.append(f'column="{column}"')
    return [
        "migrations.AddConstraint(",
        f'    model_name="{model.name}",',
        f"    constraint=optilock.VersionTrigger({', '.join(options)}),",
        "),",
    ]
