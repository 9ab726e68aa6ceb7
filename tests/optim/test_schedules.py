"""Every schedule in the table, against the contract; torch's schedulers are the reference."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    SequentialLR,
    StepLR,
)

from hftune.errors import ComponentError, PlanError
from hftune.optim.schedules import SCHEDULES, WARMUP_START, make_schedule
from hftune.recipe.schema import Component

# What each schedule needs at least, and options away from its defaults.
NEEDED = {"step": {"every": "30%"}}
OPTIONS = {"cosine": {"floor": 0.2}, "step": {"milestones": ["50%", 0.75], "factor": 0.5}}
LISTED = [
    Component(name=name, options=table.get(name, {}))
    for table in (NEEDED, OPTIONS)
    for name in SCHEDULES
]


def schedule(name, total_steps=100, steps_per_epoch=10, **options):
    return make_schedule(
        Component(name=name, options=options),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )


def reference(make, *, steps):
    """The rates that a torch scheduler gives for a peak rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        # SequentialLR calls its parts with a step number, which torch itself deprecates.
        warnings.simplefilter("ignore", UserWarning)
        scheduler = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
    return rates


@given(
    component=st.sampled_from(LISTED),
    total_steps=st.integers(30, 500),
    steps_per_epoch=st.integers(1, 50),
    warmup=st.sampled_from([None, "0%", "10%", "1 steps", "0.5 epochs"]),
    at=st.floats(0, 1),
)
def test_multiplier_is_a_share_of_the_peak(component, total_steps, steps_per_epoch, warmup, at):
    options = dict(component.options) | ({"warmup": warmup} if warmup else {})
    multiplier = make_schedule(
        Component(name=component.name, options=options),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )
    step = round(at * (total_steps - 1))
    value = multiplier(step)
    assert isinstance(value, float)
    assert 0.0 <= value <= 1.0
    assert multiplier(step) == value


@pytest.mark.parametrize("component", LISTED, ids=lambda component: component.name)
def test_schedule_starts_at_the_peak_without_warmup(component):
    assert make_schedule(component, total_steps=100, steps_per_epoch=10)(0) == 1.0


@pytest.mark.parametrize("component", LISTED, ids=lambda component: component.name)
def test_warmup_rises_to_the_schedules_own_value(component):
    plain = make_schedule(component, total_steps=100, steps_per_epoch=10)
    options = {**component.options, "warmup": "1 epoch"}
    warm = make_schedule(
        Component(name=component.name, options=options), total_steps=100, steps_per_epoch=10
    )
    assert warm(0) == pytest.approx(WARMUP_START, rel=1e-2)
    values = [warm(step) for step in range(11)]
    assert values == sorted(values)
    assert warm(10) == plain(0)
    assert warm(9) < 1


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_cosine_agrees_with_torch(floor):
    multiplier = schedule("cosine", floor=floor)
    rates = reference(lambda o: CosineAnnealingLR(o, T_max=100, eta_min=floor), steps=100)
    assert [multiplier(step) for step in range(100)] == pytest.approx(rates, abs=1e-12)


def test_cosine_by_hand():
    multiplier = schedule("cosine", floor=0.2)
    assert multiplier(0) == 1.0
    assert multiplier(50) == pytest.approx(0.6)
    # the last step: cos(0.99 pi)
    assert multiplier(99) == pytest.approx(0.2 + 0.8 * (1 + math.cos(0.99 * math.pi)) / 2)
    assert multiplier(100) == pytest.approx(0.2)


def test_warmup_then_cosine_agrees_with_torch():
    multiplier = schedule("cosine", warmup="5%")
    rates = reference(
        lambda o: SequentialLR(
            o,
            [
                LinearLR(o, start_factor=WARMUP_START, total_iters=5),
                CosineAnnealingLR(o, T_max=95),
            ],
            milestones=[5],
        ),
        steps=100,
    )
    assert [multiplier(step) for step in range(100)] == pytest.approx(rates, abs=1e-12)
    assert multiplier(5) == 1.0


def test_warmup_then_constant_agrees_with_torch():
    multiplier = schedule("constant", warmup="7 steps")
    rates = reference(lambda o: LinearLR(o, start_factor=WARMUP_START, total_iters=7), steps=50)
    assert [multiplier(step) for step in range(50)] == pytest.approx(rates, abs=1e-12)


def test_constant_agrees_with_torch():
    multiplier = schedule("constant")
    rates = reference(lambda o: ConstantLR(o, factor=1.0), steps=100)
    assert [multiplier(step) for step in range(100)] == rates


@given(
    length=st.integers(1, 120),
    steps_per_epoch=st.integers(1, 40),
    num_epochs=st.integers(1, 12),
)
def test_step_agrees_with_torch_at_every_step(length, steps_per_epoch, num_epochs):
    total_steps = steps_per_epoch * num_epochs
    multiplier = schedule("step", total_steps, steps_per_epoch, every=f"{length} steps", factor=0.5)
    expected = [0.5 ** (step // length) for step in range(total_steps)]
    assert [multiplier(step) for step in range(total_steps)] == expected


def test_step_by_epochs_agrees_with_torch():
    multiplier = schedule("step", every="3 epochs")
    rates = reference(lambda o: StepLR(o, step_size=30, gamma=0.1), steps=100)
    assert [multiplier(step) for step in range(100)] == pytest.approx(rates, rel=1e-12)


def test_milestones_agree_with_torch():
    multiplier = schedule("step", milestones=["15 steps", "4 epochs", "90%"])
    rates = reference(lambda o: MultiStepLR(o, milestones=[15, 40, 90], gamma=0.1), steps=100)
    assert [multiplier(step) for step in range(100)] == pytest.approx(rates, rel=1e-12)


def test_moments_keep_to_the_clock_of_the_run_under_warmup():
    multiplier = schedule("step", every="30 steps", warmup="10 steps")
    assert [multiplier(step) for step in (10, 29, 30, 59, 60)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


def test_a_long_run_steps_exactly_at_its_boundaries():
    total_steps = 3_000_007
    multiplier = schedule("step", total_steps, every="7 steps", factor=0.9999)
    for count in (1, 12_345, 428_572):
        assert multiplier(7 * count) == 0.9999**count
        assert multiplier(7 * count - 1) == 0.9999 ** (count - 1)


@pytest.mark.parametrize("warmup", ["100%", "100 steps", "11 epochs"])
def test_warmup_must_leave_a_step(warmup):
    with pytest.raises(PlanError, match="leaves no step") as caught:
        schedule("cosine", warmup=warmup)
    assert caught.value.allowed == "up to 99 steps"


@pytest.mark.parametrize("warmup", ["soon", 0.05, None, "-1 epochs", "10 min"])
def test_warmup_that_is_no_span_is_refused(warmup):
    with pytest.raises(PlanError, match="cannot be read"):
        schedule("cosine", warmup=warmup)


@pytest.mark.parametrize("options", [{}, {"every": "1 epoch", "milestones": ["50%"]}])
def test_step_needs_exactly_one_way_to_know_when(options):
    with pytest.raises(PlanError, match="when to step"):
        schedule("step", **options)


def test_run_of_one_step():
    assert schedule("cosine", total_steps=1)(0) == 1.0


def test_step_after_no_time_is_refused():
    with pytest.raises(PlanError, match="no time at all"):
        schedule("step", every="0.1%", total_steps=100)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cosine", {"floor": 1.5}),
        ("cosine", {"flor": 0.1}),
        ("step", {"every": "often"}),
        ("step", {"every": 30}),
        ("step", {"every": "1 epoch", "factor": 0}),
        ("cosin", {}),
    ],
)
def test_wrong_names_and_options_are_refused(name, options):
    with pytest.raises(ComponentError):
        schedule(name, **options)


def test_own_schedule_is_warmed_up_too(tmp_path):
    code = "def half(progress, *, depth: float = 0.5):\n    return 1 - depth * progress\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    multiplier = make_schedule(
        Component(name="./mine.py:half", options={"warmup": "50%", "depth": 1}),
        total_steps=4,
        steps_per_epoch=2,
        folder=tmp_path,
    )
    assert [multiplier(step) for step in range(4)] == pytest.approx([0.01, 0.505, 1.0, 0.5])
