"""The next batches on their way to a GPU while the current ones are computed."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeVar, cast

import torch

from hftune.core import Batch
from hftune.data.batch_augment import Deferred, apply_deferred

# One batch, or the micro-batches of one step.
Item = TypeVar("Item", bound=Batch | list[Batch])


def prefetched(
    items: Generator[Item, None, None], device: torch.device, deferred: Sequence[Deferred] = ()
) -> Generator[Item, None, None]:
    """Give `items` with the deferred augmentations done; for a GPU there, one item ahead.

    A stream of its own copies and augments the next item while the current one is computed. What
    cannot be loaded is raised one item early. Closing closes `items`.
    """
    with closing(items):
        if device.type == "cuda":
            yield from _one_ahead(items, device, deferred)
        else:
            for item in items:
                yield _sent(item, device, deferred)


def _one_ahead(
    items: Generator[Item, None, None], device: torch.device, deferred: Sequence[Deferred]
) -> Generator[Item, None, None]:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
    current: Item | None = None
    for item in items:
        with torch.cuda.stream(stream):
            coming = _sent(item, device, deferred)
            arrival = stream.record_event()
        if current is not None:
            yield current
        # Only now: what is queued up to here need not wait for the copy.
        computing = torch.cuda.current_stream(device)
        computing.wait_event(arrival)
        for batch in coming if isinstance(coming, list) else [coming]:
            batch.inputs.record_stream(computing)  # its memory is not given out before it is used
        current = coming
    if current is not None:
        yield current


def _sent(item: Item, device: torch.device, deferred: Sequence[Deferred]) -> Item:
    """Begin to copy an item's inputs: without a sync, since they come in pinned memory."""
    if isinstance(item, list):
        return cast("Item", [_sent(batch, device, deferred) for batch in item])
    inputs = item.inputs.to(device, non_blocking=True)
    if item.drawn is not None:
        inputs = apply_deferred(deferred, inputs, item.drawn.to(device, non_blocking=True))
    return cast("Item", replace(item, inputs=inputs, drawn=None))
