"""What never trains: `freeze.stages`, `freeze.layers` and zero rates, together."""

from collections.abc import Iterable, Mapping, Sequence

from hftune.core import LayerMap
from hftune.errors import ModelError, PlanError
from hftune.model.select import select
from hftune.optim.layer_rates import rates_by_name
from hftune.recipe.schema import FreezeRecipe, Recipe


def frozen_by(recipe: Recipe, layers: LayerMap, names: Sequence[str]) -> dict[str, str]:
    """Give every parameter out of `names` that never trains, with the setting that freezes it.

    Raises PlanError for more stages than the model has and where nothing is left to train, and
    ModelError for a selector that fits nothing.
    """
    rates = rates_by_name(recipe.optim, layers, names)
    frozen = {name: rate.setting for name, rate in rates.items() if rate.value == 0}
    frozen |= dict.fromkeys(_listed(recipe.freeze, layers, names), "freeze.layers")
    frozen |= dict.fromkeys(_first_stages(recipe.freeze, layers, names), "freeze.stages")
    if len(frozen) == len(names):
        raise PlanError(
            "everything is frozen, so nothing would train",
            found=f"all {len(names)} parameters, by {settings_of(frozen, names)}",
            allowed="at least one parameter, such as those of the head, that may move",
            where="freeze",
        )
    return frozen


def settings_of(frozen: Mapping[str, str], names: Iterable[str]) -> str:
    """Name the settings that freeze `names`, as a text."""
    return ", ".join(sorted({frozen[name] for name in names}))


def _listed(freeze: FreezeRecipe, layers: LayerMap, names: Sequence[str]) -> frozenset[str]:
    if not freeze.layers:
        return frozenset()
    try:
        return select(freeze.layers, layers, names)
    except ModelError as error:
        error.where = "freeze.layers"
        raise


def _first_stages(freeze: FreezeRecipe, layers: LayerMap, names: Sequence[str]) -> frozenset[str]:
    if freeze.stages > layers.num_stages:
        raise PlanError(
            "more stages are to be frozen than the model has",
            found=f"freeze.stages: {freeze.stages}",
            allowed=f"0 to {layers.num_stages}, where {layers.num_stages} is all but the head",
            where="freeze.stages",
            remedy="see the stages with: hftune inspect",
        )
    return frozenset(name for name in names if layers.stage[name] < freeze.stages)
