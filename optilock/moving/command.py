"""The command: reads a project, shows what would change, and changes it if asked."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from optilock.moving.migrations import write_migrations
from optilock.moving.models import Project
from optilock.moving.reading import Note, files_of, find_sources
from optilock.moving.rewriting import rewrite

__all__ = ["add_arguments", "main", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, for a parser of ours or of Django's."""
    parser.add_argument(
        "project",
        nargs="?",
        default=".",
        type=Path,
        help="the folder of the project; this one by default",
    )
    parser.add_argument(
        "--write", action="store_true", help="change the files, not only show how"
    )
    parser.add_argument(
        "--editable",
        action="store_true",
        help="keep the versions as inputs of plain forms and serializers",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m optilock.moving",
        description="Moves a project from another package for optimistic locking.",
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    return run(options.project, print, write=options.write, editable=options.editable)


def run(
    root: Path, say: Callable[[str], object], *, write: bool, editable: bool = False
) -> int:
    """Show what is to be changed in a project, or change it.

    Args:
        root: its folder.
        say: is called with each line.
        write: whether to change the files.
        editable: whether the versions stay inputs of plain forms and serializers.

    Returns:
        0 if everything is seen to, 1 if something is left for a person, 2 if there
        is no such folder.
    """
    if not root.is_dir():
        say(f"{root} isn't a folder.")
        return 2
    sources, notes = find_sources(root)
    project = Project(root, sources)
    made, said = write_migrations(project, editable=editable)
    notes += [*said, *_templates(root)]
    encodings = {source.path: source.encoding for source in sources}
    changed: dict[Path, tuple[str, str]] = {}
    for source in sources:
        text, said = rewrite(source, project, editable=editable)
        notes += said
        if text != source.text:
            changed[source.path] = source.text, text
    changed |= {path: ("", text) for path, text in made.items()}
    # Once the fields are changed, nothing tells any more which tables to take over.
    write = write and not any(note.is_first for note in notes)
    for path, (old, new) in sorted(changed.items()):
        if write:
            path.write_bytes(new.encode(encodings.get(path, "utf-8")))
            say(f"{path}: {'changed' if old else 'written'}")
        else:
            for line in _diff(path, old, new):
                say(line)
    return _conclude(root, say, sorted({*notes}), changed, is_written=write)


def _diff(path: Path, old: str, new: str) -> Iterator[str]:
    return difflib.unified_diff(
        old.splitlines(), new.splitlines(), str(path), str(path), lineterm=""
    )


def _templates(root: Path) -> Iterator[Note]:
    for path in files_of(root, ".html"):
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if "{%" in line and "load" in line and "concurrency" in line:
                yield Note(path, number, "loads the other package's template tags")


def _conclude(
    root: Path,
    say: Callable[[str], object],
    notes: Sequence[Note],
    changed: dict[Path, tuple[str, str]],
    *,
    is_written: bool,
) -> int:
    left = [note for note in notes if note.is_open]
    for note in notes:
        kind = "left for you" if note.is_open else "note"
        say(f"{note.path}:{note.line}: {kind}: {note.text}")
    if not changed and not left:
        say(f"Nothing in {root} comes from another lock.")
    elif not is_written and changed:
        say(f"{len(changed)} files would be changed. Run it with --write to do so.")
    if left:
        say(f"{len(left)} places are left for you: see docs/moving.md.")
    return 1 if left else 0
