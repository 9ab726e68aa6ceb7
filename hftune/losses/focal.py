"""Focal loss: examples that are already easy count less (Lin et al. 2017, equation 5)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from hftune.losses.binary import as_answers
from hftune.losses.per_class import per_class

Share = Annotated[float, Ge(0), Le(1)]

# Keeps the slope of (1 - p) ** gamma finite where p is 1 and gamma is below 1.
_SMALLEST = 1e-12


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float, Ge(0)] = 2.0,
    alpha: Share | tuple[Share, ...] = 1.0,
) -> Tensor:
    """Give the softmax focal loss per example, [B]; gamma 0 is cross entropy.

    `logits` [B, K]; `targets` int64 [B], or float [B, K] with rows that sum to one. `alpha`
    scales the loss of an example by its class: one number for all, or one for each class. Raises
    PlanError where a list has not K numbers.
    """
    log_p = functional.log_softmax(logits.float(), dim=1)
    doubt = (-log_p.expm1()).clamp(min=_SMALLEST)
    losses = -per_class(alpha, log_p, option="loss.alpha") * doubt**gamma * log_p
    if targets.is_floating_point():
        return (targets.float() * losses).sum(dim=1)
    return losses.gather(1, targets.unsqueeze(1)).squeeze(1)


def binary_focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float, Ge(0)] = 2.0,
    alpha: Share | tuple[Share, ...] | None = None,
) -> Tensor:
    """Give the sigmoid focal loss per example, averaged over the classes, [B].

    `logits` [B, K]; `targets` float [B, K] in 0..1, or int64 [B], read as one yes among K. A yes
    counts `alpha` and a no `1 - alpha`: one number for all classes, or one for each; without
    `alpha` both count 1, and gamma 0 is `binary`. Raises PlanError where a list has not K numbers.
    """
    scores = logits.float()
    answers = as_answers(targets, num_classes=scores.shape[1])
    # 1 - p of the right answer, without the cancellation of 1 - sigmoid.
    doubt = (-scores).sigmoid() * answers + scores.sigmoid() * (1 - answers)
    losses = functional.binary_cross_entropy_with_logits(scores, answers, reduction="none")
    losses = doubt.clamp(min=_SMALLEST) ** gamma * losses
    if alpha is not None:
        balance = per_class(alpha, scores, option="loss.alpha")
        losses = (balance * answers + (1 - balance) * (1 - answers)) * losses
    return losses.mean(dim=1)
