"""The plateau rule against torch.optim.lr_scheduler.ReduceLROnPlateau, its reference."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from hftune.core import Progress
from hftune.errors import ComponentError
from hftune.optim.plateau import PlateauRule, note_evaluation, plateau_rule
from hftune.recipe.schema import Component

# Coarse values, so that gains, ties and losses all come up; and what a split may leave undefined.
VALUES = st.one_of(
    st.integers(0, 12).map(lambda number: number / 4), st.sampled_from([math.nan, math.inf])
)


def rule(**options):
    made = plateau_rule(Component(name="plateau", options=options))
    assert made is not None
    return made


def factors(made, values, *, higher_is_better):
    """The factor after each evaluation; progress goes through JSON as a checkpoint's does."""
    progress, found = Progress(), []
    for value in values:
        note_evaluation(made, progress, value, higher_is_better=higher_is_better)
        progress = Progress(**json.loads(json.dumps(progress.to_json())))
        found.append(progress.plateau_factor)
    return found


def reference(made, values, *, higher_is_better):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="max" if higher_is_better else "min",
        factor=made.factor,
        patience=made.patience,
        threshold=made.threshold,
        threshold_mode=made.threshold_mode,
        cooldown=made.cooldown,
        min_lr=made.floor,
        eps=0,
    )
    found = []
    for value in values:
        scheduler.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@settings(deadline=None)
@given(
    values=st.lists(VALUES, max_size=40),
    higher_is_better=st.booleans(),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.25]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 3),
    floor=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_it_agrees_with_torch(values, higher_is_better, **options):
    made = rule(**options)
    values = [-value if higher_is_better and math.isinf(value) else value for value in values]
    expected = reference(made, values, higher_is_better=higher_is_better)
    assert factors(made, values, higher_is_better=higher_is_better) == expected


def test_a_stall_by_hand():
    # 0.5 is the best; the third evaluation without a gain is one more than the patience of 2.
    made = rule(factor=0.1, patience=2)
    found = factors(made, [0.5, 0.4, 0.5, 0.5, 0.6, 0.5], higher_is_better=True)
    assert found == [1, 1, 1, 0.1, 0.1, 0.1]


def test_a_value_below_zero_stalls_like_any_other():
    # torch compares with best * (1 + threshold), which lies below a negative best.
    made = rule(patience=0, threshold=0.1, factor=0.5)
    assert factors(made, [-2.0, -2.0, -1.9, -1.7], higher_is_better=True) == [1, 0.5, 0.25, 0.25]
    assert factors(made, [-2.0, -2.0, -2.1, -2.3], higher_is_better=False) == [1, 0.5, 0.25, 0.25]


def test_the_rate_stays_above_the_floor():
    made = rule(patience=0, factor=0.1, floor=0.05)
    assert factors(made, [1.0] * 5, higher_is_better=True) == [1, 0.1, 0.05, 0.05, 0.05]


def test_options_are_read_and_the_warm_up_left_to_the_schedule():
    made = rule(metric="loss", warmup="5%", cooldown=4)
    assert made == PlateauRule(
        metric="loss",
        factor=0.1,
        patience=2,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=4,
        floor=0.0,
    )


def test_other_schedules_have_no_rule():
    assert plateau_rule(Component(name="cosine", options={"warmup": "5%"})) is None


@pytest.mark.parametrize(
    "options", [{"factor": 2}, {"patience": -1}, {"threshold_mode": "max"}, {"metrik": "loss"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ComponentError):
        rule(**options)
