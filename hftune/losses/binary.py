"""Binary cross entropy: every class is a yes-or-no question of its own."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn import functional

from hftune.losses.per_class import per_class

Weight = Annotated[float, Gt(0)]


def binary(
    logits: Tensor, targets: Tensor, *, pos_weight: Weight | tuple[Weight, ...] = 1.0
) -> Tensor:
    """Give the sigmoid cross entropy per example, averaged over the classes, [B].

    `logits` [B, K]; `targets` float [B, K] in 0..1, or int64 [B], read as one yes among K. A yes
    counts `pos_weight` times: one number for all classes, or one for each. Raises PlanError where
    a list has not K numbers.
    """
    scores = logits.float()
    losses = functional.binary_cross_entropy_with_logits(
        scores,
        as_answers(targets, num_classes=scores.shape[1]),
        pos_weight=per_class(pos_weight, scores, option="loss.pos_weight"),
        reduction="none",
    )
    return losses.mean(dim=1)


def as_answers(targets: Tensor, *, num_classes: int) -> Tensor:
    """Give targets as fp32 [B, K]: a class position becomes a row with a single one."""
    if targets.is_floating_point():
        return targets.float()
    return functional.one_hot(targets, num_classes).float()
