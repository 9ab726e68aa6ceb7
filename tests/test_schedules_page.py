"""docs/schedules.md: it holds every schedule with its options, and its examples work."""

import inspect
import json
import re
from pathlib import Path

import pytest

from hftune.optim.scaling import peak_lr
from hftune.optim.schedules import SCHEDULES
from hftune.recipe import load_recipe
from hftune.recipe.schema import OptimRecipe
from hftune.report.rate_chart import chart_of_recipe
from hftune.train.option_check import wrong_components

PAGE = Path(__file__).parents[1] / "docs" / "schedules.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(
    part.split("\n", 1) for part in re.split(r"\n### ", TEXT.split("\n## Warm-up")[0])[1:]
)


def options_of(name):
    """The options of a schedule with their defaults as a recipe writes them."""
    found = {}
    for option in list(inspect.signature(SCHEDULES[name]).parameters.values())[1:]:
        default = option.default
        if default is inspect.Parameter.empty:
            found[option.name] = "required"
        elif isinstance(default, str):
            found[option.name] = f"`{default}`"
        else:
            found[option.name] = f"`{json.dumps(default)}`"
    return found


def test_every_schedule_has_its_section_in_the_order_of_the_table():
    assert list(SECTIONS) == list(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_option_and_default_is_there(name):
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", SECTIONS[name], re.MULTILINE)
    assert dict(rows) == options_of(name)


@pytest.mark.parametrize("file", ["steps.yaml", "halves.yaml"])
def test_its_recipes_are_sound(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for fence, name, body in re.findall(r"```(\w+)\n# (\w+\.\w+)\n(.*?)```", TEXT, re.DOTALL):
        assert fence in ("yaml", "python")
        (tmp_path / name).write_text(body, encoding="utf-8")
    recipe = load_recipe(tmp_path / file)
    assert list(wrong_components(recipe)) == []
    lines = {line.label: line for line in chart_of_recipe(recipe, steps_per_epoch=60).lines}
    rates = lines["main"].rates
    assert len(rates) == 6 * 60
    if file == "halves.yaml":
        # Six epochs, held for two; the rest in three parts of 80 steps.
        assert [rates[step] / recipe.optim.lr for step in (100, 120, 199, 200, 280, 359)] == (
            pytest.approx([1, 0.5, 0.5, 0.25, 0.125, 0.125])
        )


def test_its_numbers_of_scaled_rates():
    for scaling, expected in (("linear", 0.4), ("sqrt", 0.2)):
        optim = OptimRecipe(lr=0.1, lr_batch_size=256, lr_scaling=scaling)
        assert peak_lr(optim, batch_size=1024) == pytest.approx(expected)
