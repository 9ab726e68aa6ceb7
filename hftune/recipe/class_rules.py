"""What balance, class weights, mixing and a teacher ask of the problem, and of each other."""

from collections.abc import Iterator

from hftune.recipe.read import SettingPath
from hftune.recipe.schema import DataRecipe, DistillRecipe, Recipe

_Findings = Iterator[tuple[SettingPath, str]]

# Rules of data.class_weights that read off how frequent the classes are.
_BY_FREQUENCY = ("inverse", "effective")


def broken_class_rules(recipe: Recipe) -> _Findings:
    """Give each of these settings that cannot be carried out, and the sentence about it."""
    if recipe.problem == "multi_label":
        yield from _several_labels(recipe.data)
    if recipe.problem == "regression":
        yield from _number(recipe)
    yield from _evened_out_twice(recipe.data)


def _several_labels(data: DataRecipe) -> _Findings:
    remedy = "give loss.pos_weight (loss: binary), or loss: distribution_balanced"
    if data.balance:
        yield (
            ("data", "balance"),
            f"an image of several classes cannot be drawn for one of them; {remedy}",
        )
    if data.class_weights is not None:
        yield ("data", "class_weights"), f"these weigh images of one class each; {remedy}"


def _number(recipe: Recipe) -> _Findings:
    """Refuse mixing: that a blend of two images has the mean of their numbers is only a guess."""
    for name in ("mixup", "cutmix"):
        if getattr(recipe.data.mix, name):
            text = "mixed images have shares of classes, and regression has a number; give 0"
            yield ("data", "mix", name), text
    distill = recipe.distill
    if distill.teacher is not None and distill.temperature != DistillRecipe().temperature:
        yield ("distill", "temperature"), "a number has no temperature; remove the line"


def _evened_out_twice(data: DataRecipe) -> _Findings:
    rule = data.class_weights
    if data.balance and rule is not None and rule.name in _BY_FREQUENCY:
        yield (
            ("data", "class_weights"),
            f"data.balance draws rare classes more often, and '{rule.name}' counts them more as "
            "well; keep one of them",
        )
