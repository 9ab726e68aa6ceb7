"""Losses by name.

A loss is a function (logits [B, K], targets int64 [B] or float [B, K], *, options) -> loss per
example [B]. It computes in fp32 whatever the logits' type, and gives [0] for an empty batch; the
caller weighs and averages. To add one, write it in this folder and give it a line in `LOSSES`,
and one in `ONLY_FOR` where it does not fit every problem.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from hftune.components import bind
from hftune.core import ProblemName
from hftune.errors import PlanError
from hftune.losses.binary import binary
from hftune.losses.cross_entropy import cross_entropy
from hftune.losses.focal import binary_focal, focal
from hftune.recipe.schema import Component

LossFunction = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary": binary,
    "focal": focal,
    "binary_focal": binary_focal,
}

ONLY_FOR: Mapping[str, ProblemName] = {
    "cross_entropy": "single_label",
    "focal": "single_label",
}


def losses_for(problem: ProblemName) -> tuple[str, ...]:
    """Give the names of the losses that fit a problem."""
    return tuple(name for name in LOSSES if ONLY_FOR.get(name, problem) == problem)


def make_loss(
    component: Component, *, problem: ProblemName, folder: Path | None = None
) -> LossFunction:
    """Give the loss with its options bound. `folder` is where relative './file.py' code lies.

    Raises ComponentError for an unknown name or wrong options, and PlanError for a loss that does
    not fit the problem.
    """
    loss = bind(component, LOSSES, family="loss", folder=folder)
    if ONLY_FOR.get(component.name, problem) != problem:
        raise PlanError(
            f"the loss '{component.name}' does not fit the problem '{problem}'",
            found=f"loss '{component.name}', which is for '{ONLY_FOR[component.name]}'",
            allowed=", ".join(losses_for(problem)),
            where="loss.name",
            remedy="choose one of these, or change 'problem'",
        )
    return loss
