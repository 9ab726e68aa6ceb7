"""Which images are the same as, or look just like, others: searched by their fingerprints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hftune.data.fingerprints import DIGEST_BYTES, Fingerprints
from hftune.data.order import Positions
from hftune.data.workers import available_cores

# An image is a near duplicate of another where their hashes differ in at most this many of 64
# bits, and then their copies by at most this root mean square (grey levels, or a share of the
# copy's own standard deviation where that is more) and their mean colours by this many levels.
# benchmarks/audit.py measures what these find and what they take for duplicates.
MOST_BITS = 12
MOST_DIFFERENCE = 1.0
MOST_RELATIVE_DIFFERENCE = 0.04
MOST_COLOUR_DIFFERENCE = 4

# Rows and columns of a block of compared hashes; what it needs stays in a core's cache.
_ROWS, _COLUMNS = 64, 4096
_PAIRS = 8192


def exact_twins(of: Fingerprints, among: Fingerprints) -> Positions:
    """Give for each image of `of` the first row of `among` with the same pixels, -1 for none.

    int64 [len(of)].
    """
    if not len(of) or not len(among):
        return np.full(len(of), -1, dtype=np.int64)
    unique, first = np.unique(_keys(among), return_index=True)
    wanted = _keys(of)
    place = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
    return np.where(unique[place] == wanted, first[place], -1).astype(np.int64)


def earlier_exact_twins(of: Fingerprints) -> Positions:
    """Give for each image the first image before it with the same pixels, -1 for none."""
    twins = exact_twins(of, of)
    return np.where(twins < np.arange(len(of)), twins, -1).astype(np.int64)


def near_twins(of: Fingerprints, among: Fingerprints, exact: Positions) -> Positions:
    """Give for each image of `of` the first row of `among` that looks like it, -1 for none.

    `exact` is what `exact_twins` gave; who has such a twin needs no other and gets -1. Compares
    all pairs of hashes, in blocks, on all cores. int64 [len(of)].
    """
    rest = np.flatnonzero(exact < 0)
    once = np.flatnonzero(earlier_exact_twins(among) < 0)
    found = _first_alike(of.at(rest), among.at(once), np.full(len(rest), len(once)))
    return _put(found, once=once, rest=rest, number=len(of))


def earlier_near_twins(of: Fingerprints, exact: Positions) -> Positions:
    """Give for each image the first image before it that looks like it, -1 for none.

    `exact` is what `earlier_exact_twins` gave; who has such a twin gets -1.
    """
    once = np.flatnonzero(exact < 0)
    found = _first_alike(of.at(once), of.at(once), np.arange(len(once)))
    return _put(found, once=once, rest=once, number=len(of))


def _put(found: Positions, *, once: Positions, rest: Positions, number: int) -> Positions:
    """Give twins, found among the rows `once` for the rows `rest`, by all `number` rows."""
    twins = np.full(number, -1, dtype=np.int64)
    twins[rest[found >= 0]] = once[found[found >= 0]]
    return twins


def _keys(prints: Fingerprints) -> NDArray[np.void]:
    """Give the digests as values that can be sorted and compared whole."""
    return np.ascontiguousarray(prints.digests).view(f"V{DIGEST_BYTES}").reshape(-1)


def _first_alike(of: Fingerprints, among: Fingerprints, before: Positions) -> Positions:
    """Give the first near twin of each row among the rows before `before` of it, -1 for none."""
    starts = range(0, len(of), _ROWS)

    def search(start: int) -> Positions:
        rows = np.arange(start, min(start + _ROWS, len(of)))
        return _first_of_block(of.at(rows), among, before[rows])

    with ThreadPoolExecutor(available_cores()) as pool:
        blocks = list(pool.map(search, starts))
    return np.concatenate([np.empty(0, dtype=np.int64), *blocks])


def _first_of_block(of: Fingerprints, among: Fingerprints, before: Positions) -> Positions:
    none = len(among)
    first = np.full(len(of), none, dtype=np.int64)
    for start in range(0, int(before.max()), _COLUMNS):
        near = _near_hashes(of.hashes, among.hashes[start : start + _COLUMNS])
        rows, columns = np.divmod(near, min(_COLUMNS, none - start))
        columns += start
        # Whoever has a twin needs no later one.
        wanted = (columns < before[rows]) & (first[rows] == none)
        rows, columns = rows[wanted], columns[wanted]
        alike = _look_alike(of, rows, among, columns)
        np.minimum.at(first, rows[alike], columns[alike])
    return np.where(first < none, first, -1)


def _near_hashes(rows: NDArray[np.uint64], columns: NDArray[np.uint64]) -> Positions:
    """Give the places in [R, C], counted row by row, where two hashes differ in few bits."""
    differing = np.bitwise_count(rows[:, np.newaxis] ^ columns)
    return np.flatnonzero(differing <= MOST_BITS)


def _look_alike(
    of: Fingerprints, rows: Positions, among: Fingerprints, columns: Positions
) -> NDArray[np.bool_]:
    """Compare copies and colours of pairs, bool [P]."""
    alike = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        ours, theirs = of.at(rows[part]), among.at(columns[part])
        copies = ours.copies.astype(np.float32), theirs.copies.astype(np.float32)
        difference = np.sqrt(np.square(copies[0] - copies[1]).mean(axis=(1, 2)))
        contrast = np.minimum(copies[0].std(axis=(1, 2)), copies[1].std(axis=(1, 2)))
        colour = np.abs(ours.colours.astype(np.int16) - theirs.colours).max(axis=1)
        most = np.maximum(MOST_DIFFERENCE, MOST_RELATIVE_DIFFERENCE * contrast)
        alike[part] = (difference <= most) & (colour <= MOST_COLOUR_DIFFERENCE)
    return alike
