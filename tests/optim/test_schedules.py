"""Every schedule in the table, against the contract: ranges, warm-up, moments, own code."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from hftune.errors import ComponentError, PlanError
from hftune.optim.schedules import SCHEDULES, WARMUP_START, make_schedule
from hftune.recipe.schema import Component
from tests.optim.reference import reference

# What each schedule needs at least, and options away from its defaults.
NEEDED = {"step": {"every": "30%"}, "multi_step": {"milestones": ["60%"]}}
OPTIONS = {
    "step": {"milestones": ["50%", 0.75], "factor": 0.5},
    "multi_step": {"milestones": ["20 steps", "3 epochs"], "factor": 0.3},
    "exponential": {"factor": 0.9, "every": "1 epoch"},
    "cosine": {"floor": 0.2, "cycles": 4, "cycle_decay": 0.5, "cycle_growth": 1.5},
    "polynomial": {"power": 2.5, "floor": 0.05},
    "one_cycle": {"rise": "2 epochs", "start_divisor": 3, "end_divisor": 2, "shape": "linear"},
    "wsd": {"decay": "40%", "shape": "sqrt", "floor": 0.1},
    "plateau": {"metric": "loss", "patience": 0, "floor": 0.1},
}
LISTED = [
    Component(name=name, options=table.get(name, {}))
    for table in (NEEDED, OPTIONS)
    for name in SCHEDULES
]
# The multiplier after the last step, for NEEDED and for OPTIONS; and of the first without warm-up.
ENDS = {
    "constant": (1, 1),
    "step": (0.001, 0.25),
    "multi_step": (0.1, 0.09),
    "exponential": (0.01, 0.9**10),
    "cosine": (0, 0.2),
    "polynomial": (0, 0.05),
    "one_cycle": (1 / 25e4, 1 / 6),
    "wsd": (0, 0.1),
    "plateau": (1, 1),
}
STARTS = {"one_cycle": (1 / 25, 1 / 3)}


def schedule(name, total_steps=100, steps_per_epoch=10, **options):
    return make_schedule(
        Component(name=name, options=options),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )


@settings(deadline=None)
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
    assert math.isfinite(value)
    assert 0.0 <= value <= 1.0
    assert multiplier(step) == value


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("which", [0, 1])
def test_schedule_starts_and_ends_where_it_says(name, which):
    component = LISTED[which * len(SCHEDULES) + list(SCHEDULES).index(name)]
    multiplier = make_schedule(component, total_steps=100, steps_per_epoch=10)
    assert multiplier(0) == pytest.approx(STARTS.get(name, (1, 1))[which], rel=1e-12)
    assert multiplier(100) == pytest.approx(ENDS[name][which], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("component", LISTED, ids=lambda component: component.name)
def test_warmup_rises_to_the_schedules_own_value(component):
    plain = make_schedule(component, total_steps=100, steps_per_epoch=10)
    options = {**component.options, "warmup": "1 epoch"}
    warm = make_schedule(
        Component(name=component.name, options=options), total_steps=100, steps_per_epoch=10
    )
    assert warm(0) == pytest.approx(WARMUP_START * plain(0), rel=1e-12)
    values = [warm(step) for step in range(11)]
    assert values == sorted(values)
    assert len(set(values)) == 11
    on_the_clock_of_the_run = "every" in component.options or component.name == "one_cycle"
    assert warm(10) == (plain(10) if on_the_clock_of_the_run else plain(0))


@pytest.mark.parametrize("component", LISTED, ids=lambda component: component.name)
def test_warmup_leaves_the_end_where_it_is(component):
    plain = make_schedule(component, total_steps=100, steps_per_epoch=10)
    options = {**component.options, "warmup": "10%"}
    warm = make_schedule(
        Component(name=component.name, options=options), total_steps=100, steps_per_epoch=10
    )
    assert warm(100) == plain(100)


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


def test_moments_keep_to_the_clock_of_the_run_under_warmup():
    multiplier = schedule("step", every="30 steps", warmup="10 steps")
    assert [multiplier(step) for step in (10, 29, 30, 59, 60)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


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
    for name in ("step", "exponential"):
        with pytest.raises(PlanError, match="no time at all"):
            schedule(name, every="0.1%", total_steps=100)
    with pytest.raises(PlanError, match="no time at all"):
        schedule("wsd", decay="0.1%", total_steps=100)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cosine", {"floor": 1.5}),
        ("cosine", {"flor": 0.1}),
        ("step", {"every": "often"}),
        ("step", {"every": 30}),
        ("step", {"every": "1 epoch", "factor": 0}),
        ("step", {"every": "0 epochs"}),
        ("multi_step", {}),
        ("multi_step", {"milestones": []}),
        ("multi_step", {"milestones": ["120%"]}),
        ("exponential", {"factor": 1.1}),
        ("cosine", {"cycles": 0}),
        ("cosine", {"cycle_growth": 0.5}),
        ("polynomial", {"power": 0}),
        ("one_cycle", {"start_divisor": 0.5}),
        ("one_cycle", {"shape": "round"}),
        ("wsd", {"decay": "0%"}),
        ("wsd", {"shape": "exponential"}),
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


OWN = """\
from hftune.optim.schedules import Moment


def rest(progress, *, begin: Moment = "50%", depth: float = 0.5):
    return depth if progress >= begin else 1.0
"""


def test_moments_of_an_own_schedule_become_shares_of_the_run_its_default_too(tmp_path):
    (tmp_path / "resting.py").write_text(OWN, encoding="utf-8")

    def values(**options):
        multiplier = make_schedule(
            Component(name="./resting.py:rest", options=options),
            total_steps=8,
            steps_per_epoch=2,
            folder=tmp_path,
        )
        return [multiplier(step) for step in range(8)]

    assert values() == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert values(begin="1 epoch", depth=0.2) == [1, 1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
