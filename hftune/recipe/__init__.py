"""What the user asked for: recipe files, their checking and their display. Never imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftune.recipe.check import check, recipe_error
from hftune.recipe.origins import origins_of
from hftune.recipe.resolve import Merged, merge_recipe
from hftune.recipe.rules import named_code
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_dict

__all__ = ["Recipe", "Resolved", "load_recipe", "resolve_recipe"]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A checked recipe with the place that set each value.

    `values` are all settings as plain values; `origins` maps a dotted setting to 'file:line',
    'override' or 'default'; `merged` is the tree before checking.
    """

    recipe: Recipe
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    merged: Merged

    @property
    def source(self) -> str:
        """The recipe's file as messages name it."""
        return self.merged.source


def load_recipe(
    source: str | Path, overrides: Sequence[str] = (), *, trust_code: bool = True
) -> Recipe:
    """Read, merge and check a recipe: a path, or the name of one that comes with hftune.

    `overrides` are texts such as 'optim.lr=3e-4', applied last. Without `trust_code` a recipe
    that names code of its own is refused. Raises RecipeError.
    """
    return resolve_recipe(source, overrides, trust_code=trust_code).recipe


def resolve_recipe(
    source: str | Path, overrides: Sequence[str] = (), *, trust_code: bool = True
) -> Resolved:
    """Do as `load_recipe` and keep what set each value. Raises RecipeError."""
    merged = merge_recipe(source, overrides)
    recipe = check(merged)
    code = [] if trust_code else list(named_code(recipe))
    if code:
        error = recipe_error(merged, code)
        error.remedy = "Read the code first, then allow it: --trust-code"
        raise error
    values = to_dict(recipe)
    return Resolved(
        recipe=recipe, values=values, origins=origins_of(values, merged.root), merged=merged
    )
