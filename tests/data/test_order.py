import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.data.order import (
    Order,
    Share,
    augmentation_random,
    evaluation_rows,
    micro_batches,
    step_rows,
)

SEEDS = st.integers(0, 2**31)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    num_rows = draw(st.integers(1, 60))
    return Order(num_rows=num_rows, batch_size=draw(st.integers(1, num_rows)), seed=draw(SEEDS))


@settings(deadline=None)
@given(order=orders(), epoch=st.integers(0, 5))
def test_an_epoch_shows_each_row_at_most_once(order: Order, epoch: int) -> None:
    first = epoch * order.steps_per_epoch
    steps = [step_rows(order, first + step) for step in range(order.steps_per_epoch)]
    assert {step.epoch for step in steps} == {epoch}
    seen = np.concatenate([step.rows for step in steps])
    assert len(seen) == len(set(seen.tolist())) == order.steps_per_epoch * order.batch_size
    assert seen.min() >= 0
    assert seen.max() < order.num_rows


@settings(deadline=None)
@given(
    seed=SEEDS,
    world_size=st.integers(1, 4),
    micro_batch_size=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    step=st.integers(0, 40),
)
def test_ranks_partition_every_step(
    seed: int, world_size: int, micro_batch_size: int, accumulation: int, step: int
) -> None:
    batch_size = world_size * micro_batch_size * accumulation
    order = Order(num_rows=2 * batch_size + 1, batch_size=batch_size, seed=seed)
    rows = step_rows(order, step).rows
    parts = [
        micro_batches(rows, Share(rank=rank, world_size=world_size), micro_batch_size)
        for rank in range(world_size)
    ]
    assert all(len(part) == accumulation for part in parts)
    assert all(len(one) == micro_batch_size for part in parts for one in part)
    # Micro-batches of all ranks, round by round, are the step's rows in their own order.
    rounds = [parts[rank][turn] for turn in range(accumulation) for rank in range(world_size)]
    assert np.concatenate(rounds).tolist() == rows.tolist()


@settings(deadline=None)
@given(num_rows=st.integers(0, 50), world_size=st.integers(1, 7))
def test_evaluation_covers_every_row_exactly_once(num_rows: int, world_size: int) -> None:
    parts = [
        evaluation_rows(num_rows, Share(rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_rows))
    assert max(map(len, parts)) <= -(-num_rows // world_size)


def test_rows_left_out_differ_between_epochs() -> None:
    order = Order(num_rows=10, batch_size=4, seed=0)
    left_out = []
    for epoch in range(8):
        rows = np.concatenate([step_rows(order, 2 * epoch + step).rows for step in (0, 1)])
        left_out.append(tuple(sorted(set(range(10)) - set(rows.tolist()))))
    assert all(len(rows) == 2 for rows in left_out)
    assert len(set(left_out)) > 4


def test_order_is_shuffled_by_seed_and_epoch() -> None:
    orders = [
        step_rows(Order(num_rows=100, batch_size=100, seed=seed), epoch).rows.tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len({tuple(rows) for rows in orders}) == 4
    assert list(range(100)) not in orders


def test_order_is_the_same_in_every_version() -> None:
    # Written down once; a resumed run on newer libraries must see these rows.
    order = Order(num_rows=10, batch_size=5, seed=7)
    assert [step_rows(order, step).rows.tolist() for step in (0, 1, 2)] == [
        [7, 9, 5, 3, 0],
        [6, 1, 2, 8, 4],
        [3, 1, 2, 7, 4],
    ]


def test_batch_larger_than_data_is_refused() -> None:
    with pytest.raises(ValueError, match="3 rows do not fill a batch of 4"):
        Order(num_rows=3, batch_size=4, seed=0)


def test_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="6 rows do not divide into micro-batches of 4"):
        micro_batches(np.arange(6), Share(rank=0, world_size=2), 2)


def test_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        Share(rank=2, world_size=2)


def test_augmentation_differs_by_seed_epoch_and_row() -> None:
    draws = {
        augmentation_random(seed, epoch, row).random()
        for seed in (0, 1)
        for epoch in (0, 1)
        for row in (0, 1)
    }
    assert len(draws) == 8
    assert augmentation_random(1, 2, 3).random() == augmentation_random(1, 2, 3).random()
