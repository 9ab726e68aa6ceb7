"""fp16 and bf16 on a real device; skipped where there is none."""

import json
from dataclasses import replace

import pytest
import torch

from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_in_each_precision_follows_fp32(precision, tmp_path):
    losses = {}
    for wanted in ("fp32", precision):
        run = tmp_path / f"{precision}-{wanted}"
        run.mkdir()
        recipe = tiny_recipe()
        recipe = replace(recipe, train=replace(recipe.train, precision=wanted))
        model = tiny_model("test_resnet")
        plan = make_plan(recipe, model, drawn_splits(), join_world())
        progress = train(plan, model, drawn_splits(), run)
        assert progress.step == plan.total_steps
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses[wanted] = [line["loss"] for line in lines if line["kind"] == "train"]
    # Half precision keeps 8 to 11 bits of each product; nine steps stay within a few percent.
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.1, abs=0.05)
