"""L2-SP: weights are drawn back to the pretrained point they start from, and not to zero.

The penalty is alpha/2 |w - w0|^2 over pretrained weights and beta/2 |w|^2 over new ones (Li,
Grandvalet and Davoine 2018, equation 2), with alpha = `strength` and beta = `new_strength`. Its
gradient is added to the gradient, as in the paper; an optimizer that rescales gradients rescales
it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hftune.core import Model
from hftune.optim.groups import takes_decay
from hftune.recipe.schema import OptimRecipe


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """Where a run starts: copies of the pretrained weights by name, on the CPU, and what is new.

    It holds what weight decay would touch; norms, biases, positions and tokens are left free.
    """

    strength: float
    new_strength: float
    pretrained: Mapping[str, Tensor]
    new: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A starting point beside the parameters that train now: tensor for tensor, on their device."""

    strength: float
    new_strength: float
    old: tuple[nn.Parameter, ...]
    starts: tuple[Tensor, ...]
    new: tuple[nn.Parameter, ...]


def starting_point(model: Model, optim: OptimRecipe) -> StartingPoint | None:
    """Copy where `model` stands, or give None without L2-SP.

    Called once, on the model as it was built and before a checkpoint is restored into it: what a
    resumed run is drawn to is the pretrained point, not the place where it was stopped.
    """
    if optim.l2_sp.strength == 0:
        return None
    touched = {
        name: value
        for name, value in model.module.named_parameters()
        if takes_decay(name, model.layers.role[name], num_dims=value.ndim)
    }
    new = touched.keys() & set(model.weights.reset)
    return StartingPoint(
        strength=optim.l2_sp.strength,
        new_strength=optim.l2_sp.new_strength,
        pretrained={
            name: value.detach().to("cpu", copy=True)
            for name, value in touched.items()
            if name not in new
        },
        new=frozenset(new),
    )


def place_pull(point: StartingPoint, module: nn.Module) -> Pull:
    """Bring the part of `point` that belongs to trainable parameters onto their device.

    Called once per phase, after `module` is on its device and frozen for the phase.
    """
    moving = {name: value for name, value in module.named_parameters() if value.requires_grad}
    old = [name for name in moving if name in point.pretrained]
    return Pull(
        strength=point.strength,
        new_strength=point.new_strength,
        old=tuple(moving[name] for name in old),
        starts=tuple(
            torch.empty_like(moving[name], requires_grad=False).copy_(point.pretrained[name])
            for name in old
        ),
        new=tuple(value for name, value in moving.items() if name in point.new),
    )


@torch.no_grad()
def pull_gradients(pull: Pull) -> None:
    """Add the penalty's gradient to each gradient: alpha (w - w0) on old weights, beta w on new.

    Side effect: changes gradients; a parameter without one is passed over. Called once per step by
    every rank, when gradients are complete and unscaled, before clipping. No host-device sync.
    """
    old = [
        (value.grad, value, start)
        for value, start in zip(pull.old, pull.starts, strict=True)
        if value.grad is not None
    ]
    if old:
        gradients, values, starts = (list(part) for part in zip(*old, strict=True))
        away = torch._foreach_sub(values, starts)
        torch._foreach_add_(gradients, away, alpha=pull.strength)
    new = [(value.grad, value) for value in pull.new if value.grad is not None]
    if new:
        gradients, values = (list(part) for part in zip(*new, strict=True))
        torch._foreach_add_(gradients, values, alpha=pull.new_strength)
