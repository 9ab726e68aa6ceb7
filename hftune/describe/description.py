"""The shape of every description: facts by name, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of equal length under `columns`; text shows the first `shown` of them, None for all."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int | None = None

    def to_json(self) -> list[dict[str, Cell]]:
        """Give each row as a mapping from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a thing is (`kind`), which one, and what is to be said about it, in reading order.

    `parameters` has a row per parameter of a model; None for a thing without a model's layers.
    """

    kind: str
    name: str
    facts: Mapping[str, Cell]
    tables: tuple[Table, ...] = ()
    parameters: Table | None = None

    def to_json(self) -> dict[str, Any]:
        """Give everything as JSON values, tables by their title."""
        tables = {table.title: table.to_json() for table in self.tables}
        return {"kind": self.kind, "name": self.name, "facts": dict(self.facts), "tables": tables}


def listed(names: Sequence[str], most: int = 8) -> str:
    """Give the first names and the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
