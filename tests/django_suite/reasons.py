"""Reads which tests are expected to fail with the lock, and why."""

from __future__ import annotations

from pathlib import Path

__all__ = ["listed"]


def listed(file: Path, kind: str, version: str) -> dict[str, str]:
    """Return the tests that are expected to fail, each with the reason above it.

    A line is a test's id and, if it doesn't fail everywhere, where it does:
    "[base 5.2 6.0]", say.

    Args:
        file: has the list.
        kind: "base" or "field".
        version: Django's, like "5.2".
    """
    found, reason = {}, ""
    for line in file.read_text().splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            name, _, where = line.rstrip("]").partition("  [")
            conditions = {*where.split()}
            kinds = conditions & {"base", "field"} or {kind}
            versions = conditions - {"base", "field"} or {version}
            if kind in kinds and version in versions:
                found[name] = reason
    return found
