"""The end of a run with optim.swa: what is judged, kept and recorded, wherever it was stopped."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, update_bn

from hftune.core import Progress
from hftune.recipe.schema import EvalRecipe, SWARecipe, TrainRecipe
from hftune.train.average import RunningMean
from hftune.train.average_end import finish_average
from hftune.train.average_record import read_average_record
from hftune.train.batch_norm import statistics_batches
from hftune.train.best import BestOutputs
from hftune.train.checkpoint import CHECKPOINTS, Memory, newest_checkpoint
from hftune.train.control import Control
from hftune.train.evaluate import Outputs, make_judge
from hftune.train.guides import Guides
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.surroundings import Surroundings
from hftune.train.tracking import Tracking
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits


@pytest.fixture
def swa_recipe(make_recipe):
    """Nine steps, of which the weights after 5, 7 and 9 are averaged; judged by the loss."""

    def make(**changes):
        recipe = make_recipe(
            train=TrainRecipe(length="9 steps", batch_size=8, precision="fp32"),
            eval=EvalRecipe(every="3 steps", best="loss"),
        )
        swa = SWARecipe(start="5 steps", every="2 steps")
        return replace(recipe, optim=replace(recipe.optim, swa=swa, lr=3e-3), **changes)

    return make


@pytest.fixture
def finish(make_splits, run):
    """Give the end of a run of which three points, drawn around a model, were taken."""

    def do(recipe, model, best_value, best=None):
        splits = make_splits()
        plan = make_plan(recipe, model, splits, join_world())
        accelerator = make_accelerator("fp32")
        mean = RunningMean()
        for member in members_around(plan, model):
            mean.take(member)
        progress = Progress(step=9, best_value=best_value, best_step=3, owes_evaluation=False)
        judge = make_judge(accelerator, recipe, model, labels=splits.labels)
        with (
            Control(accelerator, plan) as control,
            Tracking(run, plan, accelerator, start=progress, bad=judge.bad) as track,
        ):
            around = Surroundings(
                run=run, train=splits.train, val=splits.val, judge=judge, guides=Guides(),
                control=control, track=track, best=best or BestOutputs(),
            )  # fmt: skip
            memory = Memory(swa=mean.values, swa_count=mean.count)
            assert finish_average(plan, model, progress=progress, memory=memory, around=around)
        return progress, list(statistics_batches(splits.train, judge, recipe))

    return do


def members_around(plan, model):
    """Give three modules whose parameters that train are those of `model`, moved."""
    torch.manual_seed(3)
    trainable = set().union(*(phase.trainable for phase in plan.phases))
    for _ in range(3):
        member = copy.deepcopy(model.module)
        for name, value in member.named_parameters():
            if name in trainable:
                value.data += 0.05 * torch.randn_like(value)
        yield member


def run_it(recipe, model, splits, run):
    plan = make_plan(recipe, model, splits, join_world())
    return plan, train(plan, model, splits, run)


def lines(run, kind):
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry for entry in entries if entry["kind"] == kind]


def best_weights(run):
    return load_file(run / "best" / "model.safetensors")


def test_the_best_weights_become_those_of_torch(swa_recipe, make_tiny_model, finish, run):
    model = make_tiny_model("test_resnet")
    recipe = swa_recipe()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    progress, batches = finish(recipe, model, best_value=99.0)
    assert read_average_record(run).chosen
    assert (progress.best_step, progress.averaged_at) == (9, 9)
    assert progress.best_value == read_average_record(run).value

    plan = make_plan(recipe, model, drawn_splits(), join_world())
    reference = AveragedModel(model.module)
    for member in members_around(plan, model):
        reference.update_parameters(member)
    update_bn(batches, reference)
    best = best_weights(run)
    for name, value in reference.module.state_dict().items():
        torch.testing.assert_close(best[name], value, rtol=1e-4, atol=1e-5)
    # The run itself could still go on from its own weights.
    kept = newest_checkpoint(run / CHECKPOINTS)
    assert kept.progress == progress
    for name, value in before.items():
        assert torch.equal(kept.weights[name], value)


def test_better_weights_are_left_alone(swa_recipe, make_tiny_model, finish, run):
    progress, _ = finish(swa_recipe(), make_tiny_model("test_vit"), best_value=1e-3)
    record = read_average_record(run)
    assert (record.chosen, record.best_single, record.points) == (False, 1e-3, (5, 7, 9))
    assert (progress.best_value, progress.best_step, progress.averaged_at) == (1e-3, 3, 9)
    assert not (run / "best").exists()
    (line,) = lines(run, "average")
    assert line["loss"] == record.value > 1e-3


def test_what_other_weights_said_is_not_taken_for_what_the_mean_says(
    swa_recipe, make_tiny_model, finish
):
    asked = Outputs(logits=torch.zeros(1, 3), targets=torch.zeros(1))  # at the very last step
    for best_value, is_replaced in ((99.0, True), (1e-3, False)):
        best = BestOutputs(outputs=asked, step=9)
        finish(swa_recipe(), make_tiny_model("test_vit"), best_value=best_value, best=best)
        assert (best.at(9) is not asked) == is_replaced


def test_an_end_that_was_killed_before_its_checkpoint_does_the_same_again(
    swa_recipe, make_tiny_model, finish, run
):
    def once():
        progress, _ = finish(swa_recipe(), make_tiny_model("test_resnet"), best_value=99.0)
        return progress, read_average_record(run), best_weights(run), lines(run, "average")

    first, second = once(), once()  # the second starts from the progress that the first had
    assert (first[0], first[1], first[3]) == (second[0], second[1], second[3])
    assert len(second[3]) == 1
    assert all(torch.equal(value, second[2][name]) for name, value in first[2].items())


def test_frozen_layers_keep_their_statistics(
    swa_recipe, make_tiny_model, finish, run, head_then_all, state_of
):
    model = make_tiny_model("test_resnet")
    before = state_of(model)
    finish(swa_recipe(unfreeze=head_then_all[:1]), model, best_value=99.0)
    best = best_weights(run)
    moved = [name for name in before if not torch.equal(before[name], best[name])]
    assert sorted(moved) == ["fc.bias", "fc.weight"]


def test_a_run_ends_with_its_mean_judged(swa_recipe, make_tiny_model, make_splits, run):
    _, progress = run_it(swa_recipe(), make_tiny_model("test_resnet"), make_splits(), run)
    assert progress.averaged_at == progress.step == 9
    (line,) = lines(run, "average")
    assert (line["step"], line["points"], line["split"]) == (9, 3, "val")
    singles = [entry["loss"] for entry in lines(run, "eval")]
    record = read_average_record(run)
    assert record.points == (5, 7, 9)
    assert (record.metric, record.value, record.best_single) == ("loss", line["loss"], min(singles))
    assert record.chosen == (line["loss"] < min(singles))
    assert progress.best_value == min(*singles, line["loss"])


def test_stopped_while_the_mean_is_judged_it_is_done_again(
    swa_recipe, make_tiny_model, make_splits, run
):
    recipe, splits = swa_recipe(), make_splits()
    calls = []
    agree = Control.agree_to_stop

    def late(self):
        calls.append(1)
        return agree(self) or len(calls) > 8  # three evaluations of two rounds come before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Control, "agree_to_stop", late)
        _, progress = run_it(recipe, make_tiny_model("test_resnet"), splits, run)
    assert len(calls) == 9  # the third round of the statistics
    assert (progress.step, progress.averaged_at) == (9, None)
    assert lines(run, "average") == []
    _, progress = run_it(recipe, make_tiny_model("test_resnet", seed=1), splits, run)
    assert progress.averaged_at == 9
    assert len(lines(run, "average")) == 1
    assert len(lines(run, "train")) == 9


def test_ended_early_before_the_second_point_there_is_no_average(
    swa_recipe, make_tiny_model, make_splits, run, caplog
):
    recipe = swa_recipe(eval=EvalRecipe(every="1 steps", best="accuracy", patience=2))
    recipe = replace(recipe, optim=replace(recipe.optim, lr=1e-12))  # nothing can improve
    splits = make_splits()
    for _ in range(2):  # the second time it is a finished run
        _, progress = run_it(recipe, make_tiny_model(), splits, run)
    assert (progress.ended_early, progress.step, progress.averaged_at) == (True, 3, 3)
    assert read_average_record(run) is None
    assert [r.message for r in caplog.records if "no average" in r.message] == [
        "no average: training ended after step 3, before the second point at step 7"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 5, 6, 9])
def test_stopped_around_the_points_it_ends_bit_equal(
    stop, swa_recipe, make_tiny_model, make_splits, run, tmp_path, head_then_all,
    assert_equal_states, stop_after,
):  # fmt: skip
    recipe, splits = swa_recipe(unfreeze=head_then_all), make_splits()
    other = tmp_path / "undisturbed"
    other.mkdir()
    run_it(recipe, make_tiny_model("test_resnet", drop_rate=0.2), splits, other)

    stop_after(stop)
    _, progress = run_it(recipe, make_tiny_model("test_resnet", drop_rate=0.2), splits, run)
    assert (progress.step, progress.averaged_at) == (stop, None)
    again = make_tiny_model("test_resnet", drop_rate=0.2, seed=1)
    _, progress = run_it(recipe, again, splits, run)
    assert progress.averaged_at == 9
    mine, undisturbed = (newest_checkpoint(folder / CHECKPOINTS) for folder in (run, other))
    assert mine.memory.swa_count == 3
    assert_equal_states(mine.memory.swa, undisturbed.memory.swa)
    assert_equal_states(best_weights(run), best_weights(other))
    assert read_average_record(run) == read_average_record(other)
    assert lines(run, "average") == lines(other, "average")
