"""timm's own losses, called so that they give one number per example, in fp32.

Each agrees with timm's class: the mean over a batch is what the class gives by default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import timm.loss
import torch
from annotated_types import Ge, Gt, Le, Lt, Predicate, doc
from torch import Tensor, nn

from hftune.errors import PlanError
from hftune.losses.binary import as_answers


def _is_focus(gamma: float) -> bool:
    """Say whether p ** gamma has a finite slope at p = 0."""
    return gamma == 0 or gamma >= 1


Focus = Annotated[float, Predicate(_is_focus), doc("0, or a number that is at least 1")]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_pos: Focus = 1.0,
    gamma_neg: Focus = 4.0,
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1,
) -> Tensor:
    """Give the softmax form of the asymmetric loss per example, [B] (Ridnik et al. 2021).

    `logits` [B, K]; `targets` int64 [B]. The right class is focused by `gamma_pos`, the smoothed
    share of the others by `gamma_neg`.
    """
    loss = timm.loss.AsymmetricLossSingleLabel(
        gamma_pos=gamma_pos, gamma_neg=gamma_neg, eps=label_smoothing, reduction="none"
    )
    return _tensor(loss(logits.float(), targets))


def binary_asymmetric(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_pos: Focus = 1.0,
    gamma_neg: Focus = 4.0,
    clip: Annotated[float, Ge(0), Lt(1)] = 0.05,
) -> Tensor:
    """Give the asymmetric loss per example, summed over the classes, [B] (Ridnik et al. 2021).

    `logits` [B, K]; `targets` float [B, K] in 0..1, or int64 [B], read as one yes among K. A yes
    is focused by `gamma_pos` and a no by `gamma_neg`; noes of a probability below `clip` count
    nothing.
    """
    loss = timm.loss.AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip)
    return _one_by_one(loss, logits, as_answers(targets, num_classes=logits.shape[1]))


def poly(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: Annotated[float, Ge(-1)] = 2.0,
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> Tensor:
    """Give cross entropy + epsilon * (1 - p) per example, [B] (Leng et al. 2022, Poly-1).

    `logits` [B, K]; `targets` int64 [B], or float [B, K] with rows that sum to one. p is the
    probability of the right class; smoothing is for class positions alone.
    """
    loss = timm.loss.PolyCrossEntropy(epsilon=epsilon, smoothing=label_smoothing, reduction="none")
    return _tensor(loss(logits, targets))


def binary_poly(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: Annotated[float, Ge(-1)] = 2.0,
    gamma: Focus = 0.0,
    alpha: Share | None = None,
) -> Tensor:
    """Give focal loss + epsilon * (1 - p) ** (gamma + 1), averaged over the classes, [B].

    `logits` [B, K]; `targets` float [B, K] in 0..1, or int64 [B], read as one yes among K. p is the
    probability of the right answer (Leng et al. 2022); `alpha` as `binary_focal` has it.
    """
    loss = timm.loss.PolyBinaryCrossEntropy(
        epsilon=epsilon, gamma=gamma, alpha=alpha, reduction="none"
    )
    return _tensor(loss(logits, as_answers(targets, num_classes=logits.shape[1]))).mean(dim=1)


def zlpr(logits: Tensor, targets: Tensor) -> Tensor:
    """Give log(1 + sum of exp(z) over noes) + log(1 + sum of exp(-z) over yeses), [B].

    `logits` z [B, K]; `targets` float [B, K], a yes above one half (Su et al. 2022). Every yes is
    pushed above every no, and zero lies between; it does not grow with the number of noes.
    """
    return _one_by_one(timm.loss.ZlprLoss(), logits, targets)


def two_way(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature_pos: Positive = 4.0,
    temperature_neg: Positive = 1.0,
) -> Tensor:
    """Give the two-way loss of the whole batch, for each of its examples, [B] (Kobayashi 2023).

    `logits` [B, K]; `targets` float [B, K], a yes above one half. The hardest yes is pushed above
    the hardest no among the classes of an image, and among the images of a class: these come from
    the batch, so that the loss depends on which images are computed together.
    """
    loss = timm.loss.TwoWayLoss(tp=temperature_pos, tn=temperature_neg)
    return _tensor(loss(logits, targets)).expand(len(logits))


def distribution_balanced(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: tuple[int, ...],
    num_examples: int,
    gamma: Focus = 2.0,
    neg_scale: Positive = 2.0,
) -> Tensor:
    """Give the distribution-balanced loss, averaged over the classes, [B] (Wu et al. 2020).

    `logits` [B, K]; `targets` float [B, K] in 0..1. Each image counts for a class by how rare the
    class is among the image's own; noes are tolerated by `neg_scale`. `class_counts` are training
    examples per class, of `num_examples` in all. Raises PlanError where there are not K of them.
    """
    if len(class_counts) != logits.shape[1] or num_examples < 2:
        raise PlanError(
            "this loss weighs classes by their training images, and their numbers are not known",
            found=f"{len(class_counts)} classes counted over {num_examples} images, for"
            f" {logits.shape[1]} outputs",
            where="loss.name",
            remedy="choose another loss where the training images are not at hand",
        )
    settings = _Balance(counts=class_counts, num=num_examples, gamma=gamma, neg_scale=neg_scale)
    return _tensor(_balanced(settings, logits.device)(logits, targets)).mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class _Balance:
    counts: tuple[int, ...]
    num: int
    gamma: float
    neg_scale: float


@lru_cache(maxsize=8)
def _balanced(settings: _Balance, device: torch.device) -> nn.Module:
    """Give timm's module with its counts on the device, where they travel once."""
    with torch.inference_mode(mode=False):  # made in an evaluation, it must serve in training
        loss: nn.Module = timm.loss.DistributionBalancedLoss(
            settings.counts,
            settings.num,
            focal_gamma=settings.gamma,
            neg_scale=settings.neg_scale,
            reduction="none",
        )
        return loss.to(device)


@dataclass(frozen=True, kw_only=True)
class FromTimm:
    """A loss, the class of timm that computes it, and the version that brought that class."""

    function: Callable[..., Tensor]
    needs: str
    since: str


FROM_TIMM: Mapping[str, FromTimm] = {
    name: FromTimm(function=function, needs=needs, since=since)
    for name, function, needs, since in (
        ("asymmetric", asymmetric, "AsymmetricLossSingleLabel", "1.0.20"),
        ("binary_asymmetric", binary_asymmetric, "AsymmetricLossMultiLabel", "1.0.20"),
        ("poly", poly, "PolyCrossEntropy", "1.0.31"),
        ("binary_poly", binary_poly, "PolyBinaryCrossEntropy", "1.0.31"),
        ("zlpr", zlpr, "ZlprLoss", "1.0.31"),
        ("two_way", two_way, "TwoWayLoss", "1.0.31"),
        (
            "distribution_balanced",
            distribution_balanced,
            "DistributionBalancedLoss",
            "1.0.31",
        ),
    )
}


def offered(package: object) -> dict[str, Callable[..., Tensor]]:
    """Give the losses whose class `package`, timm's losses, has."""
    return {name: one.function for name, one in FROM_TIMM.items() if hasattr(package, one.needs)}


def _one_by_one(loss: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
    """Call a loss that reduces over its batch on one example at a time, in one pass."""
    scores = logits.float()
    if len(scores) == 0:
        return scores.sum(dim=1)
    return torch.vmap(lambda score, target: _tensor(loss(score[None], target[None])))(
        scores, targets
    )


def _tensor(value: object) -> Tensor:
    """Narrow what timm, which is untyped here, gives."""
    assert isinstance(value, Tensor)
    return value
