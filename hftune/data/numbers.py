"""Numbers as targets: read from a column, in their own unit, and what they are like in short."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hftune.core import Spread
from hftune.data.columns import class_names, kind_of
from hftune.data.order import Positions
from hftune.data.part import Part
from hftune.data.rows import Targets
from hftune.errors import DataError

logger = logging.getLogger(__name__)

_SHOWN = 5
# Optimizers such as Adam move weights by about the rate, whatever the unit.
_LEAST_SD, _MOST_SD = 0.01, 100.0


@dataclass(frozen=True, kw_only=True)
class RowNumbers:
    """The number of each row of a part, float64 [N], and the column that it comes from."""

    part: str
    column: str
    values: NDArray[np.float64]

    def at(self, positions: Positions) -> RowNumbers:
        """Give the numbers of some rows."""
        return replace(self, values=self.values[positions])


def read_numbers(part: Part) -> RowNumbers:
    """Read a part's label column as one number a row; in tables of text each text is a number.

    Raises DataError for a column of another kind, and for rows without a finite number.
    """
    _check_column(part)
    cells = part.table.with_format(None)[part.label][:]
    values = np.array([_number(cell) for cell in cells], dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        lines = [f"{part.key(int(row))}: {_words(cells[row])}" for row in wrong[:_SHOWN]]
        if len(wrong) > _SHOWN:
            lines.append(f"and {len(wrong) - _SHOWN} more")
        raise DataError(
            f"the split '{part.name}' has {len(wrong)} of {len(values)} targets that are no number",
            found="\n".join(lines),
            allowed="a finite number in every row",
            where=f"column '{part.label}'",
            remedy="correct or remove these rows",
        )
    return RowNumbers(part=part.name, column=part.label, values=values)


def encode_numbers(numbers: RowNumbers) -> NDArray[np.float32]:
    """Give targets float32 [N, 1], in the column's own unit."""
    return numbers.values.astype(np.float32)[:, np.newaxis]


def spread_of(targets: Targets) -> Spread:
    """Give minimum, mean, maximum and standard deviation of targets [N, 1], N > 0."""
    values = targets.astype(np.float64)
    return Spread(
        minimum=float(values.min()),
        mean=float(values.mean()),
        maximum=float(values.max()),
        sd=float(values.std()),
    )


def check_spread(numbers: RowNumbers) -> None:
    """Raise DataError where every row has the same number: there is nothing to learn."""
    distinct = np.unique(numbers.values)
    if len(distinct) < 2:
        raise DataError(
            "the targets of the training split are all the same number",
            found=f"{distinct[0]:g}" if len(distinct) else "no rows",
            where=f"column '{numbers.column}'",
            remedy="name the column to predict with data.source.label",
        )


def warn_of_unit(name: str, spread: Spread) -> None:
    """Log a warning where the targets' unit makes them slow, or hard, to learn."""
    if not _LEAST_SD <= spread.sd <= _MOST_SD:
        logger.warning(
            "the targets '%s' have a standard deviation of %.3g; in a unit in which it is about 1 "
            "they are learned faster",
            *(name, spread.sd),
        )


def _check_column(part: Part) -> None:
    """Raise DataError for a column that holds classes, lists or anything else than numbers."""
    feature = part.table.features[part.label]
    dtype = str(getattr(feature, "dtype", ""))
    is_plain = type(feature).__name__ == "Value"
    is_number = dtype.startswith(("float", "int", "uint")) or dtype in ("string", "large_string")
    if is_plain and is_number:
        return
    is_class = class_names(feature) is not None
    raise DataError(
        "regression learns one number per image, and the label column holds "
        + ("classes" if is_class else "something else"),
        found=f"column '{part.label}' of {part.name}: {kind_of(feature)}",
        allowed=", ".join(_number_columns(part)) or "a column of numbers, of which there is none",
        where="data.source.label",
        remedy="name a column of numbers in a table or a data set repository; a folder per class"
        " has none" if is_class else "name a column with one number per row",
    )  # fmt: skip


def _number_columns(part: Part) -> list[str]:
    """Give the columns that hold numbers, with their type."""
    return [
        f"{name} ({kind_of(feature)})"
        for name, feature in part.table.features.items()
        if type(feature).__name__ == "Value" and str(feature.dtype).startswith(("float", "int"))
    ]


def _number(cell: object) -> float:
    """Give a cell's number, NaN where it holds none or one that float32 cannot hold."""
    if cell is None or isinstance(cell, bool):
        return math.nan
    try:
        value = float(str(cell))
    except ValueError:
        return math.nan
    return value if abs(value) <= float(np.finfo(np.float32).max) else math.nan


def _words(cell: object) -> str:
    return "no value" if cell is None or cell == "" else repr(cell)
