"""What trains and what stands still: gradient flags, and train or eval mode layer by layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from torch import nn

from hftune.core import LayerMap

BatchNormPolicy = Literal["train", "statistics", "all"]


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Numbers in a model, and how many of them train."""

    total: int
    trainable: int


def apply_freeze(module: nn.Module, trainable: frozenset[str]) -> None:
    """Make exactly the parameters in `trainable` require gradients, and forget all gradients.

    Side effect: changes flags and gradients of `module`.
    """
    parameters = dict(module.named_parameters())
    unknown = trainable - parameters.keys()
    if unknown:
        raise ValueError(f"not parameters of this module: {sorted(unknown)[:4]}")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trainable)
        parameter.grad = None


def count_parameters(module: nn.Module, trainable: frozenset[str]) -> ParameterCount:
    """Count the numbers in all parameters and in those named; a shared one counts once."""
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return ParameterCount(
        total=sum(sizes.values()),
        trainable=sum(size for name, size in sizes.items() if name in trainable),
    )


def set_train_mode(
    module: nn.Module,
    layers: LayerMap,
    *,
    trainable: frozenset[str],
    batch_norm: BatchNormPolicy,
) -> None:
    """Put `module` into train mode, but every frozen part of it into eval mode.

    A part is frozen when it holds parameters and none of them is in `trainable`; what holds none
    (dropout) follows the part around it, or at the top level the layer that comes next. So frozen
    layers are deterministic. Layers with running statistics then follow the policy:

    - train: they keep their statistics moving, also where frozen
    - statistics: as all else; frozen ones keep their statistics
    - all: also those of a depth where anything is frozen keep their statistics

    Side effect: sets the mode of every module; call again after any other `train()`.
    """
    frozen = _frozen_modules(module, trainable)
    mixed = _depths_not_all_trainable(module, layers, trainable)
    for name, child in module.named_modules():
        child.training = not frozen[name]
        if any(buffer == "running_var" for buffer, _ in child.named_buffers(recurse=False)):
            if batch_norm == "train":
                child.training = True
            elif batch_norm == "all" and layers.depth[f"{name}.running_var"] in mixed:
                child.training = False


def _frozen_modules(module: nn.Module, trainable: frozenset[str]) -> dict[str, bool]:
    """Say of each module, by name, whether it is frozen."""
    total: Counter[str] = Counter()
    training: Counter[str] = Counter()
    for name, _ in module.named_parameters():
        owner = name
        while owner:
            owner = owner.rpartition(".")[0]
            total[owner] += 1
            training[owner] += name in trainable
    frozen: dict[str, bool] = {}
    waiting: list[str] = []  # parts that hold nothing, until the next top-level layer
    for name, _ in module.named_modules():
        parent = name.rpartition(".")[0]
        if total[name]:
            frozen[name] = not training[name]
            if name and not parent:
                frozen.update(dict.fromkeys(waiting, frozen[name]))
                waiting.clear()
        elif parent and parent not in waiting:
            frozen[name] = frozen[parent]
        else:
            waiting.append(name)
            frozen[name] = False
    return frozen


def _depths_not_all_trainable(
    module: nn.Module, layers: LayerMap, trainable: frozenset[str]
) -> set[int]:
    return {layers.depth[name] for name, _ in module.named_parameters() if name not in trainable}
