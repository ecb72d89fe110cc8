"""Moves a project from another lock, by its source: ``python -m optilock.moving``.

Nothing of the project is imported. Each file is read as a syntax tree, and what isn't
understood is named, with its line, and left as it is.
"""

__all__ = []
