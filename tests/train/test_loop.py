"""The loop: a run that is stopped and resumed, anywhere, equals one that was not, bit for bit."""

import json
from dataclasses import replace

import pytest
import torch

from hftune.recipe.schema import EvalRecipe, SaveRecipe, TrainRecipe
from hftune.train.checkpoint import CHECKPOINTS, list_checkpoints
from hftune.train.control import Control
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world


def run_it(recipe, model, splits, run):
    plan = make_plan(recipe, model, splits, join_world())
    return plan, train(plan, model, splits, run)


def test_training_lowers_the_loss_and_keeps_the_best(
    make_recipe, make_tiny_model, make_splits, run
):
    recipe = make_recipe(train=TrainRecipe(length="8 epochs", batch_size=8, precision="fp32"))
    plan, progress = run_it(recipe, make_tiny_model(), make_splits(), run)
    assert progress.step == plan.total_steps == 24
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 24
    assert sum(losses[-6:]) < sum(losses[:6])
    evals = [line for line in lines if line["kind"] == "eval"]
    assert [line["num_examples"] for line in evals] == [11] * 8
    best = max(line["values"]["accuracy"] for line in evals)
    assert progress.best_value == best
    assert (run / "best" / "model.safetensors").is_file()


@pytest.mark.parametrize("stop", [1, 4, 5, 8])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_resume_after_a_signal_is_bit_exact(
    stop, ema, make_recipe, make_tiny_model, make_splits, run, tmp_path, head_then_all,
    stop_after, state_of, assert_equal_states,
):  # fmt: skip
    recipe = make_recipe(unfreeze=head_then_all)
    recipe = replace(recipe, optim=replace(recipe.optim, ema=ema))
    splits = make_splits()
    undisturbed = make_tiny_model("test_resnet", drop_rate=0.2)
    other = tmp_path / "undisturbed"
    other.mkdir()
    run_it(recipe, undisturbed, splits, other)

    stop_after(stop)
    model = make_tiny_model("test_resnet", drop_rate=0.2)
    _, progress = run_it(recipe, model, splits, run)
    assert progress.step == stop
    resumed = make_tiny_model("test_resnet", drop_rate=0.2, seed=1)  # other start
    _, progress = run_it(recipe, resumed, splits, run)
    assert progress.step == 9
    assert_equal_states(state_of(resumed), state_of(undisturbed))
    assert (run / "metrics.jsonl").read_text().count('"eval"') == 3


def test_a_stop_during_evaluation_leaves_it_owed(
    make_recipe, make_tiny_model, make_splits, run, monkeypatch
):
    monkeypatch.setattr(Control, "agree_to_stop", lambda _: True)
    recipe = make_recipe()
    splits = make_splits()
    _, progress = run_it(recipe, make_tiny_model(), splits, run)
    assert (progress.step, progress.owes_evaluation) == (3, True)
    monkeypatch.undo()
    _, progress = run_it(recipe, make_tiny_model(seed=1), splits, run)
    assert (progress.step, progress.owes_evaluation) == (9, False)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [3, 6, 9]


def test_an_owed_evaluation_is_told_once_though_a_kill_came_after_it(
    make_recipe, make_tiny_model, make_splits, run, monkeypatch
):
    monkeypatch.setattr(Control, "agree_to_stop", lambda _: True)
    recipe, splits = make_recipe(), make_splits()
    run_it(recipe, make_tiny_model(), splits, run)
    monkeypatch.undo()
    # What a life has written by then that makes the evaluation up and dies before its checkpoint.
    told = {"kind": "eval", "step": 3, "split": "val", "loss": 1.0, "values": {}}
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(told) + "\n")
    run_it(recipe, make_tiny_model(seed=1), splits, run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [3, 6, 9]
    assert told not in lines


def test_the_last_evaluation_is_made_up_for(make_recipe, make_tiny_model, make_splits, run):
    recipe, splits = make_recipe(), make_splits()
    calls = []
    agree = Control.agree_to_stop

    def third(self):
        calls.append(1)
        return agree(self) or len(calls) == 5  # two rounds each: the third evaluation's first

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Control, "agree_to_stop", third)
        _, progress = run_it(recipe, make_tiny_model(), splits, run)
    assert (progress.step, progress.owes_evaluation) == (9, True)
    _, progress = run_it(recipe, make_tiny_model(), splits, run)
    assert not progress.owes_evaluation
    assert (run / "metrics.jsonl").read_text().count('"eval"') == 3


def test_a_finished_run_is_left_alone(make_recipe, make_tiny_model, make_splits, run):
    recipe, splits = make_recipe(), make_splits()
    run_it(recipe, make_tiny_model(), splits, run)
    before = (run / "metrics.jsonl").read_text()
    _, progress = run_it(recipe, make_tiny_model(seed=3), splits, run)
    assert progress.step == 9
    assert (run / "metrics.jsonl").read_text() == before


def test_patience_ends_a_run_early_and_for_good(make_recipe, make_tiny_model, make_splits, run):
    recipe = make_recipe(
        optim=replace(make_recipe().optim, lr=1e-12),  # nothing can improve
        eval=EvalRecipe(every="1 steps", best="accuracy", patience=2),
    )
    splits = make_splits()
    _, progress = run_it(recipe, make_tiny_model(), splits, run)
    assert progress.ended_early
    assert progress.step == 3  # the first is the best; two without a gain
    _, again = run_it(recipe, make_tiny_model(), splits, run)
    assert again.step == 3


def test_checkpoints_come_at_their_interval_and_are_pruned(
    make_recipe, make_tiny_model, make_splits, run
):
    recipe = make_recipe(save=SaveRecipe(every="2 steps", keep=2))
    run_it(recipe, make_tiny_model(), make_splits(), run)
    kept = [path.name for path in list_checkpoints(run / CHECKPOINTS)]
    assert kept == ["step-00000008", "step-00000009"]


def test_a_frozen_body_stays_bit_identical(
    make_recipe, make_tiny_model, make_splits, run, head_then_all, state_of
):
    recipe = make_recipe(unfreeze=head_then_all[:1])
    model = make_tiny_model("test_resnet")
    before = state_of(model)
    run_it(recipe, model, make_splits(), run)
    after = state_of(model)
    head = [name for name in before if model.layers.role[name] == "head"]
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert sorted(moved) == sorted(head)
