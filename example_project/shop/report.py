"""The demo's progress bar and its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from shop.race import Crew, run_round
from shop.story import Result, Story


def run_all(
    stories: Sequence[Story], crew: Crew, rounds: int, console: Console
) -> list[Result]:
    """Run all rounds of all ways, and show how far it is."""
    results = [Result(story, way) for story in stories for way in story.ways]
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=len(results) * rounds)
        for result in results:
            name = f"{result.story.slug}: {result.way.title}"
            progress.update(task, description=name)
            for _ in range(rounds):
                run_round(crew, result)
                progress.advance(task)
    return results


def closing(results: Sequence[Result], console: Console) -> None:
    """Print the table, and what it says."""
    console.print(_table(results))
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


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for heading in ("asked", "confirmed", "stored", "lost", "retries", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for story, of_story in groupby(results, key=lambda result: result.story):
        table.add_row(f"[bold]{story.title}")
        for result in of_story:
            table.add_row(*_cells(result))
        table.add_row()
    return table


def _cells(result: Result) -> Iterator[str]:
    mark = "[green]✓[/]" if result.way.right else "[red]✗[/]"
    yield f"{mark} {result.way.title}"
    yield str(result.asked)
    yield str(result.confirmed)
    yield str(result.stored)
    if result.lost < 0:
        yield f"[bold red]{-result.lost} extra[/]"
    elif result.lost:
        yield f"[bold red]{result.lost}[/]"
    else:
        yield "[green]0[/]"
    yield str(result.retries or "-")
    yield f"{result.seconds:.2f} s"
