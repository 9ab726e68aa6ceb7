"""What the plan says of kept features is what a run then does."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from hftune.cache_folders import list_entries
from hftune.core import BaseFacts
from hftune.recipe.schema import CacheRecipe, Component, OptimRecipe, UnfreezeStep
from hftune.train.features_ahead import features_ahead
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

CPU = torch.device("cpu")
HEAD = (UnfreezeStep(at="0%", train=("head",)),)
HEAD_THEN_STAGE = (*HEAD, UnfreezeStep(at="50%", train=("head", "stage.-1")))
FLIP = (Component(name="horizontal_flip"),)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path / "cache"))


def recipe_of(unfreeze=HEAD, *, length="4 epochs", augment=(), optim=None, **cache):
    recipe = tiny_recipe(unfreeze=unfreeze)
    return replace(
        recipe,
        data=replace(recipe.data, augment=augment),
        optim=optim or recipe.optim,
        train=replace(recipe.train, length=length, cache=CacheRecipe(**cache)),
    )


def ahead_of(recipe, model=None):
    model, splits = model or tiny_model("test_resnet"), drawn_splits()
    return features_ahead(make_plan(recipe, model, splits, join_world()), model, splits, CPU)


@pytest.mark.parametrize("cache", [{}, {"memory": "1 B"}, {"memory": "1 KiB", "disk": "1 KiB"}])
def test_a_run_keeps_what_was_foreseen(cache, tmp_path, caplog):
    recipe = recipe_of(HEAD_THEN_STAGE, **cache)
    phases = ahead_of(recipe)
    assert list_entries("features") == []
    model, splits = tiny_model("test_resnet"), drawn_splits()
    with caplog.at_level(logging.INFO):
        train(make_plan(recipe, model, splits, join_world()), model, splits, tmp_path)
    done = [line for line in caplog.text.splitlines() if "outputs of " in line]
    for phase in phases:
        for split, text in (("train", phase.train), ("validation", phase.val)):
            images, size, place = text.split(", ", maxsplit=2)
            place = place.replace("mapped from disk", "mapped from ")
            number = images.removesuffix(" images")
            start = f"outputs of {phase.cut} for {number} {split.replace('idation', '')} images"
            if place.startswith("not kept"):
                assert any(f"{start} are {place}" in line for line in done)
            else:
                assert any(f"{start}: {size}, {place}" in line for line in done)
    assert [phase.cut for phase in phases] == ["global_pool", "layer3"]


def test_the_size_is_that_of_all_images_views_and_numbers():
    (phase,) = ahead_of(recipe_of(augment=FLIP, views=2))
    assert (phase.cut, phase.width, phase.dtype) == ("global_pool", 96, "float32")
    assert (phase.start, phase.stop) == (0, 12)
    assert phase.train == "24 images in 2 versions, 18.0 KiB, in memory"  # 24 * 2 * 96 * 4 bytes
    assert phase.val == "11 images, 4.1 KiB, in memory"
    (half,) = ahead_of(recipe_of(dtype="bf16"))
    assert (half.dtype, half.train) == ("bfloat16", "24 images, 4.5 KiB, in memory")


@pytest.mark.parametrize(
    ("recipe", "train", "val"),
    [
        (recipe_of(augment=FLIP), "run in every epoch: images are augmented anew", "11 images"),
        (recipe_of(length="1 epochs"), "run in every epoch: the phase has no more", "run in every"),
        (recipe_of(length="1 epochs", features="on"), "24 images, 9.0 KiB", "run in every eval"),
        (recipe_of(disk="1 KiB"), "24 images, 9.0 KiB, in memory alone", "11 images"),
        (recipe_of(optim=OptimRecipe(lr=1e-3, ema=0.9)), "24 images", "11 images"),
    ],
)
def test_each_reason_not_to_keep_is_said(recipe, train, val):
    phase = ahead_of(recipe)[0]
    assert phase.train.startswith(train)
    assert phase.val.startswith(val)


def test_an_average_that_differs_before_the_cut_is_judged_over_the_images():
    """What trains in a later phase is averaged from the start on."""
    phase, _ = ahead_of(recipe_of(HEAD_THEN_STAGE, optim=OptimRecipe(lr=1e-3, ema=0.9)))
    assert phase.train.startswith("24 images")
    assert phase.val == "run in every evaluation: the averaged weights differ from those that train"


def test_nothing_is_foreseen_where_nothing_may_be_cut_off():
    assert ahead_of(recipe_of(features="off")) == ()
    assert ahead_of(recipe_of((UnfreezeStep(at="0%", train=("all",)),))) == ()


def test_a_model_without_a_cut_is_run_in_every_epoch():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.empty_like(x).uniform_()

    model = tiny_model("test_resnet")
    model.module.layer2.append(Noisy())
    model = replace(model, base=BaseFacts(architecture="noisy", pretrained=False))
    (phase,) = ahead_of(recipe_of(), model)
    assert (phase.cut, phase.width, phase.dtype) == (None, None, None)
    assert phase.train == phase.val == "run in every epoch: no frozen part can be told apart"


def test_the_model_is_left_as_it_is():
    model = tiny_model("test_resnet")
    flags = [value.requires_grad for value in model.module.parameters()]
    modes = [part.training for part in model.module.modules()]
    ahead_of(recipe_of(), model)
    assert [value.requires_grad for value in model.module.parameters()] == flags
    assert [part.training for part in model.module.modules()] == modes
