"""docs/regression.md: its recipe is sound, its tables hold every loss and metric of a number."""

import re
from pathlib import Path

from hftune.losses import losses_for
from hftune.metrics import metrics_for
from hftune.problems import PROBLEMS
from hftune.recipe import load_recipe
from hftune.train.option_check import wrong_components

TEXT = (Path(__file__).parents[1] / "docs" / "regression.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE))


def test_the_recipe_is_sound(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "ages.yaml").write_text(example)
    recipe = load_recipe(tmp_path / "ages.yaml")
    assert recipe.problem == "regression"
    assert list(wrong_components(recipe)) == []


def test_every_loss_and_metric_of_a_number_is_there():
    assert rows("Which loss") == losses_for("regression")
    assert rows("Metrics") == metrics_for("regression", num_classes=1)
    assert PROBLEMS["regression"].default_metrics == rows("Metrics")


def test_the_recipe_that_it_names_is_of_regression():
    assert "hftune train elpv-160-probability" in TEXT
    recipe = load_recipe("elpv-160-probability")
    assert recipe.problem == "regression"
    assert recipe.data.source.options["label"] == "probability"
    assert recipe.loss is not None
    assert recipe.loss.name == PROBLEMS["regression"].default_loss.name
    assert list(wrong_components(recipe)) == []
