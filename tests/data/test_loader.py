import time
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hftune.core import BadImage, Batch, Split
from hftune.data.image_input import TrainTransform, eval_transform, train_transform
from hftune.data.loader import LoaderSpec, eval_batches, measured_workers, train_batches
from hftune.data.order import Order, Share, augmentation_random, step_rows
from hftune.data.workers import available_cores
from hftune.errors import DataError
from hftune.recipe.schema import Component
from tests.data.conftest import DrawnRows, check_text, drawn_split, small_spec

AUGMENT = [
    Component(name="random_resized_crop"),
    Component(name="horizontal_flip"),
    Component(name="rand_augment"),
]
SPLIT = drawn_split(13)
ORDER = Order(num_rows=13, batch_size=4, seed=5)
WHOLE = Share(rank=0, world_size=1)


def load(
    transform: TrainTransform,
    start: int,
    stop: int,
    *,
    share: Share = WHOLE,
    micro_batch_size: int = 4,
    workers: int | None = 0,
) -> list[list[Batch]]:
    spec = LoaderSpec(
        start=start,
        stop=stop,
        share=share,
        micro_batch_size=micro_batch_size,
        workers=workers,
    )
    return list(train_batches(SPLIT, transform, ORDER, spec))


def assert_same(ours: list[list[Batch]], others: list[list[Batch]]) -> None:
    assert len(ours) == len(others)
    for step, other in zip(ours, others, strict=True):
        assert len(step) == len(other)
        for one, two in zip(step, other, strict=True):
            assert torch.equal(one.inputs, two.inputs)
            assert torch.equal(one.targets, two.targets)
            assert torch.equal(one.rows, two.rows)


@pytest.fixture(scope="module")
def transform() -> TrainTransform:
    return train_transform(small_spec(), AUGMENT)


@pytest.fixture(scope="module")
def straight(transform: TrainTransform) -> list[list[Batch]]:
    """Seven steps, over three epochs, without workers."""
    return load(transform, 0, 7)


def test_batches_hold_the_rows_of_their_step(straight: list[list[Batch]]) -> None:
    for step, (batch,) in enumerate(straight):
        rows = step_rows(ORDER, step).rows
        assert batch.rows.tolist() == rows.tolist()
        assert batch.targets.tolist() == (rows % 3).tolist()
        assert batch.targets.dtype == batch.rows.dtype == torch.int64
        assert batch.inputs.shape == (4, 3, 24, 32)
        assert batch.inputs.dtype == torch.uint8
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert batch.weights is None


@pytest.mark.parametrize("workers", [1, 2, None])
def test_workers_change_nothing(
    transform: TrainTransform, straight: list[list[Batch]], workers: int | None
) -> None:
    assert_same(load(transform, 0, 7, workers=workers), straight)


@pytest.mark.parametrize("start", [1, 3, 6])
def test_starting_anywhere_gives_the_same_batches(
    transform: TrainTransform, straight: list[list[Batch]], start: int
) -> None:
    assert_same(load(transform, start, 7), straight[start:])


@pytest.mark.parametrize(("world_size", "micro_batch_size"), [(2, 2), (2, 1), (1, 2), (4, 1)])
def test_ranks_and_micro_batches_make_up_the_global_batch(
    transform: TrainTransform,
    straight: list[list[Batch]],
    world_size: int,
    micro_batch_size: int,
) -> None:
    by_rank = [
        load(
            transform,
            0,
            4,
            share=Share(rank=rank, world_size=world_size),
            micro_batch_size=micro_batch_size,
        )
        for rank in range(world_size)
    ]
    for step in range(4):
        turns = range(len(by_rank[0][step]))
        parts = [by_rank[rank][step][turn] for turn in turns for rank in range(world_size)]
        joined = torch.cat([part.inputs for part in parts])
        assert torch.equal(joined, straight[step][0].inputs)


def test_a_row_is_augmented_differently_each_epoch(straight: list[list[Batch]]) -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    for (batch,) in straight:
        for row, image in zip(batch.rows.tolist(), batch.inputs, strict=True):
            seen.setdefault(row, []).append(image)
    pairs = [images for images in seen.values() if len(images) > 1]
    assert pairs
    assert all(not torch.equal(images[0], images[1]) for images in pairs)


def test_no_steps_give_no_batches(transform: TrainTransform) -> None:
    assert load(transform, 3, 3, workers=2) == []


def test_loading_leaves_the_global_random_state_alone(transform: TrainTransform) -> None:
    before = torch.get_rng_state()
    load(transform, 0, 2)
    load(transform, 0, 1, workers=1)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(1, 20),
    world_size=st.integers(1, 4),
    batch_size=st.integers(1, 7),
)
def test_evaluation_gives_every_row_once(number: int, world_size: int, batch_size: int) -> None:
    split = drawn_split(number)
    transform = eval_transform(small_spec())
    rows = []
    for rank in range(world_size):
        share = Share(rank=rank, world_size=world_size)
        for batch in eval_batches(split, transform, batch_size=batch_size, share=share, workers=0):
            assert 1 <= len(batch.rows) == len(batch.inputs) <= batch_size
            assert batch.targets.tolist() == (batch.rows % 3).tolist()
            rows.extend(batch.rows.tolist())
    assert sorted(rows) == list(range(number))


@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_evaluation_equals_one_image_at_a_time(workers: int | None) -> None:
    spec = small_spec()
    transform = eval_transform(spec)
    batches = eval_batches(
        SPLIT, transform, batch_size=5, share=Share(rank=0, world_size=1), workers=workers
    )
    inputs = torch.cat([batch.inputs for batch in batches])
    single = [transform(SPLIT.rows.image(row)) for row in range(13)]
    assert torch.equal(inputs, torch.stack(single))


def test_several_labels_come_as_float_rows() -> None:
    class ManyLabels(DrawnRows):
        def __init__(self) -> None:
            super().__init__(4)
            self.targets = np.eye(4, 3, dtype=np.float32)

    split = Split(name="val", rows=ManyLabels(), labels=SPLIT.labels, digest="")
    share = Share(rank=0, world_size=1)
    (batch,) = eval_batches(
        split, eval_transform(small_spec()), batch_size=4, share=share, workers=0
    )
    assert batch.targets.dtype == torch.float32
    assert torch.equal(batch.targets, torch.eye(4, 3))


class DamagedRows(DrawnRows):
    """Noise of which the images of some rows cannot be read."""

    def __init__(self, number: int, bad: Collection[int]) -> None:
        super().__init__(number)
        self.bad = frozenset(bad)

    def image(self, row: int) -> Image.Image:
        if row in self.bad:
            raise DataError("this image cannot be read", found="cut short", where=self.key(row))
        return super().image(row)


def damaged(number: int, bad: Collection[int]) -> Split:
    return replace(drawn_split(number), rows=DamagedRows(number, bad))


def load_damaged(
    transform: TrainTransform, bad: Collection[int], *, share: Share = WHOLE, workers: int = 0
) -> list[list[Batch]]:
    spec = LoaderSpec(
        start=0,
        stop=4,
        share=share,
        micro_batch_size=4 // share.world_size,
        workers=workers,
        on_bad_image="skip",
    )
    return list(train_batches(damaged(13, bad), transform, ORDER, spec))


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_ends_training_with_its_name_and_no_traceback(
    transform: TrainTransform, workers: int
) -> None:
    first, second = step_rows(ORDER, 0).rows, step_rows(ORDER, 1).rows
    assert not set(first) & set(second)
    spec = LoaderSpec(start=0, stop=4, share=WHOLE, micro_batch_size=4, workers=workers)
    batches = train_batches(damaged(13, second[2:3]), transform, ORDER, spec)
    assert len(next(batches)) == 1
    with pytest.raises(DataError) as caught:
        next(batches)
    check_text(caught.value, "image_gone_bad")


def test_the_next_readable_row_takes_the_place_of_a_bad_one(
    transform: TrainTransform, straight: list[list[Batch]]
) -> None:
    bad = {3, 4, 12}
    following = {3: 5, 4: 5, 12: 0}
    for step, (batch,) in enumerate(load_damaged(transform, bad)):
        wanted = step_rows(ORDER, step)
        rows = [following.get(row, row) for row in wanted.rows.tolist()]
        assert batch.rows.tolist() == rows
        assert batch.targets.tolist() == [row % 3 for row in rows]
        assert batch.bad == tuple(
            BadImage(split="train", row=row, name=f"drawn {row}", reason="cut short")
            for row in wanted.rows.tolist()
            if row in bad
        )
        images = [
            transform(SPLIT.rows.image(row), augmentation_random(ORDER.seed, turn, row))
            for row, turn in zip(rows, wanted.turns.tolist(), strict=True)
        ]
        assert torch.equal(batch.inputs, torch.stack(images))
        (whole,) = straight[step]
        readable = [row not in bad for row in wanted.rows.tolist()]
        assert torch.equal(batch.inputs[readable], whole.inputs[readable])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2])
def test_a_replaced_image_is_the_same_for_any_ranks_and_workers(
    transform: TrainTransform, workers: int, world_size: int
) -> None:
    plain = load_damaged(transform, {3, 4, 12})
    shares = [Share(rank=rank, world_size=world_size) for rank in range(world_size)]
    by_rank = [
        load_damaged(transform, {3, 4, 12}, share=share, workers=workers) for share in shares
    ]
    for step, (whole,) in enumerate(plain):
        parts = [batch for of_rank in by_rank for batch in of_rank[step]]
        assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
        assert torch.cat([part.rows for part in parts]).tolist() == whole.rows.tolist()
        assert sum((part.bad for part in parts), ()) == whole.bad


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_bad_images_out_and_says_which(workers: int) -> None:
    bad = {1, 4, 5, 6, 7, 10}
    for world_size in (1, 3):
        rows: list[int] = []
        missed: list[int] = []
        for rank in range(world_size):
            batches = eval_batches(
                damaged(11, bad),
                eval_transform(small_spec()),
                batch_size=4,
                share=Share(rank=rank, world_size=world_size),
                workers=workers,
            )
            for batch in batches:
                assert len(batch.inputs) == len(batch.targets) == len(batch.rows)
                assert batch.targets.tolist() == (batch.rows % 3).tolist()
                rows += batch.rows.tolist()
                missed += [one.row for one in batch.bad]
        assert sorted(rows) == [0, 2, 3, 8, 9]
        assert sorted(missed) == sorted(bad)


def test_a_batch_of_bad_images_alone_is_empty() -> None:
    (batch,) = eval_batches(
        damaged(3, range(3)), eval_transform(small_spec()), batch_size=4, share=WHOLE, workers=1
    )
    assert batch.inputs.shape == (0, 3, 24, 32)
    assert [one.row for one in batch.bad] == [0, 1, 2]


def _compute(_: int) -> None:
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass


def _wait(_: int) -> None:
    time.sleep(0.004)


@pytest.mark.parametrize(
    ("load_one", "learns", "taken"),
    [(_compute, True, True), (_compute, False, False), (_wait, False, True)],
)
def test_a_pass_that_computes_little_keeps_its_cores(
    load_one: Callable[[int], object], learns: bool, taken: bool
) -> None:
    threads, cores = torch.get_num_threads(), available_cores()
    try:
        torch.set_num_threads(cores)
        workers = measured_workers(load_one, range(9), number=10**6, learns=learns)
    finally:
        torch.set_num_threads(threads)
    assert workers == (min(16, cores - 1) if taken else 0)
