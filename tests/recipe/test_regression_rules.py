"""Settings about classes are refused where the problem is regression."""

from dataclasses import replace

import pytest

from hftune.recipe.regression_rules import broken_regression_rules
from hftune.recipe.schema import Component, DataRecipe, ModelRecipe, Recipe

TABLE = Component(name="table", options={"train": "ages.csv", "label": "age"})
AGES = Recipe(
    run="ages",
    model=ModelRecipe(architecture="resnet18"),
    data=DataRecipe(source=TABLE),
    problem="regression",
)


def refused(recipe: Recipe) -> list[str]:
    return [".".join(map(str, setting)) for setting, _ in broken_regression_rules(recipe)]


def test_a_table_of_numbers_is_fine() -> None:
    assert refused(AGES) == []


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"source": Component(name="image_folder", options={"path": "x"})}, "source.name"),
        ({"balance": 0.5}, "balance"),
        ({"class_weights": Component(name="inverse")}, "class_weights"),
        ({"missing_classes": "warn"}, "missing_classes"),
    ],
)
def test_each_setting_about_classes_is_named(change: dict[str, object], setting: str) -> None:
    data = replace(AGES.data, **change)  # type: ignore[arg-type]
    assert refused(replace(AGES, data=data)) == [f"data.{setting}"]
    assert refused(replace(AGES, data=data, problem="single_label")) == []


def test_all_of_them_are_reported_together() -> None:
    data = DataRecipe(
        source=Component(name="image_folder", options={"path": "x"}),
        balance=1.0,
        class_weights=Component(name="inverse"),
    )
    assert refused(replace(AGES, data=data)) == [
        "data.source.name", "data.balance", "data.class_weights"
    ]  # fmt: skip
