"""On a CPU batches pass through as they are; tests/gpu has the side stream."""

import signal
from collections.abc import Generator

import pytest
import torch

from hftune.core import Batch
from hftune.data.image_input import train_transform
from hftune.data.loader import LoaderSpec, train_batches
from hftune.data.order import Order, Share
from hftune.errors import DataError
from hftune.recipe.schema import Component
from hftune.train.control import Control, Ready
from hftune.train.plan import make_plan
from hftune.train.prefetch import prefetched
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model

CPU = torch.device("cpu")


def batch(number: int) -> Batch:
    pixels = torch.full((2, 3, 4, 4), number, dtype=torch.uint8)
    return Batch(inputs=pixels, targets=torch.zeros(2), rows=torch.arange(2))


def numbered(closed: list[bool], *, bad: int | None = None) -> Generator[list[Batch], None, None]:
    try:
        for number in range(3):
            if number == bad:
                raise DataError("this image cannot be read")
            yield [batch(number)]
    finally:
        closed.append(True)


def test_a_cpu_takes_batches_as_they_come() -> None:
    given = [[batch(number)] for number in range(3)]
    taken = list(prefetched((one for one in given), CPU))
    for (one,), (other,) in zip(taken, given, strict=True):
        assert one.inputs is other.inputs


def test_a_stop_ends_the_waiting_and_what_loads(make_recipe, make_tiny_model, make_splits):
    closed: list[bool] = []

    def stopped() -> Generator[list[Batch], None, None]:
        try:
            yield [batch(0)]
            signal.raise_signal(signal.SIGTERM)
            yield [batch(1)]
        finally:
            closed.append(True)

    plan = make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())
    with Control(make_accelerator(plan.precision), plan) as control:
        ahead = prefetched(stopped(), CPU)
        assert control.wait_for(ahead).item is not None
        assert control.wait_for(ahead) == Ready()
        assert control.agree(1, Ready()).stop
    assert closed == [True]


def test_what_was_deferred_is_done() -> None:
    augment = [Component(name=name) for name in ("random_resized_crop", "horizontal_flip")]
    transform = train_transform(tiny_model().input_spec, augment)
    late = transform.deferring()
    split = drawn_splits().train
    order = Order(num_rows=len(split), batch_size=8, seed=3)
    spec = LoaderSpec(
        start=0, stop=2, share=Share(rank=0, world_size=1), micro_batch_size=4, workers=0
    )
    wanted = train_batches(split, transform, order, spec)
    taken = prefetched(train_batches(split, late, order, spec), CPU, late.deferred)
    for step, other in zip(taken, wanted, strict=True):
        for one, two in zip(step, other, strict=True):
            assert torch.equal(one.inputs, two.inputs)
            assert one.drawn is None
    assert len(late.deferred) == 1


def test_closing_ends_what_loads() -> None:
    closed: list[bool] = []
    ahead = prefetched(numbered(closed), CPU)
    next(ahead)
    ahead.close()
    assert closed == [True]


def test_what_cannot_be_loaded_is_raised_and_ends_what_loads() -> None:
    closed: list[bool] = []
    ahead = prefetched(numbered(closed, bad=1), CPU)
    next(ahead)
    with pytest.raises(DataError):
        next(ahead)
    assert closed == [True]
