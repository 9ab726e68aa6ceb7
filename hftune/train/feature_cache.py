"""Run a frozen prefix once over the images of a split, and keep what it gives.

Every rank makes a share of the shards that its machine lacks; then all ranks find all of them. A
stop signal ends the pass as it ends an evaluation, and the shards that are finished stay.
"""

import logging
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from hftune.cache_folders import cache_root
from hftune.core import InputSpec, Phase, RunPlan, Split
from hftune.data.image_input import model_inputs
from hftune.data.listed import Pixels, listed_batches
from hftune.errors import DiskError, HftuneError
from hftune.model.packing import Packing
from hftune.recipe.schema import CacheRecipe
from hftune.train.control import Control
from hftune.train.feature_key import Views
from hftune.train.feature_store import KIND, Rows, Store, Wanted
from hftune.train.machine_memory import machine_memory
from hftune.units import format_duration, format_size, parse_size

logger = logging.getLogger(__name__)

# Of the memory of a machine that is free, for all its processes together.
_SHARE_OF_MACHINE = 0.5


class KeepingStopped(Exception):
    """A stop signal came while features were made: raised on every rank alike."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images as they go into a prefix: `pixels` makes them, the turn of one being its view."""

    split: Split
    pixels: Pixels
    views: Views
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """What makes rows of images: a prefix on its device."""

    accelerator: Accelerator
    prefix: nn.Module
    spec: InputSpec
    layout: torch.memory_format
    control: Control


def keep_features(
    source: Source, kitchen: Kitchen, wanted: Wanted, recipe: CacheRecipe
) -> Rows | None:
    """Give the rows of all images and views, view by view; None where they cannot be kept.

    The reason is said in one line. Called by every rank (collective). Raises KeepingStopped.
    """
    memory = _memory_limit(recipe)
    with Store(wanted) as store:
        number = len(store.missing())
        why_not = _first_reason(kitchen.accelerator, _settle_place(store, recipe, memory))
        if why_not is None and any(_gather(kitchen.accelerator, bool(number))):
            why_not = _make(source, kitchen, store)
        if why_not is not None:
            logger.info("%s are not kept: %s", wanted.says, why_not)
            return None
        rows = store.rows(memory=memory)
        logger.info(
            "%s: %s, %s, %d of %d parts made now",
            *(wanted.says, format_size(wanted.num_bytes)),
            "in memory" if wanted.num_bytes <= memory else f"mapped from {cache_root() / KIND}",
            *(number, wanted.num_shards),
        )
        return rows


def kept_dtype(packing: Packing, recipe: CacheRecipe) -> torch.dtype:
    """Give the type in which rows are kept."""
    return torch.bfloat16 if recipe.dtype == "bf16" else packing.dtype


def repays(plan: RunPlan, *, steps: int, rows: int) -> bool:
    """Say whether `steps` steps show more training images than the `rows` that are to be made."""
    return plan.recipe.train.cache.features == "on" or steps * plan.batch_size > rows


def num_evaluations(plan: RunPlan, phase: Phase) -> int:
    """Count the evaluations of a phase, from its first step to its last."""
    number = phase.stop // plan.eval_every - phase.start // plan.eval_every
    return number + (phase.stop == plan.total_steps and phase.stop % plan.eval_every > 0)


def place_ahead(num_bytes: int, recipe: CacheRecipe) -> str:
    """Say where so many bytes of rows will be read from; what others left unused gives way."""
    memory = _memory_limit(recipe)
    if num_bytes <= parse_size(recipe.disk):
        return "in memory" if num_bytes <= memory else "mapped from disk"
    why_not = _why_memory_alone_fails(num_bytes, recipe, memory)
    return "in memory alone" if why_not is None else f"not kept: {why_not}"


def _settle_place(store: Store, recipe: CacheRecipe, memory: int) -> str | None:
    """Choose disk or memory alone for what is missing; give the reason where neither holds it."""
    if not store.missing():
        return None
    wanted = store.wanted
    try:
        fits = store.make_room(parse_size(recipe.disk))
    except DiskError as error:
        fits = False
        logger.info("features go to no disk: %s", error)
    if fits:
        return None
    store.on_disk = False
    return _why_memory_alone_fails(wanted.num_bytes, recipe, memory)


def _why_memory_alone_fails(num_bytes: int, recipe: CacheRecipe, memory: int) -> str | None:
    """Give the reason why rows without room on the disk cannot be kept; None where they can."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone and num_bytes <= memory:
        return None
    return (
        f"they take {format_size(num_bytes)}; train.cache.memory gives "
        f"{format_size(memory)}, and train.cache.disk, {recipe.disk}, has no room"
    )


def _make(source: Source, kitchen: Kitchen, store: Store) -> str | None:
    """Make this rank's share of what is missing; give the reason where any rank could not.

    Every rank goes through as many rounds (collective).
    """
    local, per_machine = _place_on_machine(kitchen.accelerator)
    own = [shard for shard in store.missing() if shard % per_machine == local]
    asks = [ask for shard in own for ask in _asks(store.wanted, shard, len(source.split))]
    rounds = max(_gather(kitchen.accelerator, len(asks)))
    batches = listed_batches(
        source.split, source.pixels, asks, seed=source.views.seed or 0, workers=source.workers
    )
    failure: HftuneError | None = None
    with closing(_made(batches, kitchen, store, own)) as made:
        started = time.monotonic()
        for turn in range(rounds):
            if turn < len(asks) and failure is None:
                failure = kitchen.control.wait_for(made).error
            if kitchen.control.agree_to_stop():
                raise KeepingStopped
            if turn == 0:
                _tell_price(store.wanted, rounds=rounds, seconds=time.monotonic() - started)
    why_not = _first_reason(kitchen.accelerator, None if failure is None else str(failure))
    store.find_made()  # all ranks have met in the line above
    return why_not


def _made(
    batches: Generator[Tensor, None, None], kitchen: Kitchen, store: Store, shards: Sequence[int]
) -> Generator[None, None, None]:
    """Run the prefix over a batch at a time, and put away each shard when it is full."""
    wanted = store.wanted
    with closing(batches):
        for shard in shards:
            rows = torch.empty(len(wanted.rows_of(shard)), wanted.width, dtype=wanted.dtype)
            for first in range(0, len(rows), wanted.batch_size):
                part = rows[first : first + wanted.batch_size]
                part.copy_(_run(next(batches), kitchen)[: len(part)])  # host-device sync
                if first + wanted.batch_size >= len(rows):
                    store.put(shard, rows)
                yield


def _run(pixels: Tensor, kitchen: Kitchen) -> Tensor:
    accelerator = kitchen.accelerator
    inputs = model_inputs(pixels, kitchen.spec, device=accelerator.device, layout=kitchen.layout)
    with torch.no_grad(), accelerator.autocast():
        rows: Tensor = kitchen.prefix(inputs)
    return rows


def _asks(wanted: Wanted, shard: int, num_images: int) -> list[list[tuple[int, int]]]:
    """Give (row, view) of every batch of a shard. A short batch is filled up with its last image:
    kernels may sum in another order where the size of a batch is another one.
    """
    places = wanted.rows_of(shard)
    asks = []
    for first in range(places.start, places.stop, wanted.batch_size):
        batch = range(first, first + wanted.batch_size)
        chosen = [min(place, places.stop - 1) for place in batch]
        asks.append([(place % num_images, place // num_images) for place in chosen])
    return asks


def _tell_price(wanted: Wanted, *, rounds: int, seconds: float) -> None:
    logger.info(
        "%s are computed once: %s, about %s",
        *(wanted.says, format_size(wanted.num_bytes), format_duration(rounds * seconds)),
    )


def _memory_limit(recipe: CacheRecipe) -> int:
    """Give what this process may take: the recipe's limit, or less on a machine with less."""
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = int(_SHARE_OF_MACHINE * machine_memory().free) // per_machine
    return min(parse_size(recipe.memory), free)


def _place_on_machine(accelerator: Accelerator) -> tuple[int, int]:
    """Give this process's number among those of its machine, and how many these are."""
    number = int(os.environ.get("LOCAL_WORLD_SIZE", str(accelerator.num_processes)))
    return accelerator.local_process_index, number


def _gather(accelerator: Accelerator, value: int) -> list[int]:
    """Give what each rank has (collective)."""
    if accelerator.num_processes == 1:
        return [value]
    gathered: list[int] = gather_object([value])
    return gathered


def _first_reason(accelerator: Accelerator, own: str | None) -> str | None:
    """Give the reason of the lowest rank that has one (collective)."""
    reasons = [own] if accelerator.num_processes == 1 else gather_object([own])
    return next((reason for reason in reasons if reason is not None), None)
