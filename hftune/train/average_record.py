"""What averaging leaves in a run folder: two JSON files, read back here. No torch.

average.json  AverageRecord  with optim.swa: which weights were averaged, and how good they were
soup.json     SoupRecord     of a soup: whose weights were averaged, and how they were chosen
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hftune.train.json_record import build_record, read_mapping

AVERAGE_FILE = "average.json"
SOUP_FILE = "soup.json"


@dataclass(frozen=True, kw_only=True)
class AverageRecord:
    """What became of optim.swa: the mean of the weights after the steps `points`.

    `value` is its `metric` on validation, `best_single` that of the best weights of one step; null
    where the split leaves it undefined. `chosen` says whether the mean became the best weights.
    """

    points: tuple[int, ...]
    metric: str
    value: float | None
    best_single: float | None
    chosen: bool

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class SoupIngredient:
    """Weights that could go into a soup: the sha256 of their file, and their value alone."""

    name: str
    path: str
    digest: str
    step: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class SoupDecision:
    """A mixture of `members` that was judged against the value of what was there before."""

    members: tuple[str, ...]
    value: float | None
    against: float | None
    taken: bool


@dataclass(frozen=True, kw_only=True)
class SoupRecord:
    """How the weights of this folder were mixed from those of finished runs, by name.

    All values are of `metric` on validation; null where it is undefined. `members` are those that
    were averaged; with one member the weights are that ingredient's own.
    """

    method: str
    metric: str
    ingredients: tuple[SoupIngredient, ...]
    decisions: tuple[SoupDecision, ...]
    members: tuple[str, ...]
    value: float | None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


def read_average_record(run: Path) -> AverageRecord | None:
    """Read `average.json`; None where there is none. Raises RunFolderError."""
    path = run / AVERAGE_FILE
    if not path.is_file():
        return None
    return build_record(AverageRecord, read_mapping(path), str(path))


def read_soup_record(run: Path) -> SoupRecord | None:
    """Read `soup.json`; None where there is none. Raises RunFolderError."""
    path = run / SOUP_FILE
    if not path.is_file():
        return None
    return build_record(SoupRecord, read_mapping(path), str(path))


def finite_or_none(value: float | None) -> float | None:
    """Give a number that JSON can hold, or None for one that it cannot."""
    return value if value is not None and math.isfinite(value) else None
