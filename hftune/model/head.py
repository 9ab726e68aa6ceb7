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


def pick_rows(
    tensors: Mapping[str, Tensor],
    head: Sequence[str],
    *,
    rows: Sequence[int | None],
    num_base: int,
    where: str,
) -> dict[str, Tensor]:
    """Give `tensors` with those of the head made of their `rows`; None is the mean of them all.

    A class that starts from the mean of all weights and biases starts from the mean of all logits:
    beside rows that are all kept it never is the largest, so the old answers stand at first.

    Raises WeightsError when the file's head has another number of rows than `num_base`.
    """
    made = dict(tensors)
    for name, tensor in tensors.items():
        if is_under(name, head):
            if tensor.ndim == 0 or tensor.shape[0] != num_base:
                raise WeightsError(
                    "the head in this file has another size than its class names say",
                    found=f"{name} with shape {tuple(tensor.shape)}",
                    allowed=f"{num_base} rows",
                    where=where,
                    remedy="repair label_names in the base's config.json",
                )
            mean = tensor.double().mean(dim=0).to(tensor.dtype)
            made[name] = torch.stack([mean if row is None else tensor[row] for row in rows])
    return made


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
