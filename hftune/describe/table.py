"""A table of images: its columns, and of those that hold numbers what these are like."""

import math
from collections.abc import Sequence
from pathlib import Path

from hftune.data.columns import kind_of
from hftune.data.table_source import read_table
from hftune.describe.description import Cell, Description, Table

_COLUMNS = ("column", "type", "distinct", "empty", "min", "mean", "max", "sd")


def describe_table(path: Path) -> Description:
    """Describe a CSV, TSV, Parquet or JSON lines file. Raises DataError where it is none.

    A column of text counts as numbers where every text is one, as in CSV.
    """
    rows = read_table(path)
    return Description(
        kind="table",
        name=str(path),
        facts={"rows": len(rows), "columns": len(rows.column_names)},
        tables=(
            Table(
                title="columns",
                columns=_COLUMNS,
                rows=tuple(
                    _column(name, kind_of(rows.features[name]), rows.with_format(None)[name][:])
                    for name in rows.column_names
                ),
            ),
        ),
    )


def _column(name: str, kind: str, cells: Sequence[object]) -> tuple[Cell, ...]:
    """Give one row of the table; its last four cells are None where the column holds no numbers."""
    filled = [cell for cell in cells if cell is not None and cell != ""]
    head = (name, kind, len(set(map(str, filled))), len(cells) - len(filled))
    numbers = [] if kind in ("bool", "ClassLabel") else _numbers(filled)
    if not numbers:
        return *head, None, None, None, None
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
    return *head, min(numbers), mean, max(numbers), math.sqrt(variance)


def _numbers(cells: list[object]) -> list[float]:
    """Give the cells as numbers; nothing where one of them is none, or is not finite."""
    try:
        numbers = [float(str(cell)) for cell in cells]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
