"""Memory that does not suffice, in a step and in an evaluation, ends with what would fit."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from hftune.errors import MemoryShortError
from hftune.recipe.schema import EvalRecipe, TrainRecipe
from hftune.train.evaluate import evaluate
from hftune.train.machine_memory import DeviceMemory
from hftune.train.memory import PhaseMemory
from hftune.train.memory_short import is_memory_shortage
from hftune.train.step import train_step
from hftune.train.training_memory import sizes_that_fit
from tests.drawn import drawn_splits, tiny_model, tiny_recipe
from tests.train.test_finite import opened

GIB = 2**30


class Greedy(nn.Module):
    """Wants a tebibyte."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(2**38).sum()


@contextmanager
def address_space(num_bytes: int) -> Iterator[None]:
    """Let this process have no more address space than `num_bytes`, however much is overbooked."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_step_that_does_not_fit_tells_the_sizes_that_would():
    train = TrainRecipe(batch_size=8, micro_batch_size=4, precision="fp32")
    session = opened(tiny_model("test_vit"), train=train)
    batch = next(session.batches(0, 1))
    session.module.head_drop = Greedy()
    with address_space(512 * GIB), pytest.raises(MemoryShortError) as caught:
        train_step(session, batch, step=0)
    error = caught.value
    assert error.found is not None
    assert error.found.startswith("4 images at once of a batch of 8, in fp32, training ")
    assert "cpu has " in error.found
    assert error.allowed == "train.micro_batch_size of 2, 1, by estimate"
    assert error.where == "train.micro_batch_size"
    assert error.remedy is not None
    assert error.remedy.startswith("set train.micro_batch_size=2 (or auto); or train fewer layers")
    assert error.exit_code == 3
    session.close()


def test_an_evaluation_that_does_not_fit_tells_a_smaller_one():
    model = tiny_model("test_vit")
    model.module.head_drop = Greedy()
    recipe = tiny_recipe(eval=EvalRecipe(batch_size=10))
    with address_space(512 * GIB), pytest.raises(MemoryShortError, match="evaluation") as caught:
        evaluate(model, drawn_splits().val, recipe)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("set eval.batch_size=5 or less")


def test_another_failure_stays_what_it_is():
    session = opened(tiny_model("test_vit"))
    batch = next(session.batches(0, 1))
    session.module.head_drop = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_step(session, batch, step=0)
    session.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_shortages_are_told_from_other_failures(error, expected):
    assert is_memory_shortage(error) is expected


def estimate(activations: int | None) -> PhaseMemory:
    return PhaseMemory(
        label="all", weights=2 * GIB, gradients=2 * GIB, optimizer=4 * GIB, copies=0,
        activations=activations,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("activations", "peak", "fits"),
    [
        # 8 GiB stay; 24 of 32 are left for activations.
        (64 * GIB, 0, [16, 8, 4, 2, 1]),  # 1 GiB for each of 64 images
        (64 * GIB, 60 * GIB, [16, 8, 4, 2, 1]),  # less was taken than was estimated
        (64 * GIB, 136 * GIB, [8, 4, 2, 1]),  # 2 GiB for each were really taken
        (64 * GIB, 8 * GIB + 64 * 30 * GIB, []),
        (None, 0, [32, 16, 8, 4, 2, 1]),  # not known: only what is smaller
    ],
)
def test_what_fits_is_scaled_by_what_was_really_taken(activations, peak, fits):
    memory = DeviceMemory(total=40 * GIB, free=2 * GIB, own=30 * GIB)
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    found = sizes_that_fit(sizes, 64, estimate=estimate(activations), memory=memory, peak=peak)
    assert found == fits
