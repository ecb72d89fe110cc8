"""Moves the project from another lock; nothing of it is imported for that."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

__all__ = ["Command"]


class Command(BaseCommand):
    """``manage.py optilock_move``, and ``python -m optilock.moving`` without Django."""

    help = "Moves the project from django-concurrency or django-optimistic-lock."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        self._command().add_arguments(parser)

    def handle(self, *args: object, **options: Any) -> None:
        status = self._command().run(
            options["project"],
            self.stdout.write,
            write=options["write"],
            editable=options["editable"],
        )
        if status:
            sys.exit(status)

    def _command(self) -> ModuleType:
        try:
            from optilock.moving import command
        except ModuleNotFoundError as error:
            if error.name != "libcst":
                raise
            raise CommandError(
                'This needs libcst: pip install "optilock[move]".'
            ) from error
        return command
