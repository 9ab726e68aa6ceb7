"""Losses by name.

A loss is a function (logits [B, K], targets int64 [B] or float [B, K], *, options) -> loss per
example [B]. It computes in fp32 whatever the logits' type, and gives [0] for an empty batch; the
caller weighs and averages. To add one, write it in this folder and give it a line in `LOSSES`
and one in `FITS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hftune.components import bind
from hftune.core import ProblemName
from hftune.errors import PlanError
from hftune.losses.binary import binary
from hftune.losses.cross_entropy import cross_entropy
from hftune.losses.focal import binary_focal, focal
from hftune.losses.regression import huber, l1, mse, smooth_l1
from hftune.recipe.schema import Component

LossFunction = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary": binary,
    "focal": focal,
    "binary_focal": binary_focal,
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "smooth_l1": smooth_l1,
}

_ONE_CLASS: frozenset[ProblemName] = frozenset({"single_label"})
_ANY_CLASSES: frozenset[ProblemName] = frozenset({"single_label", "multi_label"})
_NUMBER: frozenset[ProblemName] = frozenset({"regression"})

# The problems that each loss fits.
FITS: Mapping[str, frozenset[ProblemName]] = {
    "cross_entropy": _ONE_CLASS,
    "binary": _ANY_CLASSES,
    "focal": _ONE_CLASS,
    "binary_focal": _ANY_CLASSES,
    "mse": _NUMBER,
    "l1": _NUMBER,
    "huber": _NUMBER,
    "smooth_l1": _NUMBER,
}


def losses_for(problem: ProblemName) -> tuple[str, ...]:
    """Give the names of the losses that fit a problem."""
    return tuple(name for name in LOSSES if problem in FITS[name])


def make_loss(
    component: Component, *, problem: ProblemName, folder: Path | None = None
) -> LossFunction:
    """Give the loss with its options bound. `folder` is where relative './file.py' code lies.

    Raises ComponentError for an unknown name or wrong options, and PlanError for a loss that does
    not fit the problem.
    """
    loss = bind(component, LOSSES, family="loss", folder=folder)
    fits = FITS.get(component.name)
    if fits is not None and problem not in fits:
        raise PlanError(
            f"the loss '{component.name}' does not fit the problem '{problem}'",
            found=f"loss '{component.name}', which is for {' or '.join(sorted(fits))}",
            allowed=", ".join(losses_for(problem)),
            where="loss.name",
            remedy="choose one of these, or change 'problem'",
        )
    return loss


def check_loss(loss: LossFunction, *, problem: ProblemName, num_classes: int) -> None:
    """Call the loss on two examples. Raises PlanError where options or result do not fit."""
    logits = torch.zeros(2, num_classes, requires_grad=True)
    shape = (2,) if problem == "single_label" else (2, num_classes)
    kind = torch.int64 if problem == "single_label" else torch.float32
    result = loss(logits, torch.zeros(shape, dtype=kind))
    if result.shape != (2,) or not result.requires_grad:
        raise PlanError(
            "the loss does not give one number per example",
            found=f"shape {list(result.shape)} for 2 examples of {num_classes} classes",
            allowed="shape [2], differentiable in the logits",
            where="loss",
            remedy="reduce over the classes only; the mean over examples is taken by training",
        )
