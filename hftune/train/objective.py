"""What a step makes small: losses of a micro-batch, its images mixed, its teacher asked."""

from typing import TYPE_CHECKING

from torch import Tensor

from hftune.core import Batch
from hftune.data.class_weights import example_weights
from hftune.data.mix import mix_batch
from hftune.losses.distillation import distillation

if TYPE_CHECKING:
    from hftune.train.session import Session


def example_losses(session: "Session", batch: Batch, *, seed: int) -> Tensor:
    """Give the loss of each example of this rank's micro-batch, fp32 [B].

    Images and targets are mixed first, by draws from `seed` alone. The loss against the labels is
    weighed by class; the distance from the teacher, which sees the same mixed images, is not.
    """
    recipe = session.plan.recipe
    inputs, targets = session.to_device(batch)
    if recipe.data.mix.is_on:
        inputs, targets = mix_batch(
            inputs, targets, recipe.data.mix, num_classes=session.split.labels.size, seed=seed
        )
    logits = session.forward(inputs)
    losses = session.loss(logits, targets)
    if session.class_weights is not None:
        losses = losses * example_weights(session.class_weights, targets)
    teacher = session.guides.teacher
    if teacher is not None:
        with session.accelerator.autocast():
            answers = teacher(inputs)
        distances = distillation(
            logits, answers, temperature=recipe.distill.temperature, problem=recipe.problem
        )
        share = recipe.distill.weight
        losses = (1 - share) * losses + share * distances
    return losses
