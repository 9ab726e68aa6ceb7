"""The classifier of a model: whose classes it knows, and how a new one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hftune.errors import WeightsError
from hftune.model.layer_map import is_under

HeadInit = Literal["normal", "zero", "timm"]
_SD = 0.02


def kept_rows(base: Sequence[str], names: Sequence[str]) -> tuple[int, ...] | None:
    """Give, for each class of `names`, its row in the base's head; None if the classes differ."""
    if len(set(base)) != len(base) or set(base) != set(names) or len(base) != len(names):
        return None
    row = {name: position for position, name in enumerate(base)}
    return tuple(row[name] for name in names)


def reorder_rows(
    tensors: Mapping[str, Tensor],
    head: Sequence[str],
    *,
    rows: Sequence[int],
    where: str,
) -> dict[str, Tensor]:
    """Give `tensors` with the head's rows picked in the order `rows`.

    Raises WeightsError when the file's head has another number of rows.
    """
    index = torch.tensor(rows)
    ordered = dict(tensors)
    for name, tensor in tensors.items():
        if is_under(name, head):
            if tensor.ndim == 0 or tensor.shape[0] != len(rows):
                raise WeightsError(
                    "the head in this file has another size than its class names say",
                    found=f"{name} with shape {tuple(tensor.shape)}",
                    allowed=f"{len(rows)} rows",
                    where=where,
                    remedy="repair label_names in the base's config.json",
                )
            ordered[name] = tensor[index]
    return ordered


def start_head(
    module: nn.Module, head: Sequence[str], *, num_classes: int, init: HeadInit, seed: int
) -> None:
    """Start the classifier's last layers anew: weights by `init`, biases zero.

    'timm' keeps the values with which timm's constructor starts a head. Side effect: changes
    values in `module`; the global random state is neither used nor moved.
    """
    if init == "timm":
        return
    generator = torch.Generator().manual_seed(seed)
    for name, child in module.named_modules():
        if is_under(name, head) and _gives_logits(child, num_classes):
            weight, bias = child.weight, child.bias
            if isinstance(weight, Tensor) and init == "normal":
                nn.init.normal_(weight, std=_SD, generator=generator)
            elif isinstance(weight, Tensor):
                nn.init.zeros_(weight)
            if isinstance(bias, Tensor):
                nn.init.zeros_(bias)


def centre_head(module: nn.Module, head: Sequence[str], *, num_classes: int, value: float) -> None:
    """Let the classifier's last layers start at `value`: their biases, where they have some.

    For a number whose targets lie around `value`, so that the first steps do not go into reaching
    it. Side effect: changes values in `module`.
    """
    for name, child in module.named_modules():
        if is_under(name, head) and _gives_logits(child, num_classes):
            bias = child.bias
            if isinstance(bias, Tensor):
                nn.init.constant_(bias, value)


def _gives_logits(module: nn.Module, num_classes: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == num_classes
    return isinstance(module, nn.Conv2d) and module.out_channels == num_classes
