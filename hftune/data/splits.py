"""Hold-out parts and folds: stratified, seeded, the same on every machine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hftune.data.apportion import apportion
from hftune.data.order import Positions

# First word of the seed, so that splits and orders draw from separate streams.
_SPLIT = 3


@dataclass(frozen=True, kw_only=True)
class Strata:
    """What must be spread evenly: per row a class, and a cell (a finer group within it).

    Both int64 [N], numbered from 0.
    """

    classes: Positions
    cells: Positions

    def __len__(self) -> int:
        return len(self.classes)


def stratify(classes: Sequence[Hashable], columns: Sequence[Sequence[Hashable]] = ()) -> Strata:
    """Give the strata of rows by class and, within a class, by the values of further columns.

    A class is a name, or a set of names with several labels; a set that occurs once has no twin to
    be parted from, so all such sets count as one class.
    """
    occurs: dict[Hashable, int] = {}
    for one in classes:
        occurs[one] = occurs.get(one, 0) + 1
    kept = [one if occurs[one] > 1 or not isinstance(one, tuple) else None for one in classes]
    return Strata(classes=_numbered(kept), cells=_numbered(list(zip(kept, *columns, strict=True))))


def quantile_bins(values: NDArray[np.float64], num_bins: int) -> Positions:
    """Number the rows of `values` [N] by the bin their value lies in, int64 [N], rising from 0.

    Bins are of about equal size, and equal values share one, so there may be fewer. Where there
    are no more distinct values than bins, each has its own.
    """
    distinct = np.unique(values)
    if len(distinct) <= num_bins:
        return np.searchsorted(distinct, values)
    ranked = np.sort(values)
    edges = np.unique(ranked[np.arange(1, num_bins) * len(values) // num_bins])
    bins = np.searchsorted(edges, values, side="right")
    return np.unique(bins, return_inverse=True)[1].reshape(-1)


def hold_out(strata: Strata, share: float, *, seed: int, stream: int) -> Positions:
    """Give the rows, in rising order, of a held-out part of about `share` (0..1) of all.

    Every class gives its share by largest remainders, at least one row of two or more and never
    all; within a class so does every cell. Which rows is drawn from (seed, stream).
    """
    class_sizes = np.bincount(strata.classes)
    cell_sizes = np.bincount(strata.cells)
    class_of_cell = np.zeros_like(cell_sizes)
    class_of_cell[strata.cells] = strata.classes
    given_by_class = apportion(
        class_sizes,
        round(share * len(strata)),
        least=np.minimum(1, class_sizes - 1),
        most=class_sizes - 1,
    )
    given = np.zeros_like(cell_sizes)
    order = np.argsort(class_of_cell, kind="stable")  # the cells of each class lie together
    for cells, count in zip(_runs(order, class_of_cell), given_by_class, strict=True):
        sizes = cell_sizes[cells]
        given[cells] = apportion(sizes, int(count), least=np.zeros_like(sizes), most=sizes)
    return np.flatnonzero(_rank_in_cell(strata, seed, stream) < given[strata.cells])


def folds(strata: Strata, num_folds: int, *, seed: int) -> Positions:
    """Give each row the number of its fold, int64 [N].

    Sizes of folds, of each class in them and of each cell in them differ by at most one.
    """
    if not 2 <= num_folds <= len(strata):
        raise ValueError(f"{len(strata)} rows cannot be parted into {num_folds} folds")
    draws = _draws(len(strata), seed, num_folds)
    dealt = np.lexsort((draws, strata.cells, strata.classes))
    fold = np.empty(len(strata), dtype=np.int64)
    fold[dealt] = np.arange(len(strata)) % num_folds
    return fold


def _rank_in_cell(strata: Strata, seed: int, stream: int) -> Positions:
    """Number the rows of each cell from 0, in an order that is drawn."""
    order = np.lexsort((_draws(len(strata), seed, stream), strata.cells))
    sizes = np.bincount(strata.cells)
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(strata), dtype=np.int64)
    ranks[order] = np.arange(len(strata)) - starts[strata.cells[order]]
    return ranks


def _runs(order: Positions, group: Positions) -> list[Positions]:
    """Cut `order` where the group of its members changes."""
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _draws(num_rows: int, seed: int, stream: int) -> NDArray[np.uint64]:
    """Give one raw 64-bit draw per row; NumPy keeps those the same in every version."""
    draws: NDArray[np.uint64] = np.random.PCG64([_SPLIT, seed, stream]).random_raw(num_rows)
    return draws


def _numbered(values: Sequence[Hashable]) -> Positions:
    """Number distinct values from 0 in the order of their first row."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
