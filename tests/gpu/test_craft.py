"""The craft in fp16 on a device: unscaled pulls and clips, phases, mixing, memory."""

from dataclasses import replace

import pytest
import torch

from hftune.recipe.schema import (
    Component,
    L2SPRecipe,
    MixRecipe,
    OptimRecipe,
    TrainRecipe,
    UnfreezeStep,
)
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def trained(recipe, folder, architecture="test_resnet"):
    folder.mkdir()
    model, splits = tiny_model(architecture), drawn_splits()
    plan = make_plan(recipe, model, splits, join_world())
    progress = train(plan, model, splits, folder)
    return {n: v.float().cpu() for n, v in model.module.state_dict().items()}, progress


def crafted(precision: str, *, length: str = "3 epochs"):
    recipe = tiny_recipe(
        optim=OptimRecipe(
            lr=1e-3,
            weight_decay=0.0,
            schedule=Component(name="constant"),
            l2_sp=L2SPRecipe(strength=10.0),
            clip_norm=1.0,
        ),
        unfreeze=(
            UnfreezeStep(at="0%", train=("head",)),
            UnfreezeStep(at="50%", train=("all",), lr_factor=0.5),
        ),
        train=TrainRecipe(length=length, batch_size=8, precision=precision),
    )
    return replace(recipe, data=replace(recipe.data, mix=MixRecipe(mixup=0.4, draw="pair")))


def test_the_pull_is_as_strong_in_fp16_as_in_fp32(tmp_path):
    """A pull added to gradients that are still scaled would be thousands of times too weak."""
    half, progress = trained(crafted("fp16"), tmp_path / "half")
    full, _ = trained(crafted("fp32"), tmp_path / "full")
    assert progress.step == 9
    for name, value in full.items():
        if value.is_floating_point():
            assert torch.allclose(half[name], value, atol=2e-2), name


def test_a_run_of_phases_resumes_in_fp16(tmp_path):
    recipe = crafted("fp16")
    trained(recipe, tmp_path / "whole")
    folder = tmp_path / "parts"
    folder.mkdir()
    for length in ("3 steps", "3 epochs"):
        part = replace(recipe, train=replace(recipe.train, length=length))
        part = replace(part, unfreeze=(UnfreezeStep(at="0%", train=("all",)),))
        model, splits = tiny_model("test_resnet"), drawn_splits()
        progress = train(make_plan(part, model, splits, join_world()), model, splits, folder)
    assert progress.step == 9


def test_a_frozen_body_takes_less_memory(tmp_path):
    peaks = {}
    for name in ("head", "all"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        recipe = replace(crafted("fp16"), unfreeze=(UnfreezeStep(at="0%", train=(name,)),))
        trained(recipe, tmp_path / name, "test_vit")
        peaks[name] = torch.cuda.max_memory_allocated()
    assert peaks["head"] < peaks["all"]
