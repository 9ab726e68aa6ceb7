"""What is asked of the disk is what a run writes to it, and a little more."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hftune.core import RunPlan
from hftune.errors import DiskError
from hftune.recipe.schema import Component, OptimRecipe, SaveRecipe, SWARecipe, UnfreezeStep
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.run_folder import write_run_facts
from hftune.train.space import check_space, checkpoint_bytes, run_bytes
from hftune.train.world import join_world

OPTIMIZERS = {
    "adamw": OptimRecipe(),
    "sgd": OptimRecipe(method=Component(name="sgd"), lr=1e-2),
    "averaged": OptimRecipe(ema=0.9, swa=SWARecipe(start="1 epoch", every="1 epoch")),
}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_estimate_is_what_a_run_writes_and_at_most_a_quarter_more(
    name, make_recipe, make_tiny_model, make_splits, tmp_path
):
    recipe = make_recipe(optim=OPTIMIZERS[name], save=SaveRecipe(every="1 steps", keep=2))
    # Wide enough that weights outweigh records, as they do in every real run.
    model, splits = make_tiny_model("test_vit3"), make_splits()
    plan = make_plan(recipe, model, splits, join_world())
    checkpoint, estimate = checkpoint_bytes(model, plan), run_bytes(model, plan, splits)
    write_run_facts(tmp_path, plan, model, splits, world=join_world())
    train(plan, model, splits, tmp_path)

    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert len(kept) == 2
    assert size_of(kept[-1]) <= checkpoint <= 1.25 * size_of(kept[-1])
    # The third checkpoint is there while it is written; the artifact is as large as the best.
    while_saving = size_of(tmp_path) + size_of(kept[-1])
    while_packing = size_of(tmp_path) + size_of(tmp_path / "best")
    written = max(while_saving, while_packing)
    assert written <= estimate <= 1.25 * written


def test_the_largest_phase_counts(make_recipe, make_tiny_model, make_splits):
    def plan_of(*steps: UnfreezeStep) -> RunPlan:
        return make_plan(make_recipe(unfreeze=steps), model, splits, join_world())

    model, splits = make_tiny_model(), make_splits()
    head = plan_of(UnfreezeStep(at="0%", train=("head",)))
    both = plan_of(UnfreezeStep(at="0%", train=("head",)), UnfreezeStep(at="50%", train=("all",)))
    everything = plan_of(UnfreezeStep(at="0%", train=("all",)))
    assert checkpoint_bytes(model, both) == checkpoint_bytes(model, everything)
    assert checkpoint_bytes(model, head) < 0.5 * checkpoint_bytes(model, everything)


def test_a_run_that_cannot_fit_is_refused(make_recipe, make_tiny_model, make_splits, tmp_path):
    model, splits = make_tiny_model(), make_splits()
    recipe = make_recipe(save=SaveRecipe(keep=10**12))
    plan = make_plan(recipe, model, splits, join_world())
    with pytest.raises(DiskError) as caught:
        check_space(tmp_path / "runs" / "big", model=model, plan=plan, splits=splits)
    assert "no room for the checkpoints" in caught.value.problem
    assert "free" in str(caught.value.found)
    assert "or more" in str(caught.value.allowed)
    assert not (tmp_path / "runs").exists()


def test_what_the_run_holds_already_is_not_asked_for_again(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    model, splits = make_tiny_model(), make_splits()
    plan = make_plan(make_recipe(), model, splits, join_world())
    keep = shutil.disk_usage(tmp_path).free // checkpoint_bytes(model, plan) + 10
    plan = replace(plan, recipe=make_recipe(save=SaveRecipe(keep=keep)))
    with pytest.raises(DiskError):
        check_space(tmp_path, model=model, plan=plan, splits=splits)
    held = tmp_path / "checkpoints" / "step-00000001" / "model.safetensors"
    held.parent.mkdir(parents=True)
    with held.open("wb") as stream:  # a file with a hole takes no room
        stream.truncate(run_bytes(model, plan, splits))
    check_space(tmp_path, model=model, plan=plan, splits=splits)


def test_a_folder_that_cannot_be_written_is_found(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    model, splits = make_tiny_model(), make_splits()
    plan = make_plan(make_recipe(), model, splits, join_world())
    (tmp_path / "runs").write_text("a file where a folder is needed")
    with pytest.raises(DiskError, match="cannot be written"):
        check_space(tmp_path / "runs" / "small", model=model, plan=plan, splits=splits)
