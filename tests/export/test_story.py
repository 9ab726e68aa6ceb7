"""What the card tells of the recipe: only what is on, as it was carried out, and no folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hftune.core import TeacherFacts
from hftune.export.artifact import build_artifact
from hftune.export.story import training_rows
from hftune.files import write_json, write_text
from hftune.recipe import load_recipe
from hftune.recipe.schema import Component, DistillRecipe, L2SPRecipe, MixRecipe
from hftune.recipe.show import to_yaml
from hftune.train.pins import PINS_FILE, Pins
from hftune.train.run_facts import read_run

MakeRun = Callable[..., Path]
EXTRAS = {"Augmentation", "Mixing", "Balance", "Class weights", "Clipping", "Decay to the start",
          "Averaged weights", "Teacher", "Rates by part", "Loss"}  # fmt: skip


def test_what_is_off_takes_no_row(make_run: MakeRun) -> None:
    run = make_run()
    recipe = load_recipe(run / "recipe.yaml")
    plain = replace(recipe, loss=None, data=replace(recipe.data, augment=()))
    assert not EXTRAS & training_rows(read_run(run), plain).keys()


def test_what_is_on_has_a_row_each(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    recipe = load_recipe(run / "recipe.yaml")
    weights = Component(name="given", options={"weights": {"bad": 2.0, "good": 1.0}})
    code = Component(name=f"{tmp_path}/losses.py:mine", options={"tables": [f"{tmp_path}/t.csv"]})
    recipe = replace(
        recipe,
        loss=code,
        data=replace(
            recipe.data,
            augment=(Component(name="horizontal_flip"), Component(name="blur", options={"p": 0.5})),
            mix=MixRecipe(mixup=0.2),
            balance=0.5,
            class_weights=weights,
        ),
        optim=replace(
            recipe.optim,
            rates={"head": "10x", "norm": 1e-5},
            clip_norm=1.0,
            l2_sp=L2SPRecipe(strength=0.01),
            ema=0.999,
        ),
        distill=DistillRecipe(teacher=str(tmp_path / "large"), weight=0.25),
    )
    rows = training_rows(read_run(run), recipe)
    assert {name: rows[name] for name in EXTRAS} == {
        "Augmentation": "horizontal_flip; blur (p=0.5)",
        "Mixing": "mixup 0.2, CutMix 0, of 100% per batch",
        "Balance": "0.5 of the way to equal classes",
        "Class weights": "given (weights={bad: 2, good: 1})",
        "Clipping": "gradient norm at most 1",
        "Decay to the start": "strength 0.01 in place of weight decay",
        "Averaged weights": "decay 0.999 per step",
        "Teacher": "./large, weight 0.25, temperature 2",
        "Rates by part": "head 10x, norm 1e-05",
        "Loss": "./losses.py:mine (tables=[./t.csv])",
    }


def test_the_rate_is_that_which_was_trained_with(make_run: MakeRun) -> None:
    """A rate that follows the batch size is settled by the plan."""
    run = make_run()
    recipe = load_recipe(run / "recipe.yaml")
    facts = read_run(run)
    assert f"peak rate {recipe.optim.lr:g}," in training_rows(facts, recipe)["Optimizer"]
    write_json(run / "plan.json", {"peak_lr": 0.0625, "precision": "bf16"})
    rows = training_rows(facts, recipe)
    assert "peak rate 0.0625," in rows["Optimizer"]
    assert rows["Precision"] == "bf16"


def test_a_teacher_is_pinned_named_and_recorded(make_run: MakeRun) -> None:
    run, commit = make_run(), "c" * 40
    recipe = load_recipe(run / "recipe.yaml")
    taught = replace(recipe, distill=DistillRecipe(teacher="me/large"))
    write_text(run / "recipe.yaml", to_yaml(taught))
    for teacher, line in (
        (TeacherFacts(digest="d" * 64), "a local model, tensors with digest `dddddddddddd`"),
        (TeacherFacts(repo_id="me/large", commit=commit), "`me/large` at commit `cccccccccccc`"),
    ):
        write_json(run / PINS_FILE, Pins(teacher=teacher).to_json())
        card = build_artifact(run).card.read_text(encoding="utf-8")
        assert f"- Teacher: {line}\n" in card
    published = load_recipe(run / "artifact" / "hftune" / "recipe.yaml")
    assert published.distill.teacher == f"me/large@{commit}"
