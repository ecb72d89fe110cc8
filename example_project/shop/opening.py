"""The problem and its solution in a few statements, with the SQL they run."""

from __future__ import annotations

import re
from typing import Any

import unlocked.models as unlocked
from django.db import connection
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from optilock import RecordModifiedError
from shop.factories import BookFactory, UnlockedBookFactory
from shop.models import Book


def two_people_edit_one_book(
    model: type[Book] | type[unlocked.Book], book_id: int
) -> None:
    """Alice changes the price, then Bob, who loaded the same row, the stock."""
    alice = model.objects.get(pk=book_id)
    bob = model.objects.get(pk=book_id)
    alice.price = 12
    alice.save()
    bob.stock = 7
    bob.save()


def opening(console: Console) -> None:
    """Lose an update without the lock, and refuse to lose it with the lock."""
    console.rule("[bold]One lost update")
    console.print(
        "Alice and Bob load the same book. Alice sets the price to 12, then Bob the "
        "stock to 7.\n"
    )
    console.print("[bold]Without the lock[/], in the model of most projects:")
    _edit(UnlockedBookFactory, console)
    console.print("[bold red]Alice's price is lost[/], and nobody was told.\n")
    console.print("[bold]With the lock[/], in a VersionedModel:")
    _edit(BookFactory, console)
    console.print("[bold green]Nothing is lost[/]: Bob knows, and can look again.\n")


def _edit(factory: Any, console: Console) -> None:
    book = factory(title="Dune", author="F. Herbert", price=10, stock=5)

    def execute_and_print(
        execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        result = execute(sql, params, many, context)
        cursor = context["cursor"]
        sql = connection.ops.last_executed_query(cursor, sql, params)
        _print_sql(sql, cursor.rowcount, console)
        return result

    try:
        with connection.execute_wrapper(execute_and_print):
            two_people_edit_one_book(type(book), book.pk)
    except RecordModifiedError as error:
        console.print(f"[bold green]RecordModifiedError[/]: {escape(str(error))}")
    book.refresh_from_db()
    console.print(f"Stored: price {book.price}, stock {book.stock}.", end=" ")


def _print_sql(sql: str, rows: int, console: Console) -> None:
    text = Text(re.sub("^SELECT .*, .* FROM", "SELECT … FROM", sql), "dim")
    text.highlight_regex(r"^\w+|\bWHERE\b", "not dim cyan")
    text.highlight_regex(r"[^\s(]*\bversion\W? (= [^\s,)]+( \+ 1)?)", "not dim bold")
    if sql.startswith("UPDATE"):
        style = "not dim bold " + ("green" if rows else "yellow")
        text.append(f"  → {rows} row{'' if rows == 1 else 's'}", style)
    console.print(Padding(text, (0, 0, 0, 2)))
