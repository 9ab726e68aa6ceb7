"""Losses of a number against its target: the square, the distance, and what lies between."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn import functional

Positive = Annotated[float, Gt(0)]


def mse(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the squared error per example, [B]; least at the mean of what a target may be.

    `logits` [B, K] and `targets` float [B, K], in the target's own unit; the mean over K.
    """
    return _mean(functional.mse_loss, logits, targets)


def l1(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the absolute error per example, [B]; least at the median of what a target may be.

    `logits` [B, K] and `targets` float [B, K], in the target's own unit; the mean over K.
    """
    return _mean(functional.l1_loss, logits, targets)


def huber(logits: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """Give half the squared error up to an error of `delta`, from there a line, [B] (Huber 1964).

    Beyond `delta` an error e counts `delta * (e - delta / 2)`: a few wild targets do not rule the
    rest. `logits` [B, K], `targets` float [B, K] and `delta` are in the target's unit.
    """
    return _mean(partial(functional.huber_loss, delta=delta), logits, targets)


def smooth_l1(logits: Tensor, targets: Tensor, *, beta: Positive = 1.0) -> Tensor:
    """Give `huber` with delta `beta`, divided by `beta`: beyond it the slope is 1, [B].

    As `beta` shrinks this becomes `l1` (Girshick 2015, equation 3, where beta is 1).
    """
    return _mean(partial(functional.smooth_l1_loss, beta=beta), logits, targets)


def _mean(loss: Callable[..., Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    """Give the mean over K of torch's own loss, in fp32, [B]."""
    return loss(logits.float(), targets.float(), reduction="none").mean(dim=1)
