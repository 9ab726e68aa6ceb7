"""The plan: every number settled, every impossible one refused before training."""

from dataclasses import replace

import pytest

from hftune.errors import DeviceError, PlanError
from hftune.recipe.schema import Component, EvalRecipe, SaveRecipe, TrainRecipe
from hftune.train.plan import make_plan, settle_micro_batch
from hftune.train.world import choose_precision, join_world


def test_spans_become_whole_steps(make_recipe, make_tiny_model, make_splits, head_then_all):
    recipe = make_recipe(
        unfreeze=head_then_all,
        train=TrainRecipe(length="2.5 epochs", batch_size=5, precision="fp32"),
        eval=EvalRecipe(every="50%"),
        save=SaveRecipe(every="3 steps"),
    )
    plan = make_plan(recipe, make_tiny_model(), make_splits(train=24), join_world())
    assert plan.steps_per_epoch == 4  # the 4 images left over differ each epoch
    assert plan.total_steps == 10
    assert plan.eval_every == 5
    assert (plan.save_every, plan.save_seconds) == (3, None)
    assert [(phase.start, phase.stop) for phase in plan.phases] == [(0, 5), (5, 10)]


def test_the_digest_follows_the_data_and_not_the_machine(make_recipe, make_tiny_model, make_splits):
    model, world = make_tiny_model(), join_world()
    digests = {
        make_plan(make_recipe(), model, splits, world).digest
        for splits in (make_splits(), make_splits(), make_splits(val=9))
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("batch_size", "micro", "world_size", "expected"),
    [(32, None, 1, 32), (32, None, 4, 8), (32, 4, 2, 4), (1, None, 1, 1)],
)
def test_micro_batches_fill_the_global_batch(batch_size, micro, world_size, expected):
    recipe = TrainRecipe(batch_size=batch_size, micro_batch_size=micro)
    assert settle_micro_batch(recipe, world_size) == expected


@pytest.mark.parametrize(
    ("batch_size", "micro", "world_size", "allowed"),
    [(32, 5, 2, "1, 2, 4, 8, 16"), (30, None, 4, "28, 32"), (2, None, 4, "4, 8")],
)
def test_a_batch_that_does_not_divide_lists_what_fits(batch_size, micro, world_size, allowed):
    with pytest.raises(PlanError) as caught:
        settle_micro_batch(TrainRecipe(batch_size=batch_size, micro_batch_size=micro), world_size)
    assert allowed in caught.value.allowed


def test_a_batch_larger_than_the_split_is_refused(make_recipe, make_tiny_model, make_splits):
    recipe = make_recipe(train=TrainRecipe(batch_size=64, precision="fp32"))
    with pytest.raises(PlanError, match="more images than the training split has"):
        make_plan(recipe, make_tiny_model(), make_splits(train=24), join_world())


def test_fp16_on_a_cpu_is_refused_with_the_remedy():
    import torch

    with pytest.raises(DeviceError) as caught:
        choose_precision("fp16", torch.device("cpu"))
    assert "train.precision=auto" in caught.value.remedy
    assert choose_precision("auto", torch.device("cpu")) == "fp32"


def test_spans_of_the_schedule_are_judged_by_the_length_of_the_run(
    make_recipe, make_tiny_model, make_splits
):
    recipe = make_recipe(train=TrainRecipe(length="300 steps", batch_size=5, precision="fp32"))
    warm = Component(name="cosine", options={"warmup": "150 steps"})
    recipe = replace(recipe, optim=replace(recipe.optim, schedule=warm))
    model, splits = make_tiny_model(), make_splits()
    assert make_plan(recipe, model, splits, join_world()).total_steps == 300
    short = replace(recipe, train=replace(recipe.train, length="100 steps"))
    with pytest.raises(PlanError, match="leaves no step"):
        make_plan(short, model, splits, join_world())


def test_options_of_the_loss_are_judged_by_the_number_of_classes(
    make_recipe, make_tiny_model, make_splits
):
    loss = Component(name="focal", options={"alpha": [0.1, 0.2, 0.3]})
    with pytest.raises(PlanError, match="one number for each class"):
        make_plan(make_recipe(loss=loss), make_tiny_model(), make_splits(), join_world())
