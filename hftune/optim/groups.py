"""Parameter groups by name: weight decay, a smaller rate per depth, rates by selector."""

from dataclasses import dataclass, replace

from torch import nn

from hftune.core import LayerMap
from hftune.errors import PlanError
from hftune.optim.layer_rates import LayerRate, rates_by_name
from hftune.recipe.schema import OptimRecipe


@dataclass(frozen=True, kw_only=True)
class ParamGroup:
    """Parameters that share a rate and a decay. `scale` is their rate divided by the peak rate."""

    label: str
    names: tuple[str, ...]
    scale: float
    weight_decay: float


def make_groups(
    optim: OptimRecipe, layers: LayerMap, module: nn.Module, *, trainable: frozenset[str]
) -> tuple[ParamGroup, ...]:
    """Put every parameter in `trainable` in exactly one group, from shallow to deep.

    The scale is `layer_decay ** (num_depths - 1 - depth)`, as in timm. The last selector of
    `optim.rates` that matches a parameter multiplies its scale, or fixes its rate; what has a rate
    of zero is in no group. No weight decay on norms, biases, positions, tokens and whatever is 1-d.
    A label depends on the recipe alone, not on `trainable`. Raises PlanError for a rate that cannot
    be read and for layer decay without depths, ModelError for a selector that fits nothing.
    """
    parameters = {name: value for name, value in module.named_parameters() if name in trainable}
    if unknown := trainable - parameters.keys():
        raise ValueError(f"not parameters of the module: {sorted(unknown)}")
    _check_depths(optim, layers)
    rates = rates_by_name(optim, layers, [name for name, _ in module.named_parameters()])
    moving = [name for name in parameters if name not in rates or rates[name].value > 0]
    members: dict[ParamGroup, list[str]] = {}
    for name in sorted(moving, key=lambda name: layers.depth[name]):
        decays = takes_decay(name, layers.role[name], num_dims=parameters[name].ndim)
        group = _empty_group(optim, layers, layers.depth[name], rates.get(name), decays=decays)
        members.setdefault(group, []).append(name)
    return tuple(replace(group, names=tuple(names)) for group, names in members.items())


def _empty_group(
    optim: OptimRecipe, layers: LayerMap, depth: int, rate: LayerRate | None, *, decays: bool
) -> ParamGroup:
    """Give the group, without names, of a parameter at `depth`."""
    parts = [] if rate is None else [rate.selector]
    scale = 1.0 if rate is None else rate.value
    if optim.layer_decay is not None and (rate is None or not rate.is_fixed):
        parts.append(f"depth {depth}")
        scale *= optim.layer_decay ** (layers.num_depths - 1 - depth)
    return ParamGroup(
        label=", ".join(parts or ["main"]) + ("" if decays else ", no decay"),
        names=(),
        scale=scale,
        weight_decay=optim.weight_decay if decays else 0.0,
    )


def takes_decay(name: str, role: str, *, num_dims: int) -> bool:
    """Say whether weight decay applies; kernels that embed patches or tokens are like any other."""
    if num_dims <= 1 or role in ("norm", "bias"):
        return False
    return role != "embed" or name.endswith(".weight")


def _check_depths(optim: OptimRecipe, layers: LayerMap) -> None:
    """Refuse layer decay where the backbone is one piece, so that there is no depth to go by."""
    depths = {layers.depth[name] for name, role in layers.role.items() if role != "head"}
    if optim.layer_decay not in (None, 1) and len(depths) < 2:
        raise PlanError(
            "layer decay has no depths to go by in this model",
            found=f"optim.layer_decay: {optim.layer_decay:g}, and a backbone of one piece",
            where="optim.layer_decay",
            remedy="give the backbone a rate of its own, such as optim.rates: {backbone: 0.1x}",
        )
