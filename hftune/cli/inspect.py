"""`hftune inspect THING`."""

import json
import sys
from typing import Annotated

import typer

from hftune.describe import Description, Table, describe
from hftune.describe.description import Cell


def command(
    thing: Annotated[
        str,
        typer.Argument(
            help="A recipe, run, checkpoint, model or data folder, a repository or an architecture."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Show what a recipe, model, data set, run or repository holds."""
    description = describe(thing)
    if as_json:
        json.dump(description.to_json(), sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    print_description(description)


def print_description(description: Description) -> None:
    """Print the facts in two columns, then each table."""
    print(f"{description.kind} {description.name}")
    width = max((len(name) for name in description.facts), default=0)
    for name, value in description.facts.items():
        print(f"  {name:<{width}}  {cell_text(value)}")
    for table in description.tables:
        print(f"\n{table.title}")
        for line in table_lines(table):
            print(f"  {line}")


def table_lines(table: Table) -> list[str]:
    """Give a table's lines: columns of numbers to the right, of text to the left."""
    rows = [[cell_text(cell) for cell in row] for row in table.rows]
    numeric = [
        all(isinstance(cell, int | float | None) for cell in column)
        for column in zip(*table.rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(table.columns, *rows, strict=True)]
    lines = []
    for row in (list(table.columns), *rows):
        cells = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric or [False] * len(row), strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def cell_text(value: Cell) -> str:
    """Give a value as it reads in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
