"""The mathematics of each schedule; torch's and timm's schedulers are the references."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    StepLR,
)

from hftune.optim.schedules import make_schedule
from hftune.recipe.schema import Component
from tests.optim.reference import reference


def values(name, total_steps=100, steps_per_epoch=10, **options):
    """The multiplier of every step of a run."""
    multiplier = make_schedule(
        Component(name=name, options=options),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )
    return [multiplier(step) for step in range(total_steps)]


def test_constant_agrees_with_torch():
    assert values("constant") == reference(lambda o: ConstantLR(o, factor=1.0), steps=100)


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 120),
    steps_per_epoch=st.integers(1, 40),
    num_epochs=st.integers(1, 12),
)
def test_step_falls_at_its_very_step(length, steps_per_epoch, num_epochs):
    total_steps = steps_per_epoch * num_epochs
    found = values("step", total_steps, steps_per_epoch, every=f"{length} steps", factor=0.5)
    assert found == [0.5 ** (step // length) for step in range(total_steps)]


def test_step_by_epochs_agrees_with_torch():
    rates = reference(lambda o: StepLR(o, step_size=30, gamma=0.1), steps=100)
    assert values("step", every="3 epochs") == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize("name", ["step", "multi_step"])
def test_milestones_agree_with_torch(name):
    rates = reference(lambda o: MultiStepLR(o, milestones=[15, 40, 90], gamma=0.1), steps=100)
    found = values(name, milestones=["15 steps", "4 epochs", "90%"])
    assert found == pytest.approx(rates, rel=1e-12)


def test_exponential_by_epoch_agrees_with_torch_at_every_epoch():
    # torch steps once per epoch; ours falls by the same factor, a little at every step.
    rates = reference(lambda o: ExponentialLR(o, gamma=0.8), steps=10)
    found = values("exponential", factor=0.8, every="1 epoch")
    assert found[::10] == pytest.approx(rates, rel=1e-12)
    assert found[5] == pytest.approx(math.sqrt(0.8))


def test_exponential_over_the_run_agrees_with_torch():
    rates = reference(lambda o: ExponentialLR(o, gamma=0.01**0.01), steps=100)
    assert values("exponential", factor=0.01) == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_cosine_agrees_with_torch(floor):
    rates = reference(lambda o: CosineAnnealingLR(o, T_max=100, eta_min=floor), steps=100)
    assert values("cosine", floor=floor) == pytest.approx(rates, abs=1e-12)


def test_cosine_by_hand():
    found = values("cosine", floor=0.2)
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.6)
    # the last step: cos(0.99 pi)
    assert found[99] == pytest.approx(0.2 + 0.8 * (1 + math.cos(0.99 * math.pi)) / 2)


@settings(deadline=None, max_examples=20)
@given(
    first=st.integers(1, 20),
    growth=st.integers(1, 3),
    cycles=st.integers(1, 4),
    floor=st.sampled_from([0.0, 0.1]),
)
def test_restarts_agree_with_torch(first, growth, cycles, floor):
    steps = sum(first * growth**number for number in range(cycles))
    rates = reference(
        lambda o: CosineAnnealingWarmRestarts(o, T_0=first, T_mult=growth, eta_min=floor),
        steps=steps,
    )
    found = values("cosine", steps, cycles=cycles, cycle_growth=growth, floor=floor)
    assert found == pytest.approx(rates, abs=1e-9)


def test_decaying_restarts_agree_with_timm():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=20, lr_min=0.1, cycle_mul=2, cycle_decay=0.5, cycle_limit=3
    )
    rates = []
    for step in range(140):
        scheduler.step(step)
        rates.append(optimizer.param_groups[0]["lr"])
    found = values("cosine", 140, cycles=3, cycle_decay=0.5, cycle_growth=2, floor=0.1)
    assert found == pytest.approx(rates, abs=1e-12)


def test_a_decayed_cycle_stays_at_the_floor():
    assert min(values("cosine", cycles=5, cycle_decay=0.1, floor=0.2)) >= 0.2


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_agrees_with_torch(power):
    rates = reference(lambda o: PolynomialLR(o, total_iters=100, power=power), steps=100)
    assert values("polynomial", power=power) == pytest.approx(rates, rel=1e-9)


def test_polynomial_with_a_floor_by_hand():
    # half the run: 0.2 + 0.8 * 0.5 ** 2
    assert values("polynomial", power=2, floor=0.2)[50] == pytest.approx(0.4)


@pytest.mark.parametrize(("shape", "strategy"), [("cosine", "cos"), ("linear", "linear")])
@pytest.mark.parametrize(("rise", "divisors"), [(0.3, (25, 1e4)), (0.55, (4, 10))])
def test_one_cycle_agrees_with_torch(shape, strategy, rise, divisors):
    # torch reaches the end at its last step, so its run of 101 steps has our 100 spans between
    # steps; it puts the peak at step pct_start * 101 - 1.
    rates = reference(
        lambda o: OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=101,
            pct_start=(100 * rise + 1) / 101,
            anneal_strategy=strategy,
            cycle_momentum=False,
            div_factor=divisors[0],
            final_div_factor=divisors[1],
        ),
        steps=100,
    )
    found = values(
        "one_cycle", rise=rise, start_divisor=divisors[0], end_divisor=divisors[1], shape=shape
    )
    assert found == pytest.approx(rates, abs=1e-12)
    assert found[round(100 * rise)] == 1.0


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_one_cycle_may_rise_never_or_always(rise):
    found = values("one_cycle", rise=rise)
    assert found == sorted(found, reverse=rise == 0)


@pytest.mark.parametrize(
    ("shape", "half_way"),
    # Half-way through the decay: 1 - 1/2; (1 + cos(pi / 2)) / 2; 1 - sqrt(1 / 2).
    [("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - math.sqrt(0.5))],
)
def test_wsd_holds_the_peak_and_then_decays(shape, half_way):
    found = values("wsd", decay="2 epochs", shape=shape, floor=0.1, warmup="1 epoch")
    assert set(found[10:81]) == {1.0}
    assert found[81] < 1
    assert found[90] == pytest.approx(0.1 + 0.9 * half_way)
    assert found[80:] == sorted(found[80:], reverse=True)


def test_wsd_decay_agrees_with_torch():
    rates = reference(lambda o: CosineAnnealingLR(o, T_max=40), steps=40)
    found = values("wsd", decay="40%", shape="cosine")
    assert found[60:] == pytest.approx(rates, abs=1e-12)


def test_wsd_with_a_decay_longer_than_the_run_decays_all_along():
    assert values("wsd", decay="20 epochs") == pytest.approx(values("polynomial"))


def test_plateau_leaves_the_rate_to_the_evaluations():
    assert set(values("plateau", metric="loss", factor=0.5)) == {1.0}


def test_a_long_run_steps_exactly_at_its_boundaries():
    multiplier = make_schedule(
        Component(name="step", options={"every": "7 steps", "factor": 0.9999}),
        total_steps=3_000_007,
        steps_per_epoch=10,
    )
    for count in (1, 12_345, 428_572):
        assert multiplier(7 * count) == 0.9999**count
        assert multiplier(7 * count - 1) == 0.9999 ** (count - 1)
