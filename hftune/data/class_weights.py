"""How much the classes count in the loss of a problem with one class per image, by name.

A rule is a function (labels, *, options) -> one number per class in training order, in any scale.
To add one, give `CLASS_WEIGHTS` a line.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from hftune.components import bind
from hftune.core import LabelSpace
from hftune.errors import PlanError
from hftune.recipe.schema import Component
from hftune.recipe.wording import did_you_mean, listed


def inverse(labels: LabelSpace) -> list[float]:
    """Give 1 / n_k: every class weighs the same in all; scikit-learn's "balanced"."""
    return [1 / count for count in _seen(labels)]


def effective(labels: LabelSpace, *, beta: Annotated[float, Gt(0), Lt(1)] = 0.999) -> list[float]:
    """Give (1 - beta) / (1 - beta ** n_k) (Cui et al. 2019, equation 2).

    Far below 1 / (1 - beta) images a class counts as with `inverse`, far above it no more than
    another such class.
    """
    # expm1 keeps the digits that 1 - beta ** n loses for beta near 1; the numerator scales away.
    return [-1 / math.expm1(count * math.log(beta)) for count in _seen(labels)]


def given(labels: LabelSpace, *, weights: Mapping[str, Annotated[float, Gt(0)]]) -> list[float]:
    """Give `weights` by the name of the class. Raises PlanError unless every class is named."""
    unknown = [name for name in weights if name not in labels.index]
    missing = [name for name in labels.names if name not in weights]
    if unknown or missing:
        found = [f"'{name}' is no class{did_you_mean(name, labels.names)}" for name in unknown]
        found += [f"without a weight: {listed(missing)}"] if missing else []
        raise PlanError(
            "the class weights do not fit the classes of the data",
            found="\n".join(found),
            allowed=f"one number for each of {listed(labels.names)}",
            where="data.class_weights.weights",
            remedy="name every class once, as the data do",
        )
    return [weights[name] for name in labels.names]


CLASS_WEIGHTS: Mapping[str, Callable[..., Sequence[float]]] = {
    "inverse": inverse,
    "effective": effective,
    "given": given,
}


def class_weights(
    component: Component, labels: LabelSpace, *, folder: Path | None = None
) -> Tensor:
    """Give the weight of each class, fp32 [K], of mean 1 over the training examples.

    So a run with weights has steps of the size of one without. `labels` are those of the training
    split; `folder` is where relative './file.py' code lies. Raises ComponentError for an unknown
    name or wrong options, and PlanError for numbers that do not fit the classes.
    """
    rule = bind(component, CLASS_WEIGHTS, family="class weights", folder=folder)
    raw = torch.tensor([float(number) for number in rule(labels)], dtype=torch.float64)
    if len(raw) != labels.size or not bool((raw.isfinite() & (raw > 0)).all()):
        raise PlanError(
            f"'{component.name}' does not give one positive number per class",
            found=f"{raw.tolist()} for {labels.size} classes",
            where="data.class_weights",
            remedy="return a list with a positive number for each of labels.names",
        )
    counts = torch.tensor(_known(labels), dtype=torch.float64)
    return (raw * counts.sum() / (raw * counts).sum()).float()


def example_weights(weights: Tensor, targets: Tensor) -> Tensor:
    """Give the weight of each example, [B]: that of its class, or the mean over a soft target.

    `weights` [K]; `targets` int64 [B], or float [B, K] with rows that sum to one; one device.
    """
    if targets.is_floating_point():
        return (targets * weights).sum(dim=1)
    return weights[targets]


def _known(labels: LabelSpace) -> tuple[int, ...]:
    """Give the counts of the classes. Raises PlanError where nobody has counted."""
    if sum(labels.counts) == 0:
        raise PlanError(
            "the classes cannot be weighed: how many training images they have is not known",
            where="data.class_weights",
            remedy="train on data with class labels, or remove data.class_weights",
        )
    return labels.counts


def _seen(labels: LabelSpace) -> list[int]:
    """Give the counts with at least 1: a class without images has a weight that nothing uses."""
    return [max(1, count) for count in _known(labels)]
