"""Classes drawn more evenly than they are: pure functions of (seed, epoch)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hftune.data.apportion import apportion
from hftune.errors import PlanError

_Positions = NDArray[np.int64]

# First words of the seed, so that no two draws share a stream (see the order and the splits).
_SLOTS, _CYCLE = 5, 6


@dataclass(frozen=True, eq=False, kw_only=True)
class Seats:
    """The rows of each class, and how many slots of every epoch each class has, int64 [K]."""

    rows: tuple[_Positions, ...]
    numbers: _Positions


@dataclass(frozen=True, eq=False, kw_only=True)
class Seated:
    """The row of every slot of an epoch, and how often that row was shown before, both int64."""

    rows: _Positions
    turns: _Positions


def share_seats(classes: NDArray[np.generic], *, num_slots: int, balance: float) -> Seats:
    """Share the slots of an epoch out among `classes`, int64 [N].

    A class of n rows has slots in proportion to n ** (1 - balance) by largest remainders, and at
    least one: 0 is as the data are, 1 the same for all. Raises PlanError where there are fewer
    slots than classes, and ValueError for targets that are not one class per row.
    """
    if classes.ndim != 1 or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError("only rows of one class each can be balanced")
    sizes = np.bincount(classes)
    is_there = sizes > 0
    if is_there.sum() > num_slots:
        raise PlanError(
            "an epoch is too short to show every class",
            found=f"{num_slots} images per epoch, {is_there.sum()} classes",
            where="data.balance",
            remedy="lower train.batch_size, or set data.balance to 0",
        )
    # Rounded, so that machines whose powers differ in the last bit still agree.
    weights = np.where(is_there, np.round(sizes.astype(np.float64) ** (1 - balance), 9), 0.0)
    most = np.full_like(sizes, num_slots) * is_there
    numbers = apportion(weights, num_slots, least=is_there.astype(np.int64), most=most)
    starts = np.cumsum(sizes)[:-1]
    rows = np.split(np.argsort(classes, kind="stable").astype(np.int64), starts)
    return Seats(rows=tuple(rows), numbers=numbers)


@lru_cache(maxsize=4)
def seat_epoch(seats: Seats, seed: int, epoch: int) -> Seated:
    """Give every slot of an epoch its row.

    Which class a slot has is shuffled anew each epoch. The rows of a class follow each other
    through one shuffle of the class after another, over all epochs: at any step of the run, two
    rows of a class differ by at most one showing.
    """
    of_class = np.repeat(np.arange(len(seats.rows)), seats.numbers)
    # Slot by slot within a class, and class by class: where each class's next row goes.
    slots = np.argsort(of_class[_shuffle(len(of_class), _SLOTS, seed, epoch)], kind="stable")
    rows, turns = np.empty_like(slots), np.empty_like(slots)
    first = 0
    for position, (own, number) in enumerate(zip(seats.rows, seats.numbers.tolist(), strict=True)):
        if number:
            places = slots[first : first + number]
            shown = epoch * number + np.arange(number)
            rows[places] = _rows_of(own, shown, (seed, position))
            turns[places] = shown // len(own)
            first += number
    rows.flags.writeable = turns.flags.writeable = False
    return Seated(rows=rows, turns=turns)


def _rows_of(own: _Positions, shown: _Positions, words: tuple[int, int]) -> _Positions:
    """Give the rows of a class's showings, counted from 0 over the whole run and in a row."""
    turns = shown // len(own)
    shuffles = [
        own[_shuffle(len(own), _CYCLE, *words, turn)] for turn in range(turns[0], turns[-1] + 1)
    ]
    rows: _Positions = np.stack(shuffles)[turns - turns[0], shown % len(own)]
    return rows


def _shuffle(number: int, *words: int) -> _Positions:
    """Order `number` things by raw draws, which NumPy keeps the same in every version."""
    draws = np.random.PCG64(words).random_raw(number)
    return np.argsort(draws, kind="stable").astype(np.int64)
