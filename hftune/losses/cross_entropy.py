"""Cross entropy over classes of which exactly one is right."""

from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
) -> Tensor:
    """Give the softmax cross entropy per example, [B].

    `logits` [B, K]; `targets` int64 [B], or float [B, K] with rows that sum to one. Smoothing
    moves that share of the target evenly over all classes (Szegedy et al. 2016, section 7).
    """
    if targets.is_floating_point():
        targets = targets.float()
    return functional.cross_entropy(
        logits.float(), targets, label_smoothing=label_smoothing, reduction="none"
    )
