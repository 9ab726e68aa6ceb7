"""The mathematics of a step: the same gradients however the batch is cut."""

import torch

from hftune.optim.schedules import make_schedule
from hftune.recipe.schema import TrainRecipe
from hftune.train.guides import Guides
from hftune.train.plan import make_plan
from hftune.train.session import Memory, open_session
from hftune.train.step import micro_batch_seed, train_step
from hftune.train.world import join_world, make_accelerator

# Sums of floats in another order: about 1e-7 of the largest value per addition.
TOLERANCE = 2e-6


def step_once(recipe, model, splits):
    plan = make_plan(recipe, model, splits, join_world())
    session = open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(),
    )  # fmt: skip
    micro_batches = next(session.batches(0, 1))
    stats = train_step(session, micro_batches, step=0)
    grads = {
        name: session.optimizer.optimizer.state[value]["exp_avg"].clone()
        for name, value in model.module.named_parameters()
    }
    session.close()
    return len(micro_batches), stats, grads


def test_accumulation_gives_the_gradient_of_the_whole_batch(
    make_recipe, make_tiny_model, make_splits
):
    splits = make_splits()
    seen = {}
    for micro in (16, 4, 1):
        recipe = make_recipe(
            train=TrainRecipe(batch_size=16, micro_batch_size=micro, precision="fp32")
        )
        seen[micro] = step_once(recipe, make_tiny_model("test_vit"), splits)
    assert [seen[micro][0] for micro in (16, 4, 1)] == [1, 4, 16]
    for micro in (4, 1):
        assert torch.allclose(seen[micro][1].loss, seen[16][1].loss, atol=TOLERANCE)
        for name, grad in seen[16][2].items():
            assert torch.allclose(seen[micro][2][name], grad, atol=TOLERANCE), name


def test_the_rate_is_written_per_group_before_the_step(make_recipe, make_tiny_model, make_splits):
    recipe = make_recipe()
    recipe = make_recipe(optim=type(recipe.optim)(lr=0.01, rates={"head": "3x"}))
    model, splits = make_tiny_model(), make_splits()
    plan = make_plan(recipe, model, splits, join_world())
    session = open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(),
    )  # fmt: skip
    train_step(session, next(session.batches(4, 5)), step=4)
    schedule = make_schedule(
        recipe.optim.schedule, total_steps=plan.total_steps, steps_per_epoch=plan.steps_per_epoch
    )
    rates = {group["lr"] for group in session.optimizer.param_groups}
    expected = 0.01 * schedule(4)
    assert sorted(rates) == [expected, expected * 3.0]
    session.close()


def test_a_seed_depends_on_every_part():
    draws = set()
    for seed in (0, 1, 2):
        for step in (0, 1, 2):
            for part in (0, 1, 2):
                torch.manual_seed(micro_batch_seed(seed, step=step, part=part))
                draws.add(torch.rand(()).item())
    assert len(draws) == 27
