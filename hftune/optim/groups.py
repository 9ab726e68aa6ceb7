"""Parameter groups by name: weight decay, a smaller rate per depth, rates by selector."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from hftune.core import LayerMap
from hftune.errors import ModelError, PlanError
from hftune.model.select import select
from hftune.recipe.schema import OptimRecipe

_MULTIPLE = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*x")


@dataclass(frozen=True, kw_only=True)
class ParamGroup:
    """Parameters that share a rate and a decay. `scale` is their rate divided by the peak rate."""

    label: str
    names: tuple[str, ...]
    scale: float
    weight_decay: float


@dataclass(frozen=True, kw_only=True)
class _Rate:
    """What `optim.rates` says of a parameter: a factor, or the scale itself if `is_fixed`."""

    selector: str
    value: float
    is_fixed: bool


def make_groups(
    optim: OptimRecipe, layers: LayerMap, module: nn.Module, *, trainable: frozenset[str]
) -> tuple[ParamGroup, ...]:
    """Put every parameter in `trainable` in exactly one group, from shallow to deep.

    The scale is `layer_decay ** (num_depths - 1 - depth)`. The last selector of `optim.rates` that
    matches a parameter multiplies its scale, or fixes its rate. No weight decay on norms, biases,
    positions, tokens and whatever is 1-d. A label depends on the recipe alone, not on `trainable`.
    Raises PlanError for a rate that cannot be read, ModelError for a selector that fits nothing.
    """
    parameters = {name: value for name, value in module.named_parameters() if name in trainable}
    if unknown := trainable - parameters.keys():
        raise ValueError(f"not parameters of the module: {sorted(unknown)}")
    rates = _rate_by_name(optim, layers, [name for name, _ in module.named_parameters()])
    members: dict[ParamGroup, list[str]] = {}
    for name in sorted(parameters, key=lambda name: layers.depth[name]):
        decays = _decays(name, layers.role[name], num_dims=parameters[name].ndim)
        group = _empty_group(optim, layers, layers.depth[name], rates.get(name), decays=decays)
        members.setdefault(group, []).append(name)
    return tuple(replace(group, names=tuple(names)) for group, names in members.items())


def _empty_group(
    optim: OptimRecipe, layers: LayerMap, depth: int, rate: _Rate | None, *, decays: bool
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


def _decays(name: str, role: str, *, num_dims: int) -> bool:
    """Say whether weight decay applies; kernels that embed patches or tokens are like any other."""
    if num_dims <= 1 or role in ("norm", "bias"):
        return False
    return role != "embed" or name.endswith(".weight")


def _rate_by_name(
    optim: OptimRecipe, layers: LayerMap, names: Sequence[str]
) -> Mapping[str, _Rate]:
    result: dict[str, _Rate] = {}
    for selector, value in optim.rates.items():
        rate = _read_rate(selector, value, peak=optim.lr)
        try:
            matched = select((selector,), layers, names)
        except ModelError as error:
            error.where = "optim.rates"
            raise
        result.update(dict.fromkeys(matched, rate))
    return result


def _read_rate(selector: str, value: float | str, *, peak: float) -> _Rate:
    """Read an absolute rate, or a multiple of the peak rate such as '3x'."""
    if isinstance(value, str):
        match = _MULTIPLE.fullmatch(value.strip())
        number = float(match[1]) if match else math.nan
    else:
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise PlanError(
            f"the rate of '{selector}' cannot be used",
            found=repr(value),
            allowed="a rate above zero such as 1e-4, or a multiple of optim.lr such as '3x'",
            where=f"optim.rates.{selector}",
            remedy="to keep parameters as they are, leave them out of unfreeze",
        )
    if isinstance(value, str):
        return _Rate(selector=selector, value=number, is_fixed=False)
    return _Rate(selector=selector, value=number / peak, is_fixed=True)
