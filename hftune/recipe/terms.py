"""What recipes must share for a fair comparison of their results: the data and the budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hftune.recipe.schema import Recipe
from hftune.recipe.show import differences

# Other images, labels or draws would be compared along with the recipes.
DATA_TERMS = (
    "problem",
    "data.source",
    "data.val",
    "data.test",
    "data.stratify",
    "data.split_seed",
    "train.seed",
)
# More steps, larger batches or more looks at the validation split would be an advantage.
BUDGET_TERMS = (
    "train.length",
    "train.batch_size",
    "eval.every",
    "eval.best",
    "eval.patience",
)


@dataclass(frozen=True, kw_only=True)
class Unequal:
    """One setting that two recipes do not share, and what each has."""

    setting: str
    values: tuple[Any, Any]
    names: tuple[str, str]

    def __str__(self) -> str:
        (old, new), (first, second) = self.values, self.names
        return f"{self.setting}: {old} in {first}, {new} in {second}"


def unequal_terms(recipes: Sequence[Recipe], terms: Sequence[str]) -> list[Unequal]:
    """Give the settings among `terms` in which a recipe differs from the first one."""
    first, *others = recipes
    return [
        Unequal(setting=setting, values=(old, new), names=(first.run, other.run))
        for other in others
        for setting, old, new in differences(first, other)
        if any(is_within(setting, term) for term in terms)
    ]


def is_within(setting: str, term: str) -> bool:
    """Say whether a setting is `term`, a part of it, or an entry of its list."""
    return setting == term or setting.startswith((f"{term}.", f"{term}["))
