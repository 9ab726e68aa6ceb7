"""`train.micro_batch_size: auto`: the largest that fits, the same on every rank and ever after."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import nn

from hftune.core import Model, RunPlan
from hftune.errors import MemoryShortError, RunFolderError
from hftune.train.evaluate import MOST_IMAGES
from hftune.train.json_record import read_mapping
from hftune.train.machine_memory import device_memory
from hftune.train.memory import PhaseMemory, estimate_memory, num_bytes
from hftune.train.micro_batch_trial import fits_on_gpu
from hftune.train.plan import micro_batch_sizes
from hftune.train.run_facts import PLAN_FILE
from hftune.train.world import World, from_first

logger = logging.getLogger(__name__)

# Of the memory of a machine; the rest is for what an estimate leaves out, and for other programs.
_SHARE_OF_MACHINE = 0.8


def fit_micro_batch(
    plan: RunPlan,
    model: Model,
    world: World,
    *,
    begun: int | None = None,
    teacher: nn.Module | None = None,
) -> RunPlan:
    """Give `plan` with the largest micro-batch that fits, where its recipe says auto.

    The global batch stays, accumulation follows. A run that goes on keeps to the size that it was
    `begun` with, wherever it is: batch norm sees one micro-batch at a time. Otherwise a GPU is
    tried, with `teacher` beside the model, and the memory of a machine is estimated; the rank with
    the least decides. Called by every rank (collective); leaves no trace in memory, `model` or
    random state. Raises MemoryShortError on every rank where not even the smallest fits.
    """
    if plan.recipe.train.micro_batch_size != "auto":
        return plan
    sizes = _sizes(plan)
    begun = from_first(begun)  # collective: other machines may not see the folder of the run
    if begun is not None:
        # Over more processes the size that a run was begun with may no longer divide the batch.
        size = max((size for size in sizes if size <= begun), default=sizes[0])
        return with_micro_batch(plan, size)
    own = _largest_here(plan, model, world, sizes=sizes, teacher=teacher)
    size = min(gather_object([own])) if world.size > 1 else own
    if size == 0:
        raise MemoryShortError(
            "the memory of the device does not hold the smallest possible micro-batch",
            found=f"{sizes[0]} images at once; {world.device} has {device_memory(world.device)}",
            where="train.micro_batch_size",
            remedy="train fewer layers (unfreeze), use smaller images (model.image_size) or a "
            "smaller backbone",
        )
    fitted = with_micro_batch(plan, size)
    logger.info(
        "train.micro_batch_size auto: %d images at once, accumulated %d times",
        *(fitted.micro_batch_size, fitted.accumulation),
    )
    return fitted


def settled_micro_batch(run: Path) -> int | None:
    """Give the micro-batch that the run in a folder was begun with; None where none was.

    Raises RunFolderError where its plan cannot be read.
    """
    path = run / PLAN_FILE
    if not path.is_file():
        return None
    size = read_mapping(path).get("micro_batch_size")
    if not isinstance(size, int) or size < 1:
        raise RunFolderError(
            "the plan of this run does not say how many images go through the model at once",
            found=f"micro_batch_size: {size}",
            where=str(path),
            remedy="restore the file, or train again into another folder with --output",
        )
    return size


def with_micro_batch(plan: RunPlan, size: int) -> RunPlan:
    """Give `plan` with micro-batches of `size` and the accumulation that keeps its batch."""
    accumulation = plan.batch_size // (size * plan.world_size)
    return replace(plan, micro_batch_size=size, accumulation=accumulation)


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int:
    """Give the largest of the rising `sizes` that fits, 0 for none, by bisection.

    Where one fits, so do all smaller ones.
    """
    fitting, too_large = 0, len(sizes) + 1
    while too_large - fitting > 1:
        middle = (fitting + too_large) // 2
        if fits(sizes[middle - 1]):
            fitting = middle
        else:
            too_large = middle
    return sizes[fitting - 1] if fitting else 0


def _sizes(plan: RunPlan) -> list[int]:
    """Give what divides the batch; mixing pairs the images of a micro-batch."""
    sizes = micro_batch_sizes(plan.batch_size, plan.world_size)
    return [size for size in sizes if size % 2 == 0 or not plan.recipe.data.mix.is_on]


def _largest_here(
    plan: RunPlan, model: Model, world: World, *, sizes: list[int], teacher: nn.Module | None
) -> int:
    """Give the largest size that fits on this rank's device; 0 for none."""
    device = world.device
    if device.type != "cuda":
        beside = 0 if teacher is None else num_bytes(teacher.state_dict().values())
        return largest_that_fits(sizes, _fits_machine(plan, model, device, beside=beside))
    estimates = estimate_memory(with_micro_batch(plan, sizes[0]), model, device)
    phase = plan.phases[estimates.index(max(estimates, key=_total))]
    return largest_that_fits(
        sizes,
        lambda size: fits_on_gpu(
            with_micro_batch(plan, size), model, phase, device=device, teacher=teacher
        ),
    )


def _fits_machine(
    plan: RunPlan, model: Model, device: torch.device, *, beside: int
) -> Callable[[int], bool]:
    """Give the function that says whether a size fits this machine by estimate.

    `beside` are bytes for other things. Where activations cannot be counted, a few images fit.
    """
    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes of this launch, this machine
    room = _SHARE_OF_MACHINE * device_memory(device).free / share - beside

    def fits(size: int) -> bool:
        phases = estimate_memory(with_micro_batch(plan, size), model, device)
        if any(phase.activations is None for phase in phases):
            return size <= MOST_IMAGES
        return max(map(_total, phases)) <= room

    return fits


def _total(phase: PhaseMemory) -> int:
    return phase.total
