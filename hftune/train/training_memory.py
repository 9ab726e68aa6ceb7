"""A training step that does not fit: what it asked for, what there is, and what would fit."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hftune.errors import MemoryShortError
from hftune.train.machine_memory import DeviceMemory, device_memory, peak_memory
from hftune.train.memory import PhaseMemory, estimate_phase
from hftune.train.memory_short import is_memory_shortage
from hftune.train.plan import micro_batch_sizes

if TYPE_CHECKING:
    from hftune.train.session import Session


@contextlib.contextmanager
def training_memory(session: "Session") -> Iterator[None]:
    """Turn a shortage of memory in a step into MemoryShortError, on the rank that meets it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_shortage(error):
            raise
        raise _shortage(session) from error


def sizes_that_fit(
    sizes: list[int], tried: int, *, estimate: PhaseMemory, memory: DeviceMemory, peak: int
) -> list[int]:
    """Give those of `sizes` below `tried`, which failed, that should fit, largest first.

    The estimate of `tried` leaves some memory out. What was really taken, `peak`, is held against
    it: activations are counted as much larger as they were, and no smaller.
    """
    smaller = [size for size in reversed(sizes) if size < tried]
    if not estimate.activations:
        return smaller
    fixed = estimate.total - estimate.activations
    per_image = max(estimate.activations, peak - fixed) / tried
    return [size for size in smaller if fixed + per_image * size <= memory.room]


def _shortage(session: "Session") -> MemoryShortError:
    plan, device = session.plan, session.accelerator.device
    memory = device_memory(device)
    tried = plan.micro_batch_size
    fits = sizes_that_fit(
        micro_batch_sizes(plan.batch_size, plan.world_size),
        tried,
        estimate=estimate_phase(plan, session.model, session.phase, device),
        memory=memory,
        peak=peak_memory(device),
    )
    ways = [f"set train.micro_batch_size={fits[0]} (or auto)"] if fits else []
    if plan.precision == "fp32" and device.type == "cuda":
        ways.append("set train.precision=bf16 (or fp16)")
    ways += ["train fewer layers (unfreeze)", "use smaller images (model.image_size)"]
    return MemoryShortError(
        "the memory of the device does not hold a training step",
        found=f"{tried} images at once of a batch of {plan.batch_size}, in {plan.precision}, "
        f"training {session.phase.label}\n{device} has {memory}",
        allowed=f"train.micro_batch_size of {', '.join(map(str, fits))}, by estimate"
        if fits
        else None,
        where="train.micro_batch_size",
        remedy=f"{'; or '.join(ways)}\nthe global batch stays as it is; a run that was begun is "
        "started anew in another folder (--output)",
    )
