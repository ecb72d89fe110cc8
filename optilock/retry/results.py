"""What isn't finished when a function returns, and so can't be tried again."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncContextDecorator, ContextDecorator
from functools import partial
from itertools import starmap
from types import CoroutineType
from typing import TypeVar, cast

from asgiref.sync import iscoroutinefunction

__all__ = ["bound_to", "code_of", "finished", "name_of", "refuse_what_runs_later"]

T = TypeVar("T")


def refuse_what_runs_later(function: Callable[..., object], atomic: bool) -> None:
    """Raise an error for what isn't finished when it returns."""
    if isinstance(function, classmethod | staticmethod):
        kind = type(function).__name__
        raise TypeError(
            f"{name_of(function)} is a {kind} object. Put @{kind} above "
            f"@retry_on_conflict."
        )
    code = code_of(function)
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(
            f"{name_of(function)} is a generator function, and what it has yielded "
            f"can't be taken back. Let it return a list, or decorate a function that "
            f"consumes the generator."
        )
    if atomic and iscoroutinefunction(code):
        raise TypeError(_COROUTINE.format(name=name_of(function)))


_COROUTINE = (
    "{name} is a coroutine function, and Django has no transactions for these. Make "
    "it a plain function f and call it by sync_to_async(retry_on_conflict(f)), or "
    "retry it without a transaction per attempt: retry_on_conflict(atomic=False)."
)


#: What calls somebody's function only when it is asked for its results, or entered:
#: after COMMIT, where nothing can be tried again.
_LATER = (
    Generator,
    AsyncGenerator,
    map,
    filter,
    starmap,
    ContextDecorator,
    AsyncContextDecorator,
)


def finished(result: T) -> T:
    """Return the result of a call, unless its work is still to be done."""
    if result is None:
        return result
    # The type is asked, not isinstance(): that would load a lazy object.
    if issubclass(type(result), CoroutineType):
        coroutine = cast("CoroutineType[None, None, None]", result)
        coroutine.close()
        raise TypeError(_COROUTINE.format(name=coroutine.__qualname__))
    if issubclass(type(result), (*_LATER, Awaitable)):
        raise TypeError(
            f"The function that retry_on_conflict() called returned a "
            f"{type(result).__name__}, which does its work later: after the "
            f"transaction, where nothing is tried again. Let the function return a "
            f"list, or do that work itself."
        )
    return result


def code_of(function: Callable[..., object]) -> Callable[..., object]:
    """Return what runs when the function is called: of an object, its ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    if iscoroutinefunction(function):  # marked as one
        return function
    return getattr(function, "__call__", function)  # noqa: B004 -- not whether, but which


def bound_to(function: Callable[..., object]) -> tuple[object, ...]:
    """Return the arguments that a function brings along, itself if it is an object."""
    if isinstance(function, partial):
        keywords = function.keywords.values()
        return (*bound_to(function.func), *function.args, *keywords)
    if inspect.isroutine(function):
        return (getattr(function, "__self__", None),)
    return (function,)


def name_of(function: Callable[..., object]) -> str:
    """Return what a function is called in messages, without a partial's arguments."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{function.__module__}.{name}"
