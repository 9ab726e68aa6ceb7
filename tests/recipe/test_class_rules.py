"""Balance, class weights and mixing where the problem, or each other, rules them out."""

from dataclasses import replace

import pytest

from hftune.recipe.rules import broken_rules
from hftune.recipe.schema import Component, DistillRecipe, MixRecipe, Recipe
from tests.drawn import tiny_recipe

GIVEN = Component(name="given", options={"weights": {"dark": 1, "bright": 3}})


def recipe_with(problem="single_label", **data: object) -> Recipe:
    recipe = tiny_recipe(problem=problem)
    source = Component(name="table", options={"path": "x.csv"})
    return replace(recipe, data=replace(recipe.data, source=source, **data))


def findings(recipe: Recipe) -> dict[str, str]:
    return {".".join(map(str, path)): text for path, text in broken_rules(recipe)}


@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("single_label", {"balance": 1.0}),
        ("single_label", {"class_weights": Component(name="inverse")}),
        ("single_label", {"balance": 0.5, "class_weights": GIVEN}),
        ("single_label", {"mix": MixRecipe(mixup=0.2, cutmix=1.0)}),
        ("multi_label", {"mix": MixRecipe(mixup=0.2, cutmix=1.0)}),
        ("regression", {"mix": MixRecipe(p=0.5)}),
    ],
)
def test_what_can_be_carried_out_is_let_through(problem, data):
    assert findings(recipe_with(problem, **data)) == {}


def test_several_labels_are_neither_drawn_nor_weighed_by_class():
    found = findings(recipe_with("multi_label", balance=0.5, class_weights=GIVEN))
    assert list(found) == ["data.balance", "data.class_weights"]
    assert all("loss.pos_weight" in text for text in found.values())


def test_numbers_are_not_mixed():
    found = findings(recipe_with("regression", mix=MixRecipe(mixup=0.2, cutmix=1.0)))
    assert list(found) == ["data.mix.mixup", "data.mix.cutmix"]
    assert list(findings(recipe_with("regression", mix=MixRecipe(cutmix=1.0)))) == [
        "data.mix.cutmix"
    ]


def test_numbers_have_no_temperature():
    recipe = recipe_with("regression")
    warm = replace(recipe, distill=DistillRecipe(teacher="runs/big", temperature=4.0))
    assert list(findings(warm)) == ["distill.temperature"]
    assert findings(replace(recipe, distill=DistillRecipe(teacher="runs/big"))) == {}


@pytest.mark.parametrize("name", ["inverse", "effective"])
def test_rare_classes_are_not_evened_out_twice(name):
    found = findings(recipe_with(balance=0.5, class_weights=Component(name=name)))
    assert list(found) == ["data.class_weights"]
    assert "keep one of them" in found["data.class_weights"]
