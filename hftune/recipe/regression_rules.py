"""What a recipe for regression cannot ask for: settings that are about classes."""

from collections.abc import Iterator

from hftune.recipe.read import SettingPath
from hftune.recipe.schema import Recipe


def broken_regression_rules(recipe: Recipe) -> Iterator[tuple[SettingPath, str]]:
    """Give each setting that needs classes, where the problem is regression."""
    if recipe.problem != "regression":
        return
    data = recipe.data
    if data.source.name == "image_folder":
        yield (
            ("data", "source", "name"),
            "'image_folder' gives a class per folder, and regression learns a number per image; "
            "take a table or hub_dataset with a column of numbers",
        )
    if data.balance:
        yield ("data", "balance"), "regression has no classes that could be drawn evenly"
    if data.class_weights is not None:
        yield ("data", "class_weights"), "regression has no classes that could be weighed"
    if data.missing_classes != "stop":
        yield ("data", "missing_classes"), "regression has no classes that could be missing"
