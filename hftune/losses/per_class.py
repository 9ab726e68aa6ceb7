"""Options that are one number for all classes or a list with one number for each."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from hftune.errors import PlanError


def per_class(numbers: float | Sequence[float], logits: Tensor, *, option: str) -> Tensor:
    """Give `numbers` as fp32 on the device of `logits` [B, K]: [1] for one number, [K] for a list.

    Raises PlanError, which names the option, where a list has not K numbers.
    """
    if isinstance(numbers, int | float):
        return _on_device((float(numbers),), logits.device)
    num_classes = logits.shape[1]
    if len(numbers) != num_classes:
        raise PlanError(
            "a list has one number for each class",
            found=f"{len(numbers)} numbers for {num_classes} classes",
            allowed=f"{num_classes} numbers in the order of the classes, or one number for all",
            where=option,
        )
    return _on_device(tuple(numbers), logits.device)


@lru_cache(maxsize=32)
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Give a tensor that travels to the device once, not at every step."""
    # Made during an evaluation, it must still serve in training.
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=torch.float32, device=device)
