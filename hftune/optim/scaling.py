"""The rate for a global batch other than the one that it was found with."""

import math

from hftune.recipe.schema import OptimRecipe


def peak_lr(optim: OptimRecipe, *, batch_size: int) -> float:
    """Give the peak rate for a global batch of `batch_size` images.

    With r = `batch_size` / `lr_batch_size`, `optim.lr` is multiplied by r (linear: Goyal et al.
    2017, section 2.1), so that an image moves the weights as far as before, or by the root of r
    (sqrt: Krizhevsky 2014, section 5), so that the noise of a step stays as large. Without
    `lr_batch_size` it is `optim.lr` itself.
    """
    if optim.lr_batch_size is None:
        return optim.lr
    ratio = batch_size / optim.lr_batch_size
    return optim.lr * (ratio if optim.lr_scaling == "linear" else math.sqrt(ratio))
