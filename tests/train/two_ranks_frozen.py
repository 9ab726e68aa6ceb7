"""One of two processes: trains a head over kept features and over images, and writes both ends.

Started by `test_two_ranks.py` through torch's launcher.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from hftune.recipe.schema import CacheRecipe, UnfreezeStep
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe


def train_head(folder: Path, features: str) -> None:
    """Train 300 images' worth of a run, whose features take two parts, into `folder`."""
    recipe = tiny_recipe(unfreeze=(UnfreezeStep(at="0%", train=("head",)),))
    settings = CacheRecipe(features=features)
    recipe = replace(
        recipe,
        train=replace(recipe.train, length="2 epochs", batch_size=50, cache=settings),
    )
    world, model, splits = join_world(), tiny_model("test_resnet"), drawn_splits(train=300)
    folder.mkdir(exist_ok=True)
    train(make_plan(recipe, model, splits, world), model, splits, folder)
    state = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    save_file(state, folder / f"rank-{world.rank}.safetensors")


if __name__ == "__main__":
    for name, features in (("kept", "on"), ("live", "off")):
        train_head(Path(sys.argv[1], name), features)
    torch.distributed.destroy_process_group()
