"""Other packages: one module for each, imported only by who uses it."""

__all__ = []
