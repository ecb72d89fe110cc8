"""manage.py demo: the stories, run for real."""

from __future__ import annotations

import random
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import django
import factory.random
from config.databases import database
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from rich.console import Console

from shop.opening import opening
from shop.report import closing, run_all
from shop.scratch import scratch_database
from shop.stories import STORIES

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C has ended


class Command(BaseCommand):
    help = "Run every story in every way, and count what is lost."

    def add_arguments(self, parser: CommandParser) -> None:
        for name, default, type_, help_ in [
            ("--workers", 8, _at_least(2), "how many want the same thing at once"),
            ("--rounds", 5, _at_least(1), "how often each way is tried"),
            ("--seed", 1, int, "for the invented names and the waits"),
        ]:
            help_ = f"{help_} (default: %(default)s)"
            parser.add_argument(name, type=type_, default=default, help=help_)
        parser.add_argument(
            "--database",
            metavar="NAME|URL",
            help="sqlite, postgresql or mariadb on this machine, or a URL such as "
            "postgresql://user:password@host:5432/ (default: $DATABASE_URL, or "
            "else sqlite)",
        )

    def handle(self, **options: Any) -> None:
        try:
            chosen = options["database"]
            entry = database(chosen) if chosen else dict(settings.DATABASES["default"])
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        factory.random.reseed_random(options["seed"])
        random.seed(options["seed"])
        # Django's wrapper ends each write with a new line, Rich moves the cursor.
        self.stdout.ending = ""
        console = Console(file=self.stdout)
        try:
            with scratch_database(entry):
                opening(console)
                _race(console, options["workers"], options["rounds"])
            call_command("prepare", stdout=self.stdout)
        except DatabaseError as error:
            raise CommandError(
                f"The database gave up: {error}\nFewer --workers ask less of it."
            ) from error
        except KeyboardInterrupt:
            console.print("\nInterrupted. The demo's database is removed.")
            sys.exit(INTERRUPTED)


def _race(console: Console, workers: int, rounds: int) -> None:
    console.rule("[bold]Four races")
    console.print(
        f"{workers} workers, {rounds} round{'s' * (rounds > 1)} of each way, "
        f"{connection.display_name}, Django {django.get_version()}.\n"
        f"In each round, all have read before anybody writes.\n",
        highlight=False,
    )
    results = run_all(STORIES, workers, rounds, console)
    closing(results, console)
    failed = [f"{r.story.slug}/{r.way.title}" for r in results if r.has_failed]
    if failed:
        raise CommandError(f"A right way has lost something: {', '.join(failed)}.")


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < minimum:
            raise ArgumentTypeError(f"at least {minimum}, not {text}")
        return int(text)

    return number
