"""Numbers that go wrong on a device: the loss scaler, fp16's range, memory and what fits in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from hftune.errors import MemoryShortError
from hftune.recipe.schema import TrainRecipe
from hftune.train.checkpoint import Memory
from hftune.train.evaluate import evaluate
from hftune.train.finite import explain_bad_step
from hftune.train.guides import Guides
from hftune.train.micro_batch import fit_micro_batch, with_micro_batch
from hftune.train.micro_batch_trial import fits_on_gpu
from hftune.train.plan import make_plan
from hftune.train.session import open_session
from hftune.train.step import BadStep, train_step
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

BATCH = 4096


class Times(nn.Module):
    """Multiplies by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Greedy(nn.Module):
    """Wants a tebibyte."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(2**38, device=x.device).sum()


def opened(model, precision, *, scale=None):
    """Open a session; `scale` is what the loss is multiplied by at first."""
    splits = drawn_splits(train=64)
    train = TrainRecipe(length="30 steps", batch_size=8, micro_batch_size=4, precision=precision)
    plan = make_plan(tiny_recipe(train=train), model, splits, join_world())
    accelerator = make_accelerator(precision)
    memory = Memory()
    if scale is not None:
        memory = Memory(scaler=accelerator.scaler.state_dict() | {"scale": scale})
    return open_session(
        accelerator, model, plan.phases[0], plan=plan, split=splits.train, memory=memory,
        guides=Guides(),
    )  # fmt: skip


@contextmanager
def memory_limit(num_bytes: int) -> Iterator[None]:
    """Let torch have no more than `num_bytes` of the device."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(num_bytes / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_ordinary_overflow_is_counted_and_passes():
    model = tiny_model("test_vit")
    session = opened(model, "fp16", scale=2.0**24)
    weights = [value.detach().clone() for value in model.module.parameters()]
    skipped = []
    for step, micro_batches in enumerate(session.batches(0, 30)):
        stats = train_step(session, micro_batches, step=step)
        assert bool(stats.loss.isfinite())
        skipped.append(stats.skipped)
        if skipped == [True]:
            after = model.module.parameters()
            assert all(torch.equal(a, b) for a, b in zip(weights, after, strict=True))
    assert skipped[0]
    assert not skipped[-1]
    assert session.accelerator.scaler.get_scale() < 2.0**24
    assert all(bool(value.isfinite().all()) for value in model.module.parameters())
    session.close()


def test_what_fp16_cannot_hold_is_named_and_fp32_holds_it():
    model = tiny_model("test_vit")
    model.module.blocks[1].mlp.act = nn.Sequential(nn.GELU(), Times(1e6))
    session = opened(model, "fp16")
    micro_batches = next(session.batches(0, 1))
    with pytest.raises(BadStep):
        train_step(session, micro_batches, step=0)
    error = explain_bad_step(session, 0)
    assert error.found is not None
    assert error.found.startswith("blocks.1.mlp.act.1 (Times) gave values that are not finite")
    assert error.where == "micro-batch 1 of 2, fp16"
    assert error.remedy is not None
    assert error.remedy.startswith("set train.precision=bf16")
    session.close()
    model = tiny_model("test_vit")
    model.module.blocks[1].mlp.act = nn.Sequential(nn.GELU(), Times(1e6))
    session = opened(model, "fp32")
    assert bool(train_step(session, micro_batches, step=0).loss.isfinite())
    session.close()


def test_memory_that_a_step_does_not_find_is_told_with_what_fits():
    model = tiny_model("test_vit")
    session = opened(model, "bf16" if torch.cuda.is_bf16_supported() else "fp16")
    micro_batches = next(session.batches(0, 1))
    model.module.head_drop = Greedy()
    with pytest.raises(MemoryShortError) as caught:
        train_step(session, micro_batches, step=0)
    assert caught.value.found is not None
    assert "4 images at once of a batch of 8" in caught.value.found
    assert "cuda" in caught.value.found
    assert caught.value.allowed == "train.micro_batch_size of 2, 1, by estimate"
    session.close()


def test_memory_that_an_evaluation_does_not_find_is_told():
    model = tiny_model("test_vit")
    model.module.head_drop = Greedy()
    with pytest.raises(MemoryShortError, match="evaluation"):
        evaluate(model, drawn_splits().val, tiny_recipe())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_auto_finds_what_fits_and_leaves_no_trace(precision):
    model = tiny_model("test_resnet")
    train = TrainRecipe(length="2 steps", batch_size=BATCH, micro_batch_size="auto",
                        precision=precision)  # fmt: skip
    plan = make_plan(tiny_recipe(train=train), model, drawn_splits(train=BATCH), join_world())
    device, (phase,) = join_world().device, plan.phases
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert fits_on_gpu(with_micro_batch(plan, 256), model, phase, device=device, teacher=None)
    needed = torch.cuda.max_memory_reserved()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    held = torch.cuda.memory_allocated()
    with memory_limit(2 * needed):
        fitted = fit_micro_batch(plan, model, join_world())
        assert torch.cuda.memory_allocated() == held
        assert 256 <= fitted.micro_batch_size < BATCH
        assert fitted.micro_batch_size * fitted.accumulation == BATCH
        doubled = with_micro_batch(plan, 4 * fitted.micro_batch_size)
        assert not fits_on_gpu(doubled, model, phase, device=device, teacher=None)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(), states[1])
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(value.grad is None and value.is_cpu for value in model.module.parameters())


def test_a_batch_that_fits_whole_is_not_cut():
    model = tiny_model("test_resnet")
    train = TrainRecipe(length="2 steps", batch_size=16, micro_batch_size="auto")
    plan = make_plan(tiny_recipe(train=train), model, drawn_splits(), join_world())
    assert fit_micro_batch(plan, model, join_world()) == plan


def test_a_teacher_takes_its_part_of_the_memory():
    model, teacher = tiny_model("test_resnet"), nn.Sequential(nn.Flatten(), Greedy())
    train = TrainRecipe(length="2 steps", batch_size=16, micro_batch_size="auto")
    plan = make_plan(tiny_recipe(train=train), model, drawn_splits(), join_world())
    plan = replace(plan, precision="fp32")
    with pytest.raises(MemoryShortError, match="smallest possible micro-batch"):
        fit_micro_batch(plan, model, join_world(), teacher=teacher)
