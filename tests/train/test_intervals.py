"""The interval of each metric of a finished run, from what it said about every image."""

import json

import pytest
import torch

from hftune.train import intervals
from hftune.train.intervals import intervals_of
from hftune.train.predictions import Predictions, write_predictions
from hftune.train.run_facts import read_run

IMAGES = 100


def run_that_said(make_run, logits, targets, *, values, **changes):
    """A finished run that was judged on `logits` for its validation split alone."""
    run = make_run(**changes)
    said = Predictions(split="val", digest="val", logits=logits, targets=targets)
    write_predictions(run, said)
    results = json.loads((run / "results.json").read_text())
    results["evaluations"] = results["evaluations"][:1]
    results["evaluations"][0]["values"] = values
    (run / "results.json").write_text(json.dumps(results))
    return read_run(run)


def of(facts):
    return intervals_of(facts.folder, facts.results, problem=facts.model.problem)


def answers(right):
    """Logits and targets [N] of three classes, the first `right` of which agree."""
    targets = torch.arange(IMAGES) % 3
    chosen = torch.where(torch.arange(IMAGES) < right, targets, (targets + 1) % 3)
    return torch.nn.functional.one_hot(chosen, 3).float(), targets


def test_a_share_has_the_quantiles_of_the_binomial(make_run):
    # Of 100 draws with chance 0.8, 2.5 % give 72 or fewer and 97.5 % give 87 or fewer.
    facts = run_that_said(make_run, *answers(80), values={"accuracy": 0.8})
    interval = of(facts)["val", "accuracy"]
    assert interval.low == pytest.approx(0.72, abs=0.011)
    assert interval.high == pytest.approx(0.87, abs=0.011)


def test_every_metric_of_a_split_has_one_and_it_is_always_the_same(make_run):
    values = {"accuracy": 0.8, "macro_f1": 0.8, "auroc": 0.85}
    facts = run_that_said(make_run, *answers(80), values=values)
    found = of(facts)
    assert set(found) == {("val", name) for name in values}
    assert all(one.low < values[name] < one.high for (_, name), one in found.items())
    assert of(facts) == found


def test_what_no_resample_moves_has_none(make_run):
    facts = run_that_said(make_run, *answers(IMAGES), values={"accuracy": 1.0, "macro_f1": 1.0})
    assert of(facts) == {}


def test_areas_are_left_out_where_sorting_would_take_minutes(make_run, monkeypatch):
    monkeypatch.setattr(intervals, "_MOST_SORTED", 3 * IMAGES - 1)
    facts = run_that_said(make_run, *answers(80), values={"accuracy": 0.8, "auroc": 0.85})
    assert set(of(facts)) == {("val", "accuracy")}


def test_numbers_have_intervals_too(make_run):
    targets = torch.linspace(0, 1, IMAGES, dtype=torch.float64)[:, None]
    logits = (targets + torch.linspace(-0.1, 0.3, IMAGES)[torch.randperm(IMAGES)][:, None]).float()
    values = {"mae": 0.12, "r2": 0.7, "pearson": 0.9, "spearman": 0.9}
    facts = run_that_said(
        make_run, logits, targets, values=values, labels=("x",), problem="regression"
    )
    assert set(of(facts)) == {("val", name) for name in values}


def test_a_run_that_kept_no_predictions_has_none(make_run):
    assert of(read_run(make_run())) == {}
