"""manage.py demo: the stories, run for real."""

from __future__ import annotations

import random
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
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
from shop.race import Crew
from shop.report import closing, run_all
from shop.scratch import scratch_database
from shop.stories import STORIES
from shop.story import Result

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C has ended


class Command(BaseCommand):
    help = "Run every story in every way, and count what is lost."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--workers",
            type=_at_least(2),
            default=8,
            help="how many want the same thing at once (default: %(default)s)",
        )
        parser.add_argument(
            "--rounds",
            type=_at_least(1),
            default=5,
            help="how often each way is tried (default: %(default)s)",
        )
        parser.add_argument(
            "--database",
            metavar="NAME|URL",
            help=(
                "sqlite, postgresql or mariadb on this machine, or a URL such as "
                "postgresql://user:password@host:5432/ (default: $DATABASE_URL, or "
                "else sqlite)"
            ),
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            help="for the invented names and the waits (default: %(default)s)",
        )
        parser.add_argument(
            "--chart",
            type=Path,
            metavar="FILE",
            help="draw throughput and losses into an SVG, PNG or PDF file",
        )

    def handle(self, **options: Any) -> None:
        draw, entry = _drawing(options["chart"]), _entry(options["database"])
        factory.random.reseed_random(options["seed"])
        random.seed(options["seed"])
        console = Console(file=self.stdout)
        try:
            with scratch_database(entry):
                opening(console)
                results = self._races(console, draw, **options)
            failed = [r for r in results if r.way.right and r.is_wrong]
            if failed:
                names = ", ".join(f"{r.story.slug}/{r.way.title}" for r in failed)
                raise CommandError(f"A right way has lost something: {names}.")
            call_command("prepare", stdout=self.stdout)
        except DatabaseError as error:
            raise CommandError(
                f"The database gave up: {error}\nFewer --workers ask less of it."
            ) from error
        except KeyboardInterrupt:
            console.print("\nInterrupted. The demo's database is removed.")
            sys.exit(INTERRUPTED)

    def _races(
        self,
        console: Console,
        draw: Callable[[list[Result], str], None],
        *,
        workers: int,
        rounds: int,
        **options: Any,
    ) -> list[Result]:
        conditions = (
            f"{workers} workers, {rounds} round{'s' * (rounds > 1)} of each way, "
            f"{connection.display_name}, Django {django.get_version()}"
        )
        console.rule("[bold]Four races")
        console.print(f"{conditions}.", highlight=False)
        console.print("In each round, all have read before anybody writes.\n")
        with Crew(workers) as crew:
            results = run_all(STORIES, crew, rounds, console)
        closing(results, console)
        draw(results, conditions)
        return results


def _entry(choice: str | None) -> dict[str, Any]:
    if choice is None:
        return dict(settings.DATABASES["default"])
    try:
        return database(choice)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error


def _drawing(path: Path | None) -> Callable[[list[Result], str], None]:
    """Return what draws the chart; complain before the demo, not after it."""
    if path is None:
        return lambda results, conditions: None
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise CommandError(
            f"--chart {path}: the name has to end in .svg, .png or .pdf."
        )
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--chart {path}: there is no such directory.")
    try:
        from shop.chart import draw
    except ImportError as error:
        raise CommandError(
            f'{error}. The chart needs matplotlib: pip install ".[example]"'
        ) from error
    return lambda results, conditions: draw(results, path, conditions)


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise ArgumentTypeError(f"at least {minimum}, not {value}")
        return value

    return number
