"""What a recipe needs from elsewhere; what comes from the Hub is tested by whole commands."""

from pathlib import Path

import pytest

from hftune.errors import ComponentError, RefError
from hftune.fetch import Need, fetch_recipe
from hftune.recipe.schema import (
    Component,
    DataRecipe,
    DistillRecipe,
    HubRecipe,
    ModelRecipe,
    Recipe,
)
from tests.data.squares import write_squares


def recipe(source: Component, **changes: object) -> Recipe:
    parts = {"model": ModelRecipe(architecture="test_vit", pretrained=False), **changes}
    return Recipe(run="small", data=DataRecipe(source=source), **parts)  # type: ignore[arg-type]


def test_local_things_are_named_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    needs = fetch_recipe(
        recipe(
            Component(name="table", options={"train": "a.csv", "test": "b.csv", "val": None}),
            model=ModelRecipe(repo=str(tmp_path), weights="own.safetensors"),
            distill=DistillRecipe(teacher=str(tmp_path / "teacher")),
            hub=HubRecipe(push_to="me/small"),
        )
    )
    assert needs == (
        Need(setting="model.repo", place="local", name=str(tmp_path)),
        Need(setting="model.weights", place="local", name="own.safetensors"),
        Need(setting="distill.teacher", place="local", name=str(tmp_path / "teacher")),
        Need(setting="data.source", place="local", name="a.csv"),
        Need(setting="data.source", place="local", name="b.csv"),
        Need(setting="hub.push_to", place="network", name="me/small"),
    )


def test_local_copy_of_a_data_set_repository_is_local(tmp_path: Path) -> None:
    folder = str(write_squares(tmp_path / "squares"))
    (need,) = fetch_recipe(recipe(Component(name="hub_dataset", options={"repo": folder})))
    assert need == Need(setting="data.source", place="local", name=folder)


def test_own_code_is_named_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('this was run')")
    name = f"{tmp_path}/own.py:rows"
    (need,) = fetch_recipe(recipe(Component(name=name)))
    assert need == Need(setting="data.source", place="local", name=name)


def test_wrong_options_are_found_before_anything_is_asked() -> None:
    wrong = Component(name="hub_dataset", options={"repo": "org/pets", "colour": "red"})
    with pytest.raises(ComponentError, match="colour"):
        fetch_recipe(recipe(wrong))


def test_missing_folder_is_one_error() -> None:
    source = Component(name="image_folder", options={"path": "x"})
    with pytest.raises(RefError, match="no such folder"):
        fetch_recipe(recipe(source, model=ModelRecipe(repo="./absent")))
