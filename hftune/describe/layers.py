"""The layers of a model as tables: its stages, its depths, its norm layers, every parameter."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import nn

from hftune.core import LayerMap
from hftune.describe.description import Cell, Table, listed

_MOST_MODULES = 3


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A model's structure: its module, with or without trained values, and its layer map."""

    module: nn.Module
    map: LayerMap

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers in each parameter, from input to head."""
        return {name: value.numel() for name, value in self.module.named_parameters()}

    def stage(self, name: str) -> str:
        """Name the stage of a parameter as a selector does."""
        number = self.map.stage[name]
        return "head" if number == self.map.num_stages else f"stage.{number}"


def head_text(layers: Layers) -> str:
    """Give each classifier with the shape of its weights."""
    shapes = {name: tuple(value.shape) for name, value in layers.module.named_parameters()}
    heads = [f"{name} ({_shape(shapes.get(f'{name}.weight', ()))})" for name in layers.map.head]
    return ", ".join(heads) or "none"


def norm_text(layers: Layers) -> str:
    """Give the number of norm layers of each kind."""
    kinds = Counter(_kind(layers.module, owner) for owner in _norms(layers))
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"


def stage_table(layers: Layers) -> Table:
    """Give one row per stage; the head follows the last one."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(layers.sizes, key=lambda name: layers.map.stage[name]):
        members[layers.stage(name)].append(name)
    rows = tuple(
        (stage, _depths(layers, names), *_counts(layers, names)) for stage, names in members.items()
    )
    columns = ("stage", "layers", "tensors", "parameters", "share")
    return Table(title="stages", columns=columns, rows=rows)


def depth_table(layers: Layers) -> Table:
    """Give one row per depth, with the modules that lie there and the norm layers among them."""
    members: dict[int, list[str]] = defaultdict(list)
    for name in layers.sizes:
        members[layers.map.depth[name]].append(name)
    norms: dict[int, Counter[str]] = defaultdict(Counter)
    for owner, depth in _norms(layers).items():
        norms[depth][_kind(layers.module, owner)] += 1
    rows = tuple(
        (
            f"layer.{depth}",
            ", ".join(dict.fromkeys(layers.stage(name) for name in names)),
            *_counts(layers, names),
            ", ".join(f"{count} {kind}" for kind, count in norms[depth].items()) or None,
            listed(_modules(names), most=_MOST_MODULES),
        )
        for depth, names in sorted(members.items())
    )
    columns = ("layer", "stage", "tensors", "parameters", "share", "norms", "modules")
    return Table(title="layers", columns=columns, rows=rows)


def norm_table(layers: Layers) -> Table:
    """Give one row per kind of norm layer: its number, parameters and running statistics."""
    owners: dict[str, list[str]] = defaultdict(list)
    for owner in _norms(layers):
        owners[_kind(layers.module, owner)].append(owner)
    rows = []
    for kind, names in owners.items():
        parts = [layers.module.get_submodule(name) for name in names]
        own = [value for part in parts for value in part.parameters(recurse=False)]
        keeps = any(getattr(part, "running_var", None) is not None for part in parts)
        count = sum(value.numel() for value in own)
        rows.append((kind, len(names), count, "mean and variance" if keeps else "none"))
    columns = ("kind", "layers", "parameters", "running statistics")
    return Table(title="norm layers", columns=columns, rows=tuple(rows))


def parameter_table(layers: Layers) -> Table:
    """Give one row per parameter: name, shape, numbers, stage, depth and role."""
    rows = tuple(parameter_cells(layers).values())
    columns = ("name", "shape", "numbers", "stage", "layer", "role")
    return Table(title="parameters", columns=columns, rows=rows)


def parameter_cells(layers: Layers) -> dict[str, tuple[Cell, ...]]:
    """Give the cells of `parameter_table` by the parameter's name."""
    return {
        name: (
            name,
            _shape(tuple(value.shape)),
            value.numel(),
            layers.stage(name),
            f"layer.{layers.map.depth[name]}",
            layers.map.role[name],
        )
        for name, value in layers.module.named_parameters()
    }


def share_text(part: int, total: int) -> str:
    """Give a share as percent."""
    return f"{part / total:.1%}"


def _counts(layers: Layers, names: Sequence[str]) -> tuple[Cell, ...]:
    """Give the number of tensors, of parameters, and their share of all."""
    sizes: Mapping[str, int] = layers.sizes
    number = sum(sizes[name] for name in names)
    return len(names), number, share_text(number, sum(sizes.values()))


def _depths(layers: Layers, names: Sequence[str]) -> str:
    depths = [layers.map.depth[name] for name in names]
    first, last = min(depths), max(depths)
    return str(first) if first == last else f"{first} to {last}"


def _norms(layers: Layers) -> dict[str, int]:
    """Give each norm layer with its depth, also one that holds running statistics only."""
    return {
        name.rpartition(".")[0]: layers.map.depth[name]
        for name, role in layers.map.role.items()
        if role == "norm"
    }


def _kind(module: nn.Module, owner: str) -> str:
    return type(module.get_submodule(owner)).__name__


def _modules(names: Sequence[str]) -> list[str]:
    """Name the modules that hold these parameters: below each top-level one, what they share."""
    tops: dict[str, list[list[str]]] = defaultdict(list)
    for name in names:
        owner = name.split(".")[:-1] or [name]  # a parameter of the model itself names itself
        tops[owner[0]].append(owner)
    return [".".join(_shared(owners)) for owners in tops.values()]


def _shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """Give the parts that all paths begin with."""
    level = zip(*paths, strict=False)  # ends with the shortest path
    return [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, level)]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
