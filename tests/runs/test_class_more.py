"""A trained model learns one class more: the old ones are known from the start, and judged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hftune.describe import describe
from hftune.export.artifact import build_artifact
from hftune.finetune import prepare, train_and_judge
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.train.evaluate import evaluate
from hftune.train.run_facts import read_model_record, read_results_record
from tests.runs.conftest import draw_image


@pytest.fixture
def three_classes(images: Path, tmp_path: Path) -> Path:
    """The two classes with a third; one of the two is spelt otherwise."""
    folder = shutil.copytree(images, tmp_path / "three")
    rng = np.random.default_rng(1)
    for split, number in (("train", 16), ("val", 6), ("test", 5)):
        (folder / split / "light").rename(folder / split / "Light")
        for row in range(number):
            draw_image(folder / split / "black" / f"{row:03}.png", rng, 20)
    return folder


@pytest.mark.slow
def test_the_old_classes_are_known_at_once_and_compared_in_the_end(
    write_recipe: Callable[..., str], three_classes: Path, tmp_path: Path
) -> None:
    def learn(run: str, *changes: str) -> Recipe:
        recipe = load_recipe(write_recipe("test_resnet"), changes)
        train_and_judge(recipe, tmp_path / run)
        return recipe

    first = learn("first", "optim.lr=1e-2")
    artifact = build_artifact(tmp_path / "first").folder
    known = read_results_record(tmp_path / "first").of("test")
    places = (f"model.repo={artifact}", "model.architecture=null", "model.pretrained=true")
    second = learn("second", *places, f"data.source.path={three_classes}")

    start = read_model_record(tmp_path / "second").head
    assert start is not None
    assert dict(start.kept) == {"Light": "light", "dark": "dark"}
    results = read_results_record(tmp_path / "second")
    val, test = results.old_classes
    assert known is not None
    # What the base says before the first step is what it said at the end of its own run.
    assert test.before == pytest.approx(known.values["accuracy"])
    assert {n: one.before for n, one in test.classes.items()} == pytest.approx(
        {name.replace("l", "L", 1) if name == "light" else name: row["recall"]
         for name, row in known.per_class.items()}
    )  # fmt: skip
    assert (test.num_new, val.num_new) == (1, 1)
    assert sum(one.images for one in test.classes.values()) == known.num_examples
    now = results.of("test")
    assert now is not None
    assert {n: one.after for n, one in test.classes.items()} == pytest.approx(
        {name: row["recall"] for name, row in now.per_class.items() if name != "black"}
    )

    # Before the first step, no image of an old class is taken for the new one.
    prepared = prepare(second)
    untrained = evaluate(prepared.model, prepared.splits.test, second)
    assert untrained.per_class["black"]["recall"] == 0.0
    old = [untrained.per_class[name] for name in ("dark", "Light")]
    right = sum(row["recall"] * row["count"] for row in old)
    assert right / known.num_examples == pytest.approx(known.values["accuracy"])

    told = describe(str(tmp_path / "second"))
    assert told.facts["head starts"] == (
        "as the base's for 2: Light from 'light', dark; 1 more from the mean of its 2 rows"
    )
    assert [table.title for table in told.tables][-2:] == [
        "classes of the base, val", "classes of the base, test",
    ]  # fmt: skip
    assert first.run == second.run

    card = (build_artifact(tmp_path / "second").folder / "README.md").read_text(encoding="utf-8")
    assert (
        "| Head at first | the base's rows for 2 of 3 classes (Light from 'light', dark); " in card
    )
    assert "told these 2 classes apart already, to which 1 came." in card
