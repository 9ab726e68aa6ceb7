"""A model: its stages and depths, parameters, head and norm layers, as selectors name them."""

from pathlib import Path

from hftune.core import RepoRef
from hftune.describe.description import Cell, Description, listed
from hftune.describe.layers import (
    Layers,
    depth_table,
    head_text,
    norm_table,
    norm_text,
    parameter_table,
    stage_table,
)
from hftune.hub.card import read_license
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.class_names import class_names
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import HubConfig, read_config, registry_config
from hftune.model.layer_map import map_layers
from hftune.recipe.schema import ModelRecipe
from hftune.units import format_size

_IMAGENET_CLASSES = 1000
_BYTES = 4


def describe_repository(text: str) -> Description:
    """Pull a repository in timm's Hub format and describe the model in it.

    Raises RefError, HubError, WeightsError and ModelError.
    """
    return _describe_source(pull(parse_ref(text)), name=text)


def describe_folder(folder: Path) -> Description:
    """Describe a folder in timm's Hub format, such as an artifact. Raises ModelError."""
    return _describe_source(RepoRef(folder=folder), name=str(folder))


def describe_architecture(name: str) -> Description:
    """Describe a timm architecture, without weights. Raises ModelError for an unknown name."""
    config = registry_config(name)
    return _describe(config, name=name, num_classes=_IMAGENET_CLASSES, facts={})


def _describe_source(source: RepoRef, *, name: str) -> Description:
    assert source.folder is not None
    config = read_config(source.folder, repo_id=source.repo_id)
    names = class_names(config)
    count = len(names) or config.num_classes or _IMAGENET_CLASSES
    facts: dict[str, Cell] = {} if source.commit is None else {"commit": source.commit}
    facts |= {
        "licence": read_license(source.folder) or "not stated",
    }
    if config.problem_type == "regression":
        facts["number"] = listed(names)
    else:
        facts["classes"] = f"{count}: {listed(names)}" if names else f"{count}, not named"
    return _describe(config, name=name, num_classes=count, facts=facts)


def _describe(
    config: HubConfig, *, name: str, num_classes: int, facts: dict[str, Cell]
) -> Description:
    plain = ModelRecipe()
    module = construct(
        config, shaping_args(plain, config), recipe=plain, num_classes=num_classes, seed=0
    )
    layers = Layers(module=module, map=map_layers(module))
    return Description(
        kind="model",
        name=name,
        facts={"architecture": config.architecture, **facts, **_facts(layers, config)},
        tables=(stage_table(layers), depth_table(layers), norm_table(layers)),
        parameters=parameter_table(layers),
    )


def _facts(layers: Layers, config: HubConfig) -> dict[str, Cell]:
    number = sum(layers.sizes.values())
    known = config.pretrained_cfg
    channels, height, width = config.input_size
    return {
        "parameters": number,
        "size in fp32": format_size(number * _BYTES),
        "input": f"{channels} x {height} x {width}, {known.get('interpolation')}, "
        f"centre share {known.get('crop_pct')}",
        "head": head_text(layers),
        "norm layers": norm_text(layers),
        "selectors": f"head, norm, stage.0 to stage.{layers.map.num_stages - 1}, "
        f"layer.0 to layer.{layers.map.num_depths - 1}",
    }
