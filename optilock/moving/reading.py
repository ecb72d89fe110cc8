"""Finds a project's files, and the classes in them that have to do with a version."""

from __future__ import annotations

import io
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import (
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
    ScopeProvider,
)

from optilock.moving.names import (
    CLASSES,
    DROPPED_SETTINGS,
    FIELDS,
    MIXIN,
    OPEN_SETTINGS,
    PACKAGES,
    SWITCH,
)

__all__ = [
    "MARK",
    "App",
    "Declared",
    "Note",
    "Source",
    "assigned",
    "files_of",
    "find_sources",
    "is_passed_on",
    "literal",
    "read",
]

#: Folders in which there is nothing of the project's own.
_SKIPPED = {"node_modules", "site-packages", "__pycache__", "build", "dist", "venv"}


#: How a comment begins that the command leaves where a person has something to do, and
#: nothing else would tell that afterwards.
MARK = "# optilock_move: "


@dataclass(frozen=True, order=True)
class Note:
    """Something to tell the person who moves a project.

    Attributes:
        path: the file.
        line: its line.
        text: what there is to say.
        is_open: whether it is left for a person to do.
        is_first: whether nothing can be changed before.
    """

    path: Path
    line: int
    text: str
    is_open: bool = True
    is_first: bool = False


@dataclass
class Declared:
    """A class that a file declares.

    Attributes:
        source: the file.
        node: the class.
        name: its name.
        bases: the qualified names of its bases.
        statements: what its body assigns: the nodes of the values, by name.
        inner: the classes in it, by name.
    """

    source: Source
    node: cst.ClassDef
    name: str
    bases: list[str]
    statements: dict[str, cst.BaseExpression] = field(default_factory=dict)
    inner: dict[str, Declared] = field(default_factory=dict)

    @property
    def version(self) -> tuple[str, str] | None:
        """The name and the kind of the version field that its body declares."""
        for name, value in self.statements.items():
            if isinstance(value, cst.Call):
                kind = self.source.name_of(value.func)
                if kind in FIELDS:
                    return name, kind
        return None

    def option(self, name: str) -> object:
        """Return what ``class Meta`` says, ``None`` if it doesn't, or not literally."""
        meta = self.inner.get("Meta")
        return literal(meta.statements.get(name)) if meta else None


class Source:
    """A file of Python, as a tree whose names are resolved."""

    def __init__(self, path: Path, text: str, encoding: str = "utf-8") -> None:
        self.path = path
        self.text = text
        self.encoding = encoding
        self.wrapper = MetadataWrapper(cst.parse_module(text))
        self._names = self.wrapper.resolve(QualifiedNameProvider)
        self._positions = self.wrapper.resolve(PositionProvider)
        self._scopes = self.wrapper.resolve(ScopeProvider)
        self.parents = self.wrapper.resolve(ParentNodeProvider)
        self.classes = list(self._declared(self.wrapper.module.body))

    @property
    def is_migration(self) -> bool:
        return self.path.parent.name == "migrations"

    def names_of(self, node: cst.CSTNode) -> set[str]:
        """Return the qualified names of all that a name may stand for."""
        names = self._names.get(node, ())
        return {
            str(name.name)
            for name in (names() if callable(names) else names)
            if name.source is not QualifiedNameSource.BUILTIN
        }

    def name_of(self, node: cst.CSTNode) -> str:
        """Return a qualified name: where it was imported from, or declared.

        It is empty if there is none, or more than one.
        """
        names = self.names_of(node)
        return names.pop() if len(names) == 1 else ""

    def gives_away(self, name: str, module: str) -> bool:
        """Tell whether a name in this file stands for something other than ours."""
        return any(
            found.name != f"{module}.{name}"
            and found.name != SWITCH
            and CLASSES.get(found.name) != (module, name)
            for scope in {one for one in self._scopes.values() if one is not None}
            for assignment in scope.assignments[name]
            for found in assignment.get_qualified_names_for(name)
        )

    def is_imported(self, node: cst.CSTNode) -> bool:
        names = self._names.get(node, ())
        found = names() if callable(names) else names
        return any(name.source is QualifiedNameSource.IMPORT for name in found)

    def line_of(self, node: cst.CSTNode) -> int:
        return int(self._positions[node].start.line)

    def _declared(self, body: Iterable[cst.CSTNode]) -> Iterator[Declared]:
        for node in body:
            if isinstance(node, cst.ClassDef):
                yield self._declared_class(node)
            elif isinstance(node, cst.If | cst.Else | cst.Try | cst.ExceptHandler):
                yield from self._declared(node.body.body)
                others = [*getattr(node, "handlers", ()), getattr(node, "orelse", None)]
                yield from self._declared(one for one in others if one is not None)

    def _declared_class(self, node: cst.ClassDef) -> Declared:
        bases = [self.name_of(arg.value) for arg in node.bases]
        declared = Declared(self, node, node.name.value, bases)
        for statement in node.body.body:
            if isinstance(statement, cst.ClassDef):
                inner = self._declared_class(statement)
                declared.inner[inner.name] = inner
            elif found := assigned(statement):
                declared.statements[found[0]] = found[1]
        return declared


def assigned(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    """Return the name and the value, if a statement assigns to one name."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return None
    small = statement.body[0]
    if isinstance(small, cst.Assign) and len(small.targets) == 1:
        target: cst.BaseExpression = small.targets[0].target
        value: cst.BaseExpression = small.value
    elif isinstance(small, cst.AnnAssign | cst.AugAssign) and small.value is not None:
        target, value = small.target, small.value
    else:
        return None
    return (target.value, value) if isinstance(target, cst.Name) else None


def literal(node: cst.CSTNode | None) -> Any:
    """Return the value of an expression without names in it, else ``None``."""
    if isinstance(node, cst.SimpleString):
        return node.evaluated_value
    if isinstance(node, cst.Name):
        return {"True": True, "False": False}.get(node.value)
    if isinstance(node, cst.List | cst.Tuple):
        values = [literal(element.value) for element in node.elements]
        return None if None in values else values
    return None


@dataclass
class App:
    """An app of the project.

    Attributes:
        label: as migrations call it.
        folder: where its models are.
    """

    label: str
    folder: Path

    @property
    def migrations(self) -> Path:
        return self.folder / "migrations"

    @classmethod
    def of(cls, path: Path, root: Path) -> App:
        """Return the app that a file of models belongs to."""
        nearest = path.parent.parent if path.parent.name == "models" else path.parent
        folder = next(
            (
                one
                for one in path.parents
                if root in one.parents
                and ((one / "migrations").is_dir() or (one / "apps.py").is_file())
            ),
            nearest,
        )
        config = folder / "apps.py"
        if config.is_file():
            for declared in Source(config, *read(config)).classes:
                if label := literal(declared.statements.get("label")):
                    return cls(str(label), folder)
        return cls(folder.resolve().name, folder)


def find_sources(root: Path) -> tuple[list[Source], list[Note]]:
    """Read the files of a project that mention another lock, or a class that has it.

    Returns:
        The files, and what couldn't be read.
    """
    texts: dict[Path, str] = {}
    encodings: dict[Path, str] = {}
    notes: list[Note] = []
    for path in files_of(root):
        try:
            texts[path], encodings[path] = read(path)
        except (OSError, UnicodeDecodeError, SyntaxError) as error:
            notes.append(Note(path, 1, f"can't be read: {error}"))
        else:
            notes += _marks(path, texts[path])
    sources: dict[Path, Source] = {}
    words: set[str] = {*PACKAGES, *DROPPED_SETTINGS, *OPEN_SETTINGS}
    heirs: set[str] = set()
    while words:  # until no class is found that has a version from another
        fresh = []
        for path in texts.keys() - sources.keys():
            if any(_mentions(texts[path], word) for word in words):
                try:
                    sources[path] = Source(path, texts[path], encodings[path])
                except cst.ParserSyntaxError as error:
                    message = f"isn't Python that can be read: {error.message}"
                    notes.append(Note(path, error.raw_line, message))
                    texts[path] = ""
                else:
                    fresh.append(sources[path])
        before, heirs = heirs, _heirs(sources.values(), heirs)
        words = heirs - before
    return [sources[path] for path in sorted(sources)], notes


def read(path: Path) -> tuple[str, str]:
    """Return a file's text, with the ends of its lines, and its encoding (PEP 263)."""
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding), encoding


def _marks(path: Path, text: str) -> Iterator[Note]:
    """Find what an earlier run has left to a person, and is there still."""
    if MARK not in text:
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and token.string.startswith(MARK):
                said = token.string.removeprefix(MARK)
                yield Note(path, token.start[0], f"{said} (then delete this comment)")
    except (tokenize.TokenError, SyntaxError) as error:
        # One of an edit that isn't finished yet.
        yield Note(path, 1, f"isn't Python that can be read: {error.args[0]}")


def _mentions(text: str, word: str) -> bool:
    if word not in text:
        return False
    # Else each "tool" and "bool" would be one. Whoever uses it imports it.
    return word != "ool" or word in text.replace(".", " ").replace(",", " ").split()


def _heirs(sources: Iterable[Source], known: set[str]) -> set[str]:
    """Return the names of the classes that have a version, own or inherited."""
    found = set(known)
    for source in sources:
        for declared in source.classes if not source.is_migration else ():
            bases = {base.rpartition(".")[2] for base in declared.bases}
            if declared.version or MIXIN in declared.bases or bases & found:
                found.add(declared.name)
    return found


def is_passed_on(root: Path, path: Path, name: str) -> bool:
    """Tell whether another file imports a name from this one, by what it says."""
    module = path.parent.name if path.stem == "__init__" else path.stem
    importing = re.compile(
        rf"^\s*from +(?P<module>[\w.]*\b{re.escape(module)}) +import\b"
        rf"(?: *\*|(?: *\([^)]*|.*)\b{re.escape(name)}\b)",
        re.MULTILINE,
    )
    return any(
        found["module"].partition(".")[0] not in PACKAGES
        for other in files_of(root)
        if other != path
        for found in importing.finditer(other.read_text(errors="replace"))
    )


def files_of(root: Path, ending: str = ".py") -> Iterator[Path]:
    """Yield the files of a project, but for those that aren't its own."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not (Path(folder, name) / "pyvenv.cfg").exists()
        )
        yield from (Path(folder, f) for f in sorted(files) if f.endswith(ending))
