"""A phase's frozen prefix: where its model is cut, and what keeps its output from being kept."""

import logging
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from hftune.core import Model, Phase, RunPlan
from hftune.data.augment import draws_at_random
from hftune.model.prefix import Cut, Prefix, Rest, find_cut
from hftune.recipe.schema import Recipe
from hftune.train.feature_key import Views

logger = logging.getLogger(__name__)

# Images that a cut is tried out on: batch norm in train mode needs more than one.
_TRIAL_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A phase's model in two parts, which share its layers.

    `views` is how training images come to the prefix; `why_not` says what keeps its output for
    them from being kept, None where nothing does.
    """

    cut: Cut
    prefix: Prefix
    rest: Rest
    views: Views
    why_not: str | None

    @property
    def is_cut(self) -> bool:
        """Say whether training runs the two parts by themselves, and only the rest is wrapped."""
        return self.why_not is None


def find_frozen(
    accelerator: Accelerator,
    plan: RunPlan,
    model: Model,
    phase: Phase,
    *,
    layout: torch.memory_format,
) -> Frozen | None:
    """Cut a phase's model; None where there is nothing to cut off, or the recipe wants none.

    The module is on the device, frozen for the phase and in its train mode, and is left so. Called
    by every rank (collective).
    """
    if not wants_cut(plan, phase):
        return None
    with accelerator.autocast():
        frozen = divide(plan, model, device=accelerator.device, layout=layout)
    found = [frozen is not None]
    if not all(found if accelerator.num_processes == 1 else gather_object(found)):
        logger.info("no frozen part of this model can be told apart while '%s' trains", phase.label)
        return None
    return frozen


def wants_cut(plan: RunPlan, phase: Phase) -> bool:
    """Say whether a phase has frozen layers in front that its recipe wants cut off."""
    return plan.recipe.train.cache.features != "off" and phase.frozen_prefix is not None


def divide(
    plan: RunPlan, model: Model, *, device: torch.device, layout: torch.memory_format
) -> Frozen | None:
    """Cut a model as `find_frozen` does, on this rank alone; None where it cannot be cut.

    Call it under the run's autocast.
    """
    spec = model.input_spec
    shape = (_TRIAL_IMAGES, spec.channels, spec.height, spec.width)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    inputs = drawn.to(device).contiguous(memory_format=layout)
    cut = find_cut(model.module, inputs, head=model.layers.head)
    if cut is None:
        return None
    views, why_not = settle_views(plan.recipe)
    return Frozen(
        cut=cut,
        prefix=Prefix(model.module, cut),
        rest=Rest(model.module, cut.trained, cut.packing),
        views=views,
        why_not=why_not,
    )


def frozen_text(plan: RunPlan) -> str | None:
    """Say what a plan means for frozen layers; None where every phase trains from the start on."""
    labels = [f"'{phase.label}'" for phase in plan.phases if phase.frozen_prefix is not None]
    if not labels:
        return None
    views, why_not = settle_views(plan.recipe)
    where = f"while {', '.join(labels)} trains"
    if plan.recipe.train.cache.features == "off" or why_not is not None:
        return f"run in every epoch {where}: {why_not or 'train.cache.features is off'}"
    versions = "" if views.seed is None else f", {views.number} augmented versions of each"
    return f"run once per image {where}{versions}, as far as it saves time and fits"


def settle_views(recipe: Recipe) -> tuple[Views, str | None]:
    """Give how training images come to a prefix, and what keeps its output from being kept."""
    augment, wanted = recipe.data.augment, recipe.train.cache.views
    if recipe.data.mix.is_on:
        return Views(), "mixup and CutMix mix the images anew at every step"
    if recipe.distill.teacher is not None:
        return Views(), "the teacher looks at the images themselves"
    if any(component.is_code for component in augment):
        return Views(), "what an augmentation of one's own gives may change without a trace"
    if not any(map(draws_at_random, augment)):
        return Views(augment=augment), None
    if wanted is None:
        return Views(), "images are augmented anew in every epoch, and train.cache.views is not set"
    return Views(number=wanted, augment=augment, seed=recipe.train.seed), None
