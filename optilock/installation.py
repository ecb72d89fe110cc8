"""A system check that runs where ``"optilock"`` isn't in ``INSTALLED_APPS``.

The lock itself needs no app. What shows conflicts to people does: without its
templates, the first conflict is an error 500.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import get_resolver

__all__ = ["NeedsTemplates", "check_installation", "note_need", "watch"]

#: The names of what needs the templates, as far as it is imported.
_needs: set[str] = set()


class NeedsTemplates:
    """A base of classes that show conflicts by the templates of this package."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        note_need(cls)


def note_need(user: Callable[..., object]) -> None:
    """Note that a class or function of the project needs the templates."""
    if not user.__module__.startswith("optilock."):
        _needs.add(f"{user.__module__}.{user.__qualname__}")


def watch() -> None:
    """Register the check, which no app may be there to register.

    This runs for each model, in migrations too, and registering takes a while.
    """
    registered: Container[object] = checks.registry.registry.registered_checks
    if check_installation not in registered:
        checks.register(check_installation, checks.Tags.urls)


def check_installation(
    *, app_configs: object = None, **kwargs: object
) -> list[checks.CheckMessage]:
    """Check that the app is installed, if anything needs its templates."""
    if apps.is_installed("optilock"):
        return []
    if getattr(settings, "ROOT_URLCONF", None):
        _ = get_resolver().url_patterns  # imports the views, and with them their forms
    middleware = (one for one in settings.MIDDLEWARE if one.startswith("optilock."))
    names = sorted({*_needs, *middleware})
    if not names:
        return []
    more = f" (and {len(names) - 3} more)" if len(names) > 3 else ""
    return [
        checks.Error(
            f"optilock isn't installed: without its templates, the first conflict of "
            f"{', '.join(names[:3])}{more} is an error 500.",
            hint='Add "optilock" to INSTALLED_APPS.',
            id="optilock.E034",
        )
    ]
