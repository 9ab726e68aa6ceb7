"""The mean of weights: which are taken, and that it is torch's own mean."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hftune.core import Progress
from hftune.errors import PlanError
from hftune.recipe.schema import SWARecipe
from hftune.train.average import (
    RunningMean,
    check_mean,
    open_mean,
    owes_average,
    settle_swa,
    swa_steps,
    takes_weights,
)
from hftune.train.checkpoint import Memory, commit_checkpoint, read_checkpoint
from hftune.train.plan import make_plan
from hftune.train.world import join_world


@pytest.fixture
def plan(make_recipe, make_tiny_model, make_splits):
    """12 steps; `replace` gives it other points."""
    made = make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())
    return replace(made, total_steps=12, swa_start=4, swa_every=3)


def members(number):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(number)]


def test_the_mean_is_that_of_torch():
    module = members(1)[0]
    reference, mean = AveragedModel(module), RunningMean()
    for member in members(7):
        reference.update_parameters(member)
        mean.take(member)
    mean.put_into(module)
    expected = dict(reference.module.named_parameters())
    # torch averages by lerp, one rounding apart from the difference that is added here
    for name, value in module.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-7)


def test_every_member_counts_the_same():
    mean = RunningMean()
    parts = members(9)
    for part in parts:
        mean.take(part)
    stacked = torch.stack([part[0].weight for part in parts]).double()
    torch.testing.assert_close(mean.values["0.weight"].double(), stacked.mean(0), rtol=0, atol=1e-7)
    assert mean.count == 9
    assert set(mean.values) == {"0.weight", "0.bias", "1.weight", "1.bias"}  # no buffers


def test_what_is_equal_in_all_members_stays_bit_identical():
    frozen = members(1)[0][0].weight.detach().clone()
    mean = RunningMean()
    for part in members(11):
        part[0].weight.data.copy_(frozen)
        mean.take(part)
    assert torch.equal(mean.values["0.weight"], frozen)


def test_half_precision_members_are_averaged_in_float32():
    mean = RunningMean()
    for value in (1.0, 1.0078125):  # neighbours in bfloat16: their mean is none of it
        part = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
        part.weight.data.fill_(value)
        mean.take(part)
    assert mean.values["weight"].dtype == torch.float32
    assert float(mean.values["weight"]) == 1.00390625


def test_a_mean_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    parts = members(6)
    whole, before = RunningMean(), RunningMean()
    for part in parts:
        whole.take(part)
    for part in parts[:4]:
        before.take(part)
    path = commit_checkpoint(
        tmp_path,
        Progress(step=4),
        module=parts[0],
        memory=Memory(swa=before.values, swa_count=before.count),
        plan_digest="d",
    )
    after = open_mean(read_checkpoint(path).memory)
    for part in parts[4:]:
        after.take(part)
    assert after.count == whole.count
    for name, value in whole.values.items():
        assert torch.equal(after.values[name], value)


def test_a_run_without_a_mean_begins_an_empty_one(tmp_path):
    path = commit_checkpoint(
        tmp_path, Progress(step=4), module=members(1)[0], memory=Memory(), plan_digest="d"
    )
    memory = read_checkpoint(path).memory
    assert (memory.swa, memory.swa_count) == (None, 0)
    assert open_mean(memory) == RunningMean()


@pytest.mark.parametrize(
    ("start", "every", "settled"),
    [
        ("75%", "1 epoch", (75, 10)),
        ("2 epochs", "5 steps", (20, 5)),
        ("50 steps", "25%", (50, 25)),
        ("0%", "1 epoch", (10, 10)),  # the pretrained weights are no point
        ("99 steps", "0.01 epochs", (99, 1)),  # less than a step is a step
    ],
)
def test_start_and_interval_in_steps(start, every, settled):
    swa = SWARecipe(start=start, every=every)
    assert settle_swa(swa, steps_per_epoch=10, total_steps=100) == settled


def test_without_a_start_nothing_is_averaged(plan):
    assert settle_swa(SWARecipe(), steps_per_epoch=10, total_steps=100) == (None, None)
    without = replace(plan, swa_start=None, swa_every=None)
    assert swa_steps(without) == ()
    assert not any(takes_weights(without, step) for step in range(20))
    assert not owes_average(without, Progress(step=12))


@pytest.mark.parametrize(
    ("start", "every", "setting"),
    [("100%", "1 epoch", "start"), ("9 epochs", "11 steps", "every"), ("200 steps", "1%", "start")],
)
def test_too_late_or_too_seldom_is_refused(start, every, setting):
    with pytest.raises(PlanError, match="no second point") as caught:
        settle_swa(SWARecipe(start=start, every=every), steps_per_epoch=10, total_steps=100)
    assert caught.value.where == f"optim.swa.{setting}"


def test_points_are_taken_from_the_start_on_and_at_the_end(plan):
    assert swa_steps(plan) == (4, 7, 10, 12)
    assert swa_steps(replace(plan, swa_every=4)) == (4, 8, 12)  # the last one once


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), total=st.integers(2, 40))
def test_the_steps_are_the_ones_that_are_taken(plan, data, total):
    start = data.draw(st.integers(1, total - 1))
    every = data.draw(st.integers(1, total - start))
    other = replace(plan, swa_start=start, swa_every=every, total_steps=total)
    taken = [step for step in range(1, total + 1) if takes_weights(other, step)]
    assert tuple(taken) == swa_steps(other)
    assert len(taken) >= 2
    assert taken[-1] == total


def test_a_mean_of_other_points_is_refused(plan):
    check_mean(plan, Progress(step=3), Memory())
    check_mean(plan, Progress(step=8), Memory(swa={}, swa_count=2))
    # Extended after its end: step 12 was taken as the last one, and is no point of the longer run.
    with pytest.raises(PlanError, match="length of this run changed") as caught:
        check_mean(replace(plan, total_steps=20), Progress(step=12), Memory(swa={}, swa_count=4))
    assert caught.value.found == "4 points in the mean after step 12"
    assert caught.value.allowed.startswith("3 points")


def test_the_average_is_owed_once_training_is_over(plan):
    assert not owes_average(plan, Progress(step=11))
    assert owes_average(plan, Progress(step=12))
    assert not owes_average(plan, Progress(step=12, averaged_at=12))
    assert owes_average(plan, Progress(step=8, ended_early=True))


def test_equal_members_stay_as_they_are_to_the_sign_of_zero():
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-0.0, 0.0], [0.1, -3e-8]]))
    mean = RunningMean()
    for _ in range(3):
        mean.take(module)
    bits = mean.values["weight"].view(torch.int32)
    assert torch.equal(bits, module.weight.detach().view(torch.int32))
