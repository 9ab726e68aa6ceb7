"""A model: its stages and depths, parameters, head and norm layers, as selectors name them."""

import json
from collections import Counter, defaultdict
from pathlib import Path

from torch import nn

from hftune.core import LayerMap, RepoRef
from hftune.describe.description import Cell, Description, Table, listed
from hftune.hub.card import read_license
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import HubConfig, read_config, registry_config
from hftune.model.layer_map import map_layers
from hftune.model.published import known_names
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
    content = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    names = config.label_names or known_names(content, config.hub_id)
    stated = content.get("num_classes") or content.get("pretrained_cfg", {}).get("num_classes")
    count = len(names) or stated or _IMAGENET_CLASSES
    facts: dict[str, Cell] = {} if source.commit is None else {"commit": source.commit}
    facts |= {
        "licence": read_license(source.folder) or "not stated",
        "classes": f"{count}: {listed(names)}" if names else f"{count}, not named",
    }
    return _describe(config, name=name, num_classes=count, facts=facts)


def _describe(
    config: HubConfig, *, name: str, num_classes: int, facts: dict[str, Cell]
) -> Description:
    plain = ModelRecipe()
    module = construct(
        config, shaping_args(plain, config), recipe=plain, num_classes=num_classes, seed=0
    )
    layers = map_layers(module)
    return Description(
        kind="model",
        name=name,
        facts={"architecture": config.architecture, **facts, **_facts(module, layers, config)},
        tables=(_stages(module, layers),),
    )


def _facts(module: nn.Module, layers: LayerMap, config: HubConfig) -> dict[str, Cell]:
    number = sum(value.numel() for value in module.parameters())
    known = config.pretrained_cfg
    channels, height, width = config.input_size
    return {
        "parameters": number,
        "size in fp32": format_size(number * _BYTES),
        "input": f"{channels} x {height} x {width}, {known.get('interpolation')}, "
        f"centre share {known.get('crop_pct')}",
        "head": ", ".join(_head(module, layers)) or "none",
        "norm layers": _norms(module, layers),
        "selectors": f"head, norm, stage.0 to stage.{layers.num_stages - 1}, "
        f"layer.0 to layer.{layers.num_depths - 1}",
    }


def _head(module: nn.Module, layers: LayerMap) -> list[str]:
    """Give each classifier with the shape of its weights."""
    sizes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    return [
        f"{name} ({' x '.join(map(str, sizes.get(f'{name}.weight', ())))})" for name in layers.head
    ]


def _norms(module: nn.Module, layers: LayerMap) -> str:
    owners = {name.rpartition(".")[0] for name, role in layers.role.items() if role == "norm"}
    kinds = Counter(type(module.get_submodule(owner)).__name__ for owner in sorted(owners))
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"


def _stages(module: nn.Module, layers: LayerMap) -> Table:
    """Give one row per stage; the head follows the last one."""
    depths: dict[int, set[int]] = defaultdict(set)
    tensors: Counter[int] = Counter()
    parameters: Counter[int] = Counter()
    for name, value in module.named_parameters():
        stage = layers.stage[name]
        depths[stage].add(layers.depth[name])
        tensors[stage] += 1
        parameters[stage] += value.numel()
    total = parameters.total()
    rows = tuple(
        (
            "head" if stage == layers.num_stages else f"stage.{stage}",
            f"{min(depths[stage])} to {max(depths[stage])}",
            tensors[stage],
            parameters[stage],
            f"{parameters[stage] / total:.1%}",
        )
        for stage in sorted(depths)
    )
    columns = ("stage", "layers", "tensors", "parameters", "share")
    return Table(title="stages", columns=columns, rows=rows)
