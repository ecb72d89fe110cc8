"""The demo's progress bar and its table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from shop.race import run_round
from shop.story import Result, Story


def run_all(
    stories: Sequence[Story], workers: int, rounds: int, console: Console
) -> list[Result]:
    """Run all rounds of all ways, and show how far it is."""
    results = [Result(story, way) for story in stories for way in story.ways]
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn()
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=len(results) * rounds)
        for result in results:
            name = f"{result.story.slug}: {result.way.title}"
            for _ in range(rounds):
                bar.update(task, description=name)
                run_round(result, workers)
                bar.advance(task)
    return results


def closing(results: Sequence[Result], console: Console) -> None:
    """Print the table, and what it says."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for heading in ("asked", "confirmed", "stored", "lost", "retries", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for story, of_story in groupby(results, key=lambda result: result.story):
        table.add_row(f"[bold]{story.title}")
        for result in of_story:
            table.add_row(*_cells(result))
        table.add_row()
    console.print(table)
    wrong = sum(not result.way.right for result in results)
    console.print(
        f"Lost is what was confirmed to somebody and isn't in the database. "
        f"[red]✗[/] marks the {wrong} ways that are wrong: they lose whenever two "
        f"read before one writes, on any database."
    )
    if connection.vendor == "sqlite":
        console.print(
            "SQLite has one writer at a time, and transactions queue before they "
            "read: their attempts don't lose. --database postgresql or mariadb shows "
            "more retries."
        )
    console.print()


def _cells(result: Result) -> list[str]:
    lost = "[green]0[/]"
    if result.lost:
        extra = " extra" * (result.lost < 0)
        lost = f"[bold red]{abs(result.lost)}{extra}[/]"
    return [
        f"{'[green]✓[/]' if result.way.right else '[red]✗[/]'} {result.way.title}",
        *map(str, [result.asked, result.confirmed, result.stored]),
        lost,
        str(result.retries or "-"),
        f"{result.seconds:.2f} s",
    ]
