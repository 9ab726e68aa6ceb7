"""Balanced order: slots by hand, showings by counting, and the same batches from anywhere."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hftune.core import LabelSpace, Split
from hftune.data.balance import share_seats
from hftune.data.image_input import train_transform
from hftune.data.loader import LoaderSpec, train_batches
from hftune.data.order import Order, Share, make_order, micro_batches, step_rows
from hftune.errors import PlanError
from hftune.recipe.schema import Component
from tests.data.conftest import DrawnRows, small_spec

CLASSES = np.repeat([0, 1, 2], [16, 4, 1])


class RowsOf(DrawnRows):
    def __init__(self, classes: np.ndarray) -> None:
        super().__init__(len(classes))
        self.targets = classes


def split_of(classes: np.ndarray) -> Split:
    labels = LabelSpace(names=("many", "few", "one"))
    return Split(name="train", rows=RowsOf(classes), labels=labels, digest="drawn")


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        # 21 slots. sizes ** 1/2 = 4, 2, 1 of 7: thrice each. sizes ** 0: seven each.
        # sizes ** 3/4 = 8, 2.828, 1 of 11.828: 14.20, 5.02, 1.78 by largest remainders.
        (1.0, [7, 7, 7]),
        (0.5, [12, 6, 3]),
        (0.25, [14, 5, 2]),
    ],
)
def test_slots_are_in_proportion_to_a_power_of_the_class_size(balance, expected):
    assert share_seats(CLASSES, num_slots=21, balance=balance).numbers.tolist() == expected


def test_every_class_has_a_slot_and_an_absent_one_has_none():
    classes = np.repeat([0, 2], [1000, 1])
    assert share_seats(classes, num_slots=10, balance=0.01).numbers.tolist() == [9, 0, 1]
    assert share_seats(classes, num_slots=10, balance=1.0).numbers.tolist() == [5, 0, 5]


def test_an_epoch_of_fewer_slots_than_classes_is_refused():
    with pytest.raises(PlanError) as caught:
        share_seats(np.arange(5), num_slots=4, balance=1.0)
    assert caught.value.found == "4 images per epoch, 5 classes"


def test_targets_of_several_classes_are_refused():
    for targets in (np.zeros((4, 3), dtype=np.float32), np.zeros(4, dtype=np.float32)):
        with pytest.raises(ValueError, match="one class each"):
            share_seats(targets, num_slots=4, balance=1.0)


def test_without_balance_the_order_is_the_plain_one():
    split = split_of(CLASSES)
    assert make_order(split, batch_size=4, seed=3, balance=0.0) == Order(
        num_rows=21, batch_size=4, seed=3
    )


@st.composite
def balanced(draw: st.DrawFn) -> tuple[Order, np.ndarray]:
    sizes = draw(st.lists(st.integers(1, 30), min_size=2, max_size=5))
    classes = np.repeat(np.arange(len(sizes)), sizes)
    classes = classes[np.random.default_rng(draw(st.integers(0, 99))).permutation(len(classes))]
    num_rows = len(classes)
    batch_size = draw(st.integers(1, num_rows))
    num_slots = num_rows // batch_size * batch_size
    assume(num_slots >= len(sizes))
    seats = share_seats(classes, num_slots=num_slots, balance=draw(st.floats(0.05, 1.0)))
    order = Order(
        num_rows=num_rows, batch_size=batch_size, seed=draw(st.integers(0, 2**31)), seats=seats
    )
    return order, classes


@settings(max_examples=40, deadline=None)
@given(made=balanced(), epochs=st.integers(1, 4))
def test_every_epoch_has_the_same_number_of_each_class(made, epochs):
    order, classes = made
    for epoch in range(epochs):
        first = epoch * order.steps_per_epoch
        steps = [step_rows(order, first + step) for step in range(order.steps_per_epoch)]
        assert {step.epoch for step in steps} == {epoch}
        rows = np.concatenate([step.rows for step in steps])
        assert np.bincount(classes[rows]).tolist() == order.seats.numbers.tolist()


@settings(max_examples=40, deadline=None)
@given(made=balanced(), steps=st.integers(1, 200))
def test_two_rows_of_a_class_differ_by_at_most_one_showing_at_any_step(made, steps):
    order, classes = made
    shown = np.zeros(order.num_rows, dtype=np.int64)
    for step in range(steps):
        np.add.at(shown, step_rows(order, step).rows, 1)
        for one in range(classes.max() + 1):
            of_class = shown[classes == one]
            assert of_class.max() - of_class.min() <= 1


@settings(max_examples=30, deadline=None)
@given(made=balanced(), steps=st.integers(1, 60))
def test_no_row_has_the_same_turn_twice(made, steps):
    order, _ = made
    seen: Counter[tuple[int, int]] = Counter()
    for step in range(steps):
        of_step = step_rows(order, step)
        seen.update(zip(of_step.rows.tolist(), of_step.turns.tolist(), strict=True))
    assert set(seen.values()) == {1}
    # A turn is the number of earlier showings, so it is there for any two of them.
    last: dict[int, int] = {}
    for row, turn in sorted(seen):
        assert turn == last.get(row, -1) + 1
        last[row] = turn


def test_classes_and_rows_are_shuffled_by_seed_and_epoch():
    orders = [make_order(split_of(CLASSES), batch_size=21, seed=s, balance=0.5) for s in (0, 1)]
    rows = [step_rows(order, epoch).rows for order in orders for epoch in (0, 1)]
    assert len({tuple(one.tolist()) for one in rows}) == 4
    assert len({tuple(CLASSES[one].tolist()) for one in rows}) == 4


def test_balanced_order_is_the_same_in_every_version():
    # Written down once; a resumed run on newer libraries must see these rows.
    order = make_order(split_of(CLASSES), batch_size=7, seed=7, balance=1.0)
    assert [step_rows(order, step).rows.tolist() for step in (0, 1, 3)] == [
        [20, 1, 20, 20, 18, 0, 19],
        [16, 20, 17, 3, 20, 16, 12],
        [9, 17, 20, 13, 20, 20, 10],
    ]


def load(order: Order, *, start: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0):
    augment = [Component(name="random_resized_crop"), Component(name="rand_augment")]
    spec = LoaderSpec(
        start=start,
        stop=5,
        share=Share(rank=rank, world_size=world_size),
        micro_batch_size=1,
        workers=workers,
    )
    transform = train_transform(small_spec(), augment)
    return [list(step) for step in train_batches(split_of(CLASSES), transform, order, spec)]


@pytest.fixture(scope="module")
def order() -> Order:
    return make_order(split_of(CLASSES), batch_size=4, seed=5, balance=1.0)


@pytest.fixture(scope="module")
def straight(order: Order):
    return load(order)


def test_a_row_that_comes_again_within_an_epoch_is_augmented_anew(straight):
    only = [one.inputs for step in straight for one in step if one.rows.item() == 20]
    assert len(only) >= 5  # the one row of its class, in one epoch of 20 slots
    assert len({inputs.numpy().tobytes() for inputs in only}) == len(only)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_make_up_the_same_batches(order, straight, world_size):
    ranks = [load(order, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step, whole in enumerate(straight):
        turns = range(len(ranks[0][step]))
        parts = [ranks[rank][step][turn] for turn in turns for rank in range(world_size)]
        for part, one in zip(parts, whole, strict=True):
            assert torch.equal(part.inputs, one.inputs)
            assert torch.equal(part.targets, one.targets)


@pytest.mark.parametrize(("start", "workers"), [(1, 0), (4, 0), (2, 1)])
def test_starting_anywhere_gives_the_same_batches(order, straight, start, workers):
    for step, whole in zip(
        load(order, start=start, workers=workers), straight[start:], strict=True
    ):
        for part, one in zip(step, whole, strict=True):
            assert torch.equal(part.inputs, one.inputs)


@given(step=st.integers(0, 30), world_size=st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=20)
def test_ranks_partition_every_balanced_step(step, world_size):
    order = make_order(split_of(CLASSES), batch_size=4, seed=2, balance=0.7)
    rows = step_rows(order, step).rows
    parts = [
        micro_batches(rows, Share(rank=r, world_size=world_size), 1) for r in range(world_size)
    ]
    together = np.concatenate([one for part in parts for one in part])
    assert sorted(together.tolist()) == sorted(rows.tolist())
