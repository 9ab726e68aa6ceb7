"""A step that is queued before its norm is known: the plain step, or none at all."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from hftune.optim.optimizers import OPTIMIZERS
from hftune.train.early_step import can_skip, step_early

METHODS = [
    ("adamw", {}),
    ("adamw", {"amsgrad": True}),
    ("adam", {}),
    ("sgd", {}),
    ("sgd", {"nesterov": True}),
    ("sgd", {"momentum": 0.0}),
]
SHAPES = ((8, 3, 5, 5), (33,), ())


def opened(name: str, options: dict[str, object]) -> Optimizer:
    """Give an optimizer over weights in two groups, one of them with the channels last."""
    drawn = torch.Generator().manual_seed(0)
    first, *others = [nn.Parameter(torch.randn(shape, generator=drawn)) for shape in SHAPES]
    first.data = first.data.to(memory_format=torch.channels_last)
    groups = [
        {"params": [first], "lr": 0.03, "weight_decay": 0.1},
        {"params": others, "lr": 0.01, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, **options)


def weights(optimizer: Optimizer) -> list[Tensor]:
    return [value for group in optimizer.param_groups for value in group["params"]]


def draw_gradients(optimizer: Optimizer, *, seed: int) -> Tensor:
    """Fill all gradients; give their norm."""
    drawn = torch.Generator().manual_seed(seed)
    for value in weights(optimizer):
        value.grad = torch.empty_like(value).copy_(torch.randn(value.shape, generator=drawn))
    return nn.utils.get_total_norm([value.grad for value in weights(optimizer)])


def assert_equal(one: Optimizer, other: Optimizer) -> None:
    """Hold weights, moments and step counters to be the same bits."""
    for mine, theirs in zip(weights(one), weights(other), strict=True):
        assert torch.equal(mine, theirs)
        state, expected = one.state.get(mine, {}), other.state.get(theirs, {})
        assert state.keys() == expected.keys()
        for entry, value in expected.items():
            assert torch.equal(state[entry], value), entry


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_a_finite_step_is_the_plain_one(name, options):
    early, plain = opened(name, options), opened(name, options)
    for step in range(4):
        norm = draw_gradients(early, seed=step)
        assert step_early(early, norm) == float(norm)
        draw_gradients(plain, seed=step)
        plain.step()
        assert_equal(early, plain)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize(("name", "options"), METHODS)
def test_a_step_that_is_not_finite_leaves_no_trace(name, options, taken, value):
    spoilt, good = opened(name, options), opened(name, options)
    for step in range(taken):
        for one in (spoilt, good):
            draw_gradients(one, seed=step)
            one.step()
    draw_gradients(spoilt, seed=taken)
    weights(spoilt)[1].grad[7] = value
    norm = nn.utils.get_total_norm([one.grad for one in weights(spoilt)])
    assert not math.isfinite(step_early(spoilt, norm))
    assert_equal(spoilt, good)
    for step in range(taken, taken + 2):  # as if nothing had been
        step_early(spoilt, draw_gradients(spoilt, seed=step))
        draw_gradients(good, seed=step)
        good.step()
        assert_equal(spoilt, good)


def test_steps_after_it_know_nothing_of_it():
    optimizer = opened("sgd", {})
    draw_gradients(optimizer, seed=0)
    step_early(optimizer, torch.tensor(torch.nan))
    before = copy.deepcopy(weights(optimizer))
    optimizer.step()
    assert not torch.equal(weights(optimizer)[0], before[0])


def test_a_step_that_fails_leaves_the_optimizer_as_it_was():
    weight = nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS["sgd"]([{"params": [weight], "lr": 0.1, "weight_decay": 0.0}])
    weight.grad = torch.ones(3).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        step_early(optimizer, torch.tensor(torch.nan))
    weight.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(weight, torch.full((3,), 1 - 0.1))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_what_has_a_fused_step_and_nothing_else_can_skip_it(name):
    optimizer = opened(name, {})
    assert can_skip(optimizer) == all(group.get("fused") for group in optimizer.param_groups)


def test_other_steps_than_torchs_own_fused_ones_cannot_be_skipped():
    class Derived(AdamW):
        """May take its step in any way."""

    weight = nn.Parameter(torch.ones(3))
    assert can_skip(AdamW([weight], fused=True))
    assert not can_skip(AdamW([weight], fused=False))
    assert not can_skip(AdamW([weight]))
    assert not can_skip(Derived([weight], fused=True))
