"""The plan as the dry run prints it: every number, the groups of each phase, the memory."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hftune.cli.main import invoke
from hftune.core import RunPlan
from hftune.describe import Description
from hftune.describe.plan import describe_plan
from hftune.recipe.schema import (
    Component,
    DataRecipe,
    DistillRecipe,
    EvalRecipe,
    FreezeRecipe,
    L2SPRecipe,
    MixRecipe,
    OptimRecipe,
    Recipe,
    SWARecipe,
    TrainRecipe,
    UnfreezeStep,
)
from hftune.train.memory import estimate_memory
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

CPU = torch.device("cpu")
PHASES = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="4 steps", train=("all",), lr_factor=0.5, warmup="2 steps"),
)


@pytest.fixture(scope="module")
def described() -> Callable[..., tuple[RunPlan, Description]]:
    model, splits = tiny_model("test_resnet"), drawn_splits()
    splits = replace(splits, labels=replace(splits.labels, counts=(12, 12)))

    def describe(recipe: Recipe) -> tuple[RunPlan, Description]:
        plan = make_plan(recipe, model, splits, join_world())
        memory = estimate_memory(plan, model, CPU)
        return plan, describe_plan(plan, model, splits, device=CPU, memory=memory)

    return describe


def rows(description: Description, title: str) -> list[dict[str, object]]:
    return next(found for found in description.tables if title in found.title).to_json()


def test_the_arithmetic_of_a_plan(described):
    recipe = tiny_recipe(
        unfreeze=PHASES,
        train=TrainRecipe(length="3 epochs", batch_size=8, micro_batch_size=2, precision="fp32"),
    )
    facts = described(recipe)[1].facts
    # 24 training images: three steps an epoch
    assert facts["steps"] == "9 = 3 epochs of 3"
    assert facts["batch"] == "8 = 2 images x 4 accumulated x 1 processes"
    assert facts["precision"] == "fp32 on cpu"
    assert facts["images"] == "train 24, val 11, test 7"
    assert facts["classes"] == "2: dark, bright"
    assert str(facts["input"]).startswith("3 x 32 x 32, bicubic")
    assert facts["evaluated"] == "every 3 steps, best by accuracy"
    assert str(facts["never trains"]).startswith("0 parameters, 0.0%")


def test_phases_have_steps_and_groups_have_the_rates_of_their_phase(described):
    recipe = tiny_recipe(unfreeze=PHASES, optim=OptimRecipe(lr=1e-3, rates={"head": "3x"}))
    plan, description = described(recipe)
    first, second = rows(description, "phases")
    assert (first["steps"], second["steps"]) == ("0 to 4", "4 to 9")
    assert (second["rate factor"], second["warm-up"]) == (0.5, "2 steps")
    groups = {(row["steps"], row["group"]): row["lr"] for row in rows(description, "groups")}
    assert groups["0 to 4", "head"] == pytest.approx(3e-3)
    assert groups["4 to 9", "head"] == pytest.approx(1.5e-3)
    assert groups["4 to 9", "main"] == pytest.approx(5e-4)
    memory = rows(description, "memory")
    assert [row["steps"] for row in memory] == ["0 to 4", "4 to 9"]
    assert memory[0]["activations"] != memory[1]["activations"]
    assert plan.phases[0].stop == 4


def test_a_phase_with_frozen_layers_says_what_is_kept_of_them(described):
    recipe = tiny_recipe(unfreeze=PHASES, train=TrainRecipe(length="3 epochs", batch_size=8))
    (row,) = rows(described(recipe)[1], "frozen layers")
    assert row == {
        "steps": "0 to 4",
        "up to": "global_pool",
        "numbers per image": 96,
        "type": "float32",
        "training": "24 images, 9.0 KiB, in memory",
        "validation": "run in every evaluation: the phase has no more than one",
    }


def test_what_is_off_is_not_mentioned(described):
    facts = described(tiny_recipe())[1].facts
    off = {
        "augmentation", "mixing", "balance", "class weights", "clipping", "decay to the start",
        "averaged weights", "mean of weights", "teacher",
    }  # fmt: skip
    assert not off & facts.keys()


def test_what_is_on_is_stated(described):
    recipe = tiny_recipe(
        optim=OptimRecipe(
            lr=1e-3,
            lr_batch_size=16,
            lr_scaling="sqrt",
            clip_norm=1.5,
            ema=0.99,
            swa=SWARecipe(start="50%", every="1 steps"),
            l2_sp=L2SPRecipe(strength=0.1),
        ),
        freeze=FreezeRecipe(stages=1),
        distill=DistillRecipe(teacher="runs/big", weight=0.25),
        eval=EvalRecipe(every="1 epoch", best="accuracy", patience=2),
    )
    base = tiny_recipe()
    data = DataRecipe(
        source=base.data.source,
        workers=0,
        augment=(Component(name="horizontal_flip"),),
        mix=MixRecipe(mixup=0.2),
        balance=0.5,
        class_weights=Component(name="inverse"),
    )
    plan, description = described(replace(recipe, data=data))
    facts = {name: str(text) for name, text in description.facts.items()}
    assert facts["peak rate"] == f"{plan.peak_lr:g}, from 0.001 for 16 images a batch, sqrt"
    assert plan.peak_lr == pytest.approx(1e-3 * 0.5**0.5)
    assert facts["mixing"] == "mixup 0.2, CutMix 0, of 100% per batch"
    assert facts["balance"].startswith("0.5 ")
    assert facts["class weights"] == "inverse"
    assert facts["clipping"] == "gradient norm at most 1.5"
    assert facts["averaged weights"] == "decay 0.99 per step"
    assert facts["mean of weights"] == f"from step {plan.swa_start}, every 1 steps"
    assert facts["decay to the start"].startswith("strength 0.1")
    assert facts["teacher"] == "runs/big, weight 0.25, temperature 2"
    assert facts["augmentation"] == "horizontal_flip"
    assert "ended after 2 without a gain" in facts["evaluated"]
    assert not facts["never trains"].startswith("0 ")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 4)):
        for row in range(number):
            folder = tmp_path / "images" / split / ("a", "b")[row % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{row}.png")
    path = tmp_path / "small.yaml"
    path.write_text(
        f"""\
run: small
model: {{architecture: test_resnet, pretrained: false, image_size: 32}}
data: {{source: {{name: image_folder, path: {tmp_path / "images"}}}, workers: 0}}
unfreeze: [{{at: 0%, train: [head]}}, {{at: 50%, train: [all]}}]
train: {{length: 2 epochs, batch_size: 4, precision: fp32}}
""",
        encoding="utf-8",
    )
    return str(path)


def test_the_dry_run_prints_the_plan_and_writes_nothing(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert invoke(["train", recipe, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("plan small\n")
    kept = "frozen layers, kept once computed"
    for title in ("phases", "groups", kept, "memory per process, estimated"):
        assert f"\n{title}\n" in out
    assert invoke(["train", recipe, "--dry-run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["plan"]["total_steps"] == 4
    (features,) = values["tables"][kept]
    assert (features["steps"], features["up to"]) == ("0 to 2", "global_pool")
    assert features["training"].startswith("run in every epoch: ")  # the phase is one epoch
    head, everything = values["memory"]
    assert 0 < head["activations"] < everything["activations"]
    assert head["total"] == sum(
        head[part] for part in ("weights", "gradients", "optimizer", "copies", "activations")
    )
    assert sorted(tmp_path.rglob("*")) == before
