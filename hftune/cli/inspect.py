"""`hftune inspect THING`."""

import json
import sys
from dataclasses import replace
from typing import Annotated

import typer

from hftune.describe import Description, Table, describe
from hftune.describe.description import Cell
from hftune.errors import RequestError, readable


def command(
    thing: Annotated[
        str,
        typer.Argument(
            help="A recipe, run, checkpoint, model or data folder, a repository or an architecture."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="For a recipe: settings that win, key.path=value.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="List every parameter of a model or recipe.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Show what a recipe, model, data set, run or repository holds."""
    description = describe(thing, overrides or [])
    if names:
        description = with_names(description)
    if as_json:
        json.dump(description.to_json(), sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    print_description(description)


def with_names(description: Description) -> Description:
    """Give the facts with the list of parameters as the only table.

    Raises RequestError for a thing whose parameters are not known.
    """
    if description.parameters is None:
        raise RequestError(
            f"there are no parameters to list of this {description.kind}",
            found=description.name,
            allowed="a recipe, a model folder, org/name on the Hub or a timm architecture",
            remedy=str(description.facts["layers"]) if "layers" in description.facts else None,
        )
    return replace(description, tables=(description.parameters,))


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
    rows = [[cell_text(cell) for cell in row] for row in table.rows[: table.shown]]
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
    if len(rows) < len(table.rows):
        lines.append(f"and {len(table.rows) - len(rows):,} more; --json lists all")
    return lines


def cell_text(value: Cell) -> str:
    """Give a value as it reads in a table."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    # Metrics read best with four digits, rates by their own.
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.4g}"
