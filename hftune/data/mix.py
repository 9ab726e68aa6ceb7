"""Mixup and CutMix through timm: two images of a micro-batch become one, targets with them.

Mixing stays within a micro-batch and draws from its seed alone, so that it does not depend on the
number of processes.
"""

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor
from torch.nn import functional

from hftune.data.augment import python_random
from hftune.errors import PlanError
from hftune.recipe.schema import MixRecipe

# First word of the seed, so that no two draws share a stream (see the order and the balance).
_MIX = 4

# timm's words for what is drawn once.
_MODES = {"batch": "batch", "pair": "pair", "image": "elem"}


def check_mix(recipe: MixRecipe, *, micro_batch_size: int) -> None:
    """Raise PlanError where images of a micro-batch would be left without a partner."""
    if recipe.is_on and micro_batch_size % 2:
        raise PlanError(
            "mixup and CutMix mix the images of a micro-batch in pairs, and one is left over",
            found=f"{micro_batch_size} images per micro-batch",
            allowed="an even number",
            where="train.micro_batch_size, or train.batch_size over the processes",
            remedy="make it even, or set data.mix.mixup and data.mix.cutmix to 0",
        )


def mix_batch(
    inputs: Tensor, targets: Tensor, recipe: MixRecipe, *, num_classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Give mixed inputs float [B, C, H, W] and their soft targets fp32 [B, K], on their device.

    `targets` are int64 [B], or float [B, K] with several labels; `seed` is that of the micro-batch.
    Image i is mixed with image B - 1 - i. Mixup takes a share of either (Zhang et al. 2018,
    equation 1); CutMix pastes a window of the other, and the target's share is the window's area
    within the image (Yun et al. 2019, equations 1 and 2). Raises ValueError for an odd B, and
    where nothing is to be mixed.
    """
    if len(inputs) % 2 or not recipe.is_on:
        raise ValueError(f"{len(inputs)} images cannot be mixed by {recipe}")
    answers = targets.float()
    if targets.ndim == 1:
        answers = functional.one_hot(targets, num_classes).float()
    # Each image as a class of its own: timm's soft targets are then the shares of the images.
    mixer = Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.p,
        switch_prob=recipe.cutmix_share,
        mode=_MODES[recipe.draw],
        label_smoothing=0.0,
        num_classes=len(inputs),
    )
    images = torch.arange(len(inputs), device=inputs.device)
    with python_random(np.random.Generator(np.random.PCG64([_MIX, seed]))):
        mixed, shares = mixer(inputs.clone(), images)  # timm works in place
    own = shares.diagonal().unsqueeze(1)
    return mixed, own * answers + (1 - own) * answers.flip(0)
