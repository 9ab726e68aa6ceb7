"""Which rows are seen at which step on which rank: pure functions of (seed, epoch, position)."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hftune.core import Split
from hftune.data.balance import Seats, seat_epoch, share_seats

Positions = NDArray[np.int64]

# First words of the seed, so that the order and the augmentations draw from separate streams.
_ORDER, _AUGMENT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Order:
    """The endless sequence of global batches over `num_rows` rows.

    With `seats` classes are drawn by them; without, an epoch shows each row at most once. With
    `views` the turns of a row begin anew after so many, and so do its augmentations. Raises
    ValueError where the rows do not fill one batch: the plan refuses that before.
    """

    num_rows: int
    batch_size: int
    seed: int
    seats: Seats | None = None
    views: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.num_rows:
            raise ValueError(f"{self.num_rows} rows do not fill a batch of {self.batch_size}")

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches in an epoch."""
        return self.num_rows // self.batch_size


@dataclass(frozen=True, kw_only=True)
class StepRows:
    """The rows of one global batch, int64 [batch_size], and the epoch that they belong to.

    `turns` int64 [batch_size] differs wherever the same row comes again, in the whole run, or as
    long as the order has views.
    """

    epoch: int
    rows: Positions
    turns: Positions


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One micro-batch to make: positions in the split, and the turn of each that is augmented."""

    rows: Positions
    turns: Positions


@dataclass(frozen=True, kw_only=True)
class Share:
    """One rank among `world_size`."""

    rank: int
    world_size: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not one of {self.world_size}")


def make_order(split: Split, *, batch_size: int, seed: int, balance: float) -> Order:
    """Give the order of a training split; `balance` 0..1 is how evenly its classes are drawn.

    Raises PlanError where an epoch cannot show every class, and ValueError for a balance of
    targets that are not one class per row.
    """
    plain = Order(num_rows=len(split), batch_size=batch_size, seed=seed)
    if balance == 0:
        return plain
    num_slots = plain.steps_per_epoch * batch_size
    seats = share_seats(split.rows.targets, num_slots=num_slots, balance=balance)
    return replace(plain, seats=seats)


def step_rows(order: Order, step: int) -> StepRows:
    """Give the rows of optimizer step `step`, counted from 0 over the whole run.

    Without seats an epoch shows each row at most once; the rows that do not fill its last batch are
    other ones each epoch.
    """
    epoch, position = divmod(step, order.steps_per_epoch)
    part = slice(position * order.batch_size, (position + 1) * order.batch_size)
    if order.seats is not None:
        seated = seat_epoch(order.seats, order.seed, epoch)
        rows, turns = seated.rows[part], seated.turns[part]
    else:
        rows = _permutation(order.num_rows, order.seed, epoch)[part]
        turns = np.full_like(rows, epoch)
    if order.views is not None:
        turns = turns % order.views
    return StepRows(epoch=epoch, rows=rows, turns=turns)


def asked_at(order: Order, step: int, *, share: Share, micro_batch_size: int) -> list[Asked]:
    """Give what each of this rank's micro-batches of one step shows. Raises as `micro_batches`."""
    of_step = step_rows(order, step)
    rows = micro_batches(of_step.rows, share, micro_batch_size)
    turns = micro_batches(of_step.turns, share, micro_batch_size)
    return [
        Asked(rows=of_rows, turns=of_turns) for of_rows, of_turns in zip(rows, turns, strict=True)
    ]


def micro_batches(rows: Positions, share: Share, micro_batch_size: int) -> list[Positions]:
    """Give this rank's micro-batches of one step, each of `micro_batch_size` rows.

    All ranks together see every row of the step exactly once. Raises ValueError where the batch
    does not divide.
    """
    per_round = micro_batch_size * share.world_size
    if len(rows) % per_round:
        raise ValueError(f"{len(rows)} rows do not divide into micro-batches of {per_round}")
    start = share.rank * micro_batch_size
    return [
        rows[first + start : first + start + micro_batch_size]
        for first in range(0, len(rows), per_round)
    ]


def evaluation_rows(num_rows: int, share: Share) -> Positions:
    """Give this rank's rows of one evaluation: over all ranks every row once, none added."""
    return np.arange(share.rank, num_rows, share.world_size, dtype=np.int64)


def augmentation_random(seed: int, turn: int, row: int) -> np.random.Generator:
    """Give the randomness of one row's augmentation at one of its turns, whoever makes it."""
    return np.random.Generator(np.random.PCG64([_AUGMENT, seed, turn, row]))


@lru_cache(maxsize=4)
def _permutation(num_rows: int, seed: int, epoch: int) -> Positions:
    """Order the rows by raw 64-bit draws; NumPy keeps those the same in every version.

    It promises no such thing for `Generator.permutation`, and a resumed run may meet a newer one.
    """
    draws = np.random.PCG64([_ORDER, seed, epoch]).random_raw(num_rows)
    permutation = np.argsort(draws, kind="stable").astype(np.int64)
    permutation.flags.writeable = False
    return permutation
