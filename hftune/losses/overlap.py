"""Overlap of the chosen with the right classes of one image: Dice, Jaccard, Dice with BCE.

Made for masks, where the sums run over pixels. Here they run over the K classes of an image: p is
the sigmoid of its logits, y its yes-or-no targets. That serves images with few of many classes,
whose many correct noes would fill a plain BCE; a class that is neither right nor chosen adds
nothing. They say little for few classes, and nothing new where exactly one class is right.

Targets are zeros and ones. Between them the least loss is not at p = y (Wang et al. 2023, "Dice
semimetric losses"), so mixed targets do not fit.
"""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from hftune.losses.binary import binary

Positive = Annotated[float, Gt(0)]


def dice(logits: Tensor, targets: Tensor, *, smooth: Positive = 1.0) -> Tensor:
    """Give 1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth) per example, [B], in 0..1.

    `logits` [B, K]; `targets` float [B, K] zeros and ones. It is one minus the F1 score of an
    image's classes, counted by probabilities (Milletari et al. 2016 with plain sums). `smooth`
    makes an image without classes count, and is worth as much as that many classes that are right.
    """
    p, y = logits.float().sigmoid(), targets.float()
    overlap = (p * y).sum(dim=1)
    return 1 - (2 * overlap + smooth) / (p.sum(dim=1) + y.sum(dim=1) + smooth)


def iou(logits: Tensor, targets: Tensor, *, smooth: Positive = 1.0) -> Tensor:
    """Give 1 - (sum(p y) + smooth) / (sum(p) + sum(y) - sum(p y) + smooth) per example, [B].

    The Jaccard loss (Rahman and Wang 2016), in 0..1: where Dice forgives a half-right answer, this
    is stricter. Arguments as `dice` has them.
    """
    p, y = logits.float().sigmoid(), targets.float()
    overlap = (p * y).sum(dim=1)
    union = p.sum(dim=1) + y.sum(dim=1) - overlap
    return 1 - (overlap + smooth) / (union + smooth)


def bce_dice(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: Positive = 1.0,
    dice_weight: Annotated[float, Ge(0)] = 1.0,
) -> Tensor:
    """Give the BCE, averaged over the classes, plus `dice_weight` times `dice` per example, [B].

    BCE keeps a slope where Dice is flat: where every class is wrong with certainty.
    """
    return binary(logits, targets) + dice_weight * dice(logits, targets, smooth=smooth)
