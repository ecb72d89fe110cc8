"""What is Django's own: short cuts are taken only where nobody has changed it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Final, ParamSpec, TypeVar

import django
from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "IS_KNOWN",
    "are_djangos",
    "not_called",
    "require_known_django",
    "signature_of",
]

P = ParamSpec("P")
T = TypeVar("T")

#: Whether this is a Django whose code was read. On any other, no short cut is taken.
IS_KNOWN: Final = django.VERSION[:2] in [(5, 2), (6, 0), (6, 1)]

#: The arguments by which Django's methods of a model are known, and called.
_KNOWN_ARGUMENTS = {
    "save_base": {"raw", "force_insert", "force_update", "using", "update_fields"},
    "_save_table": {"raw", "cls", "force_insert", "using", "update_fields"},
    "_do_update": {"base_qs", "using", "pk_val", "values", "update_fields"},
}


def require_known_django(model: type) -> None:
    """Raise an error if a model isn't saved as the lock knows it.

    Args:
        model: Django's ``Model``.

    Raises:
        ImproperlyConfigured: see above.
    """
    for name, arguments in _KNOWN_ARGUMENTS.items():
        method = getattr(model, name, None)
        if method is None or not arguments <= _arguments(method):
            raise ImproperlyConfigured(
                f"Django {django.__version__} has no Model.{name}() that takes "
                f"{', '.join(sorted(arguments))}, so optilock can't lock anything. Use "
                f"a Django that it knows, or a newer optilock."
            )


def not_called(method: str, fact: str) -> RuntimeError:
    """Return the error for a write in which Django hasn't called a method of ours.

    Args:
        method: the method.
        fact: what was written unchecked, as a sentence without its full stop.
    """
    return RuntimeError(
        f"{fact}: Django {django.__version__} doesn't call {method} as it did. Use a "
        f"Django that optilock knows, or a newer optilock."
    )


@lru_cache(maxsize=64)
def _arguments(method: Callable[..., object]) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)


@lru_cache(maxsize=64)
def are_djangos(*functions: object) -> bool:
    """Tell whether these are functions, or classes, as Django has defined them."""
    return all(
        # Not the __module__ of a function, which functools.wraps() copies.
        (
            function.__globals__["__name__"]
            if type(function) is FunctionType
            else function.__module__
            if isinstance(function, type)
            else ""
        ).startswith("django.db.")
        for function in functions
    )


def signature_of(
    method: Callable[P, T],
) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Let type checkers see Django's signature where its method is overridden.

    What overrides the override may then be as precise as with Django's own, about its
    model for one, while the override itself passes on what it doesn't know. At run time
    this does nothing.
    """

    def same(override: Callable[..., T]) -> Callable[P, T]:
        return override

    return same
