"""After training: the predictions that are kept are those that the results were computed from."""

import torch

from hftune.metrics import compute_metrics
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
