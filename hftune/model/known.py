"""The structure of a backbone that timm knows by name, before anything is downloaded."""

from dataclasses import dataclass

import timm
import torch
from torch import nn

from hftune.core import LayerMap
from hftune.errors import ModelError
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import registry_config
from hftune.model.layer_map import map_layers
from hftune.recipe.schema import ModelRecipe

_TIMM = "timm/"
_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A module on the meta device, with a head for two classes, and its layers."""

    module: nn.Module
    layers: LayerMap


def known_structure(recipe: ModelRecipe) -> Structure | None:
    """Build the recipe's architecture without values, where timm knows it by its name.

    None for a repository of another owner or a local folder, whose config must be read first, and
    for what cannot be built without values: that is found once the backbone is here.
    """
    name = _architecture(recipe)
    if name is None or not timm.is_model(name.partition(".")[0]):
        return None
    config = registry_config(name.partition(".")[0])
    try:
        with torch.device("meta"):
            module = construct(
                config, shaping_args(recipe, config), recipe=recipe, num_classes=_CLASSES, seed=0
            )
    except (ModelError, NotImplementedError):
        return None
    return Structure(module=module, layers=map_layers(module))


def _architecture(recipe: ModelRecipe) -> str | None:
    if recipe.architecture is not None:
        return recipe.architecture
    if recipe.repo is None or not recipe.repo.startswith(_TIMM):
        return None
    return recipe.repo.removeprefix(_TIMM).partition("@")[0]
