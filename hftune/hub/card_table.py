"""Tables of a model card, in Markdown."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

_LONG = 30
# What a card can spare for one table, and what each line adds to its cells.
_MOST_BYTES = 40_000
_FRAME = 5


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table; its cells are taken as they are."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def folded(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    """Give a table, folded away behind its title where it is long; cut where it is very long."""
    if len(rows) <= _LONG:
        return table(header, rows)
    sizes = accumulate(len(" | ".join(row).encode()) + _FRAME for row in rows)
    shown = rows[: max(1, sum(size <= _MOST_BYTES for size in sizes))]
    more = len(rows) - len(shown)
    rest = f"\n\nand {more:,} more: all are in `config.json`" if more else ""
    return (
        f"<details>\n<summary>{title} ({len(rows):,})</summary>\n\n{table(header, shown)}{rest}"
        "\n\n</details>"
    )


def cell(text: str) -> str:
    """Give text that cannot break out of its table cell or line."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
