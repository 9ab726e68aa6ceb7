"""After training: the predictions that are kept are those that the results were computed from."""

import torch

from hftune.metrics import compute_metrics
from hftune.train.best import BestOutputs
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.predictions import read_predictions
from hftune.train.results import judge_best
from hftune.train.run_facts import read_results_record
from hftune.train.world import join_world


def test_the_kept_predictions_give_the_reported_metrics(
    make_recipe, make_tiny_model, make_splits, run
):
    recipe, model, splits = make_recipe(), make_tiny_model(), make_splits()
    plan = make_plan(recipe, model, splits, join_world())
    progress = train(plan, model, splits, run)
    record = judge_best(plan, model, splits, run=run, progress=progress)
    assert read_results_record(run) == record
    for split in (splits.val, splits.test):
        kept = read_predictions(run, split.name)
        assert kept is not None
        assert kept.digest == split.digest
        assert torch.equal(kept.targets, torch.as_tensor(split.rows.targets))
        result = record.of(split.name)
        values = compute_metrics(
            tuple(result.values), kept.logits, kept.targets, splits.labels, problem=recipe.problem
        )
        assert values.values == result.values


def test_what_the_best_said_while_training_is_what_it_says_at_the_end(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    records = []
    for name, best in (("asked", None), ("kept", BestOutputs())):
        recipe, model, splits = make_recipe(), make_tiny_model(), make_splits()
        plan = make_plan(recipe, model, splits, join_world())
        progress = train(plan, model, splits, tmp_path / name, best=best)
        if best is not None:
            assert best.at(progress.best_step) is not None
            assert best.at(progress.best_step + 1) is None
        record = judge_best(plan, model, splits, run=tmp_path / name, progress=progress, best=best)
        kept = read_predictions(tmp_path / name, "val")
        records.append((record.evaluations, kept.logits))
    (evaluations, logits), (kept_evaluations, kept_logits) = records
    assert kept_evaluations == evaluations
    assert torch.equal(kept_logits, logits)
