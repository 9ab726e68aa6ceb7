"""Rates do not depend on how many processes share the work, or on how the batch is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.optim.rate import phase_multiplier
from hftune.optim.schedules import SCHEDULES
from hftune.recipe.schema import Component, OptimRecipe, TrainRecipe, UnfreezeStep
from hftune.train.plan import make_plan, plan_schedule
from hftune.train.world import World
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

NEEDED = {"step": {"every": "1 epoch"}, "multi_step": {"milestones": ["60%", "2.5 epochs"]}}
PHASES = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="1 epoch", train=("all",), lr_factor=0.3, warmup="2 steps"),
)


@pytest.fixture(scope="module")
def model():
    return tiny_model("test_resnet")


def curve(recipe, model, splits, *, processes):
    world = World(rank=0, size=processes, local_rank=0, device=torch.device("cpu"))
    plan = make_plan(recipe, model, splits, world)
    schedule = plan_schedule(plan)
    return [
        plan.peak_lr * schedule(step) * phase_multiplier(phase, step)
        for phase in plan.phases
        for step in range(phase.start, phase.stop)
    ]


@settings(deadline=None, max_examples=12)
@given(
    name=st.sampled_from(list(SCHEDULES)),
    warmup=st.sampled_from(["0%", "10%", "2 steps", "0.5 epochs"]),
    length=st.sampled_from(["3 epochs", "17 steps"]),
    rows=st.integers(40, 60),
)
def test_one_two_and_four_processes_have_equal_curves(model, name, warmup, length, rows):
    splits = drawn_splits(train=rows)
    options = NEEDED.get(name, {}) | {"warmup": warmup}
    optim = OptimRecipe(lr=0.01, lr_batch_size=32, schedule=Component(name=name, options=options))
    curves = [
        curve(
            tiny_recipe(
                optim=optim,
                unfreeze=PHASES,
                train=TrainRecipe(length=length, batch_size=8, micro_batch_size=micro),
            ),
            model,
            splits,
            processes=processes,
        )
        for processes, micro in ((1, None), (1, 2), (2, None), (2, 1), (4, None), (4, 1))
    ]
    assert curves[0] == curves[1] == curves[2] == curves[3] == curves[4] == curves[5]
    assert max(curves[0]) <= 0.01 * 8 / 32
