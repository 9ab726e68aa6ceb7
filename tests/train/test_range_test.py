"""The range test: what it measures, and that it leaves no trace."""

import importlib
import json
import random
import sys

import numpy as np
import pytest
import torch

from hftune.errors import RequestError
from hftune.optim.rate_range import RateRange
from hftune.recipe.schema import Component, OptimRecipe, TrainRecipe, UnfreezeStep
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.range_test import range_test
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

SHORT = RateRange(lowest=1e-6, highest=1e-2, steps=12)


def planned(model, **changes):
    splits = drawn_splits()
    return make_plan(tiny_recipe(**changes), model, splits, join_world()), splits


def flags(module):
    return {name: (value.requires_grad, value.grad) for name, value in module.named_parameters()}


def training_losses(run):
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if entry["kind"] == "train"]


def test_the_model_and_all_randomness_stay_as_they_were(state_of, assert_equal_states):
    model = tiny_model("test_resnet", drop_rate=0.3)
    plan, splits = planned(model, unfreeze=(UnfreezeStep(train=("head",)),))
    model.module.eval()
    before, flags_before = state_of(model), flags(model.module)
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    range_test(plan, model, splits.train, SHORT)
    assert_equal_states(before, state_of(model))
    assert flags(model.module) == flags_before
    assert not model.module.training
    after = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    assert after == states


def test_a_training_after_it_is_bit_equal_to_one_without(tmp_path, state_of, assert_equal_states):
    states, losses = [], []
    for tested in (False, True):
        model = tiny_model("test_resnet", drop_rate=0.3)
        plan, splits = planned(model, train=TrainRecipe(length="1 epoch", batch_size=8))
        run = tmp_path / str(tested)
        run.mkdir()
        if tested:
            range_test(plan, model, splits.train, SHORT)
            assert list(run.iterdir()) == []
        train(plan, model, splits, run)
        states.append(state_of(model))
        losses.append(training_losses(run))
    assert_equal_states(*states)
    assert losses[0] == losses[1]


def test_it_takes_the_steps_of_the_recipes_own_training(tmp_path, state_of):
    # With a constant rate and no warm-up a run's losses are those of a range too narrow to matter.
    optim = OptimRecipe(lr=1e-3, schedule=Component(name="constant"), clip_norm=1.0)
    model = tiny_model()
    plan, splits = planned(
        model, optim=optim, train=TrainRecipe(length="12 steps", batch_size=8, micro_batch_size=4)
    )
    narrow = RateRange(lowest=1e-3, highest=1e-3 * (1 + 1e-9), steps=12)
    curve = range_test(plan, model, splits.train, narrow)
    run = tmp_path / "run"
    run.mkdir()
    train(plan, model, splits, run)
    assert list(curve.losses) == pytest.approx(training_losses(run), rel=1e-4)


def test_it_ends_early_when_the_loss_diverges():
    model = tiny_model()
    optim = OptimRecipe(lr=1e-3, method=Component(name="sgd"), weight_decay=0)
    plan, splits = planned(model, optim=optim)
    curve = range_test(plan, model, splits.train, RateRange(lowest=1e-3, highest=1e6, steps=30))
    assert curve.ends_early
    assert len(curve.rates) == len(curve.losses) == len(curve.smooth) < 30
    assert np.isfinite(curve.losses).all()


NOTING = """\
import torch

NOTED = []


class Noting(torch.optim.SGD):
    def step(self, closure=None):
        NOTED.append({group["label"]: group["lr"] for group in self.param_groups})
        return super().step(closure)


def noting(groups):
    return Noting(groups)
"""


@pytest.fixture
def noting(tmp_path, monkeypatch):
    """An optimizer of one's own, and the rates of the groups at each of its steps."""
    (tmp_path / "noting_optimizer.py").write_text(NOTING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("noting_optimizer")
    yield Component(name="noting_optimizer:noting"), module.NOTED
    del sys.modules["noting_optimizer"]


def test_every_group_keeps_its_multiple_and_a_rate_of_its_own(noting):
    method, noted = noting
    optim = OptimRecipe(
        lr=1e-3,
        lr_batch_size=16,  # the run's batch is 8: rates as written are halved
        rates={"head": "3x", "norm": 1e-4},
        method=method,
        schedule=Component(name="cosine", options={"warmup": "5 steps"}),
    )
    first = UnfreezeStep(train=("all",), lr_factor=0.5, warmup="2 steps")
    model = tiny_model()
    plan, splits = planned(model, optim=optim, unfreeze=(first,))
    range_test(plan, model, splits.train, SHORT)
    expected = [
        {"main": 0.5 * rate, "head": 1.5 * rate, "norm": 0.5 * 0.5 * 1e-4} for rate in SHORT.rates()
    ]
    found = [
        {label.removesuffix(", no decay"): rate for label, rate in rates.items()} for rates in noted
    ]
    assert [sorted(rates) for rates in found] == [["head", "main", "norm"]] * 12
    for rates, wanted in zip(found, expected, strict=True):
        assert rates == pytest.approx(wanted, rel=1e-9)


def test_without_a_group_that_follows_the_peak_there_is_nothing_to_find():
    model = tiny_model()
    plan, splits = planned(model, optim=OptimRecipe(rates={"all": 1e-3}))
    with pytest.raises(RequestError, match="every group of the first phase has one of its own"):
        range_test(plan, model, splits.train, SHORT)


def test_a_run_shorter_than_the_range_is_gone_through_again():
    model = tiny_model()
    plan, splits = planned(model, train=TrainRecipe(length="2 steps", batch_size=8))
    curve = range_test(plan, model, splits.train, SHORT)
    assert curve.rates == SHORT.rates()
