"""Losses by name.

A loss is a function (logits [B, K], targets int64 [B] or float [B, K], *, options) -> loss per
example [B]. It computes in fp32 whatever the logits' type, and gives [0] for an empty batch; the
caller weighs and averages. To add one, write it in this folder and give it a line in `LOSSES`
and one in `FITS`. A loss that has `class_counts` and `num_examples` among its keyword-only
parameters is given those of the training split.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import timm.loss
import torch
from torch import Tensor

from hftune.components import bind, find
from hftune.core import LabelSpace, ProblemName
from hftune.errors import ComponentError, HftuneError, PlanError
from hftune.losses.binary import binary
from hftune.losses.cross_entropy import cross_entropy
from hftune.losses.focal import binary_focal, focal
from hftune.losses.from_timm import FROM_TIMM, offered
from hftune.losses.overlap import bce_dice, dice, iou
from hftune.losses.own import OwnLoss, build_module, is_module_class, with_named_options
from hftune.losses.regression import huber, l1, mse, smooth_l1
from hftune.recipe.schema import Component

LossFunction = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary": binary,
    "focal": focal,
    "binary_focal": binary_focal,
    "dice": dice,
    "bce_dice": bce_dice,
    "iou": iou,
    **offered(timm.loss),
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "smooth_l1": smooth_l1,
}

_ONE_CLASS: frozenset[ProblemName] = frozenset({"single_label"})
_ANY_CLASSES: frozenset[ProblemName] = frozenset({"single_label", "multi_label"})
_CHOSEN_CLASSES: frozenset[ProblemName] = frozenset({"multi_label"})
_NUMBER: frozenset[ProblemName] = frozenset({"regression"})

# The problems that each loss fits.
FITS: Mapping[str, frozenset[ProblemName]] = {
    "cross_entropy": _ONE_CLASS,
    "binary": _ANY_CLASSES,
    "focal": _ONE_CLASS,
    "binary_focal": _ANY_CLASSES,
    "dice": _CHOSEN_CLASSES,
    "bce_dice": _CHOSEN_CLASSES,
    "iou": _CHOSEN_CLASSES,
    "asymmetric": _ONE_CLASS,
    "binary_asymmetric": _ANY_CLASSES,
    "poly": _ONE_CLASS,
    "binary_poly": _ANY_CLASSES,
    "zlpr": _CHOSEN_CLASSES,
    "two_way": _CHOSEN_CLASSES,
    "distribution_balanced": _CHOSEN_CLASSES,
    "mse": _NUMBER,
    "l1": _NUMBER,
    "huber": _NUMBER,
    "smooth_l1": _NUMBER,
}

# Losses that are right for plain yes and no only: mixup and CutMix give shares of both.
UNMIXED: frozenset[str] = frozenset({"dice", "bce_dice", "iou", "asymmetric", "zlpr", "two_way"})

# What `make_loss` fills in where a loss has it among its parameters; no options of a recipe.
GIVEN: frozenset[str] = frozenset({"class_counts", "num_examples"})


def losses_for(problem: ProblemName) -> tuple[str, ...]:
    """Give the names of the losses that fit a problem."""
    return tuple(name for name in LOSSES if problem in FITS[name])


def find_loss(name: str, *, folder: Path | None = None) -> Callable[..., Any]:
    """Give the loss called `name`, as a function whose keyword-only parameters are its options.

    `folder` is where relative './file.py' code lies. Raises ComponentError for a name that no table
    knows, and for a loss of a newer timm.
    """
    if name in FROM_TIMM and name not in LOSSES:
        raise ComponentError(
            f"the loss '{name}' needs timm {FROM_TIMM[name].since} or newer",
            found=f"timm {timm.__version__}",
            allowed=", ".join(LOSSES),
            remedy="install a newer timm, or choose another loss",
        )
    return with_named_options(find(name, LOSSES, family="loss", folder=folder))


def make_loss(
    component: Component,
    *,
    problem: ProblemName,
    folder: Path | None = None,
    labels: LabelSpace | None = None,
) -> LossFunction:
    """Give the loss with its options bound. `folder` is where relative './file.py' code lies.

    `labels` are those of the training split, for losses that ask how frequent classes are. Raises
    ComponentError for an unknown name or wrong options, and PlanError for a loss that does not fit
    the problem.
    """
    name = component.name
    given = {
        "class_counts": labels.counts if labels is not None else (),
        "num_examples": labels.num_examples if labels is not None else 0,
    }
    table = {name: find_loss(name, folder=folder)}
    loss = bind(component, table, family="loss", filled=given)
    _refuse_unfit(name, problem)
    if not component.is_code:
        return loss
    is_class = is_module_class(find(name, LOSSES, family="loss", folder=folder))
    return OwnLoss(build_module(loss, name=name) if is_class else loss)


def check_loss(loss: LossFunction, *, problem: ProblemName, num_classes: int) -> None:
    """Call the loss on a few examples. Raises PlanError where options or result do not fit."""
    num = _few(num_classes)
    shape = (num,) if problem == "single_label" else (num, num_classes)
    kind = torch.int64 if problem == "single_label" else torch.float32
    _check_call(loss, torch.zeros(shape, dtype=kind), num_classes=num_classes)


def check_mixed_loss(loss: LossFunction, *, num_classes: int) -> None:
    """Call the loss on examples with mixed targets. Raises PlanError where they do not fit."""
    targets = torch.full((_few(num_classes), num_classes), 1 / num_classes)
    _check_call(loss, targets, num_classes=num_classes)


def _few(num_classes: int) -> int:
    """Give another number than that of the classes, so that the two cannot be confused."""
    return 3 if num_classes == 2 else 2


def _refuse_unfit(name: str, problem: ProblemName) -> None:
    fits = FITS.get(name)
    if fits is not None and problem not in fits:
        raise PlanError(
            f"the loss '{name}' does not fit the problem '{problem}'",
            found=f"loss '{name}', which is for {' or '.join(sorted(fits))}",
            allowed=", ".join(losses_for(problem)),
            where="loss.name",
            remedy="choose one of these, or change 'problem'",
        )


def _check_call(loss: LossFunction, targets: Tensor, *, num_classes: int) -> None:
    num = len(targets)
    logits = torch.zeros(num, num_classes, requires_grad=True)
    try:
        result = loss(logits, targets)
    except HftuneError:
        raise
    except Exception as error:
        raise PlanError(
            f"the loss fails on {num} examples",
            found=f"{type(error).__name__}: {error}",
            allowed=f"logits [{num}, {num_classes}] and targets {_form(targets)}",
            where="loss",
            remedy="correct the loss or its options",
        ) from error
    if not isinstance(result, Tensor) or result.shape != (num,) or not result.requires_grad:
        raise PlanError(
            "the loss does not give one number per example",
            found=f"{_form(result)} for {num} examples of {num_classes} classes",
            allowed=f"shape [{num}], differentiable in the logits",
            where="loss",
            remedy="reduce over the classes only (torch's losses: reduction: none, and a mean over"
            " the classes); the mean over examples is taken by training",
        )


def _form(thing: object) -> str:
    """Say what a tensor is like, or what else there is."""
    if not isinstance(thing, Tensor):
        return type(thing).__name__
    loose = "" if thing.requires_grad or not thing.is_floating_point() else ", without a gradient"
    return f"{str(thing.dtype).removeprefix('torch.')} {list(thing.shape)}{loose}"
