"""Batches of a split: for training from any step on, for evaluation each row once."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hftune.core import BadImage, Batch, InputSpec, Split
from hftune.data.image_input import EvalTransform, TrainTransform
from hftune.data.order import (
    Asked,
    Order,
    Positions,
    Share,
    asked_at,
    augmentation_random,
    evaluation_rows,
)
from hftune.data.substitute import OnBadImage, bad_image, read_or_next, read_or_stop
from hftune.data.workers import enough_workers, produce
from hftune.errors import DataError

# Images that are loaded to learn how long one takes.
_TRIED = 3


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """Which part of the work one rank loads, and with how many worker processes.

    None as `workers` means as many as the work keeps busy, measured on a few images. `on_bad_image`
    says whether an image that cannot be read ends the loading or is replaced.
    """

    start: int
    stop: int
    share: Share
    micro_batch_size: int
    workers: int | None
    on_bad_image: OnBadImage = "stop"


def train_batches(
    split: Split, transform: TrainTransform, order: Order, spec: LoaderSpec
) -> Generator[list[Batch], None, None]:
    """Give this rank's micro-batches of each step from `start` to `stop` (exclusive).

    What a batch holds depends on the order's seed, the step and which images can be read: not on
    where one starts, nor on the number of workers or ranks. An image that cannot be read ends the
    loading with a DataError, or leaves its place to `read_or_next`, with that one's own target and
    at its own turn. What the transform defers is still to be done to a batch. Closing the generator
    ends the workers.
    """
    read = read_or_stop if spec.on_bad_image == "stop" else read_or_next

    def make(wanted: Asked) -> list[Tensor | BadImage]:
        images: list[Tensor] = []
        rows: list[int] = []
        drawn: list[tuple[float, ...]] = []
        missed: list[BadImage] = []
        for row, turn in zip(wanted.rows.tolist(), wanted.turns.tolist(), strict=True):
            one = read(split, row)
            rng = augmentation_random(order.seed, turn, one.row)
            pixels, numbers = transform.decide(one.image, rng)
            images.append(pixels)
            drawn.append(numbers)
            rows.append(one.row)
            missed += one.missed
        tensors = _tensors(images, transform.spec, split, rows)
        if transform.deferred:
            tensors.append(torch.tensor(drawn, dtype=torch.float64))
        return [*tensors, *missed]

    def load(row: int) -> object:
        return transform(split.rows.image(row), augmentation_random(order.seed, 0, row))

    per_step = order.batch_size // (spec.micro_batch_size * spec.share.world_size)
    workers = spec.workers
    if workers is None:
        number = (spec.stop - spec.start) * per_step * spec.micro_batch_size
        workers = measured_workers(load, range(len(split)), number=number, learns=True)
    made = produce(make, _wanted_by_step(order, spec), workers=workers)
    try:
        for _ in range(spec.start, spec.stop):
            yield [_batch(next(made)) for _ in range(per_step)]
    finally:
        made.close()


def eval_batches(
    split: Split, transform: EvalTransform, *, batch_size: int, share: Share, workers: int | None
) -> Generator[Batch, None, None]:
    """Give this rank's rows of the split, each once, in batches of which the last may be short.

    An image that cannot be read is left out of its batch, which may then hold none, and is among
    the batch's `bad`. None as `workers` means as many as the work keeps busy. Closing the generator
    ends the workers.
    """

    def make(wanted: Positions) -> list[Tensor | BadImage]:
        images: list[Tensor] = []
        rows: list[int] = []
        bad: list[BadImage] = []
        for row in wanted.tolist():
            try:
                images.append(transform(split.rows.image(row)))
                rows.append(row)
            except DataError as error:
                bad.append(bad_image(split, row, error))
        return [*_tensors(images, transform.spec, split, rows), *bad]

    own = evaluation_rows(len(split), share)
    parts = [own[first : first + batch_size] for first in range(0, len(own), batch_size)]
    if workers is None:
        workers = measured_workers(
            lambda row: transform(split.rows.image(row)),
            own.tolist(),
            number=len(own),
            learns=False,
        )
    made = produce(make, parts, workers=min(workers, len(parts)))
    try:
        for one in made:
            yield _batch(one)
    finally:
        made.close()


def measured_workers(
    load: Callable[[int], object], rows: Sequence[int], *, number: int, learns: bool
) -> int:
    """Give the workers for `number` images, from the time that a few of `rows` take here.

    The shortest counts: what happens only once is not done again by the workers. A pass that does
    not learn computes little per image: a worker that takes one of its cores costs it more than
    loading the images itself, unless what takes the time is waiting for a disk or a server.
    """
    taken = []  # seconds, and those of the processor
    for row in rows[:_TRIED]:
        before, busy_before = time.perf_counter(), time.thread_time()
        with contextlib.suppress(DataError):  # met again where it is dealt with
            load(row)
        taken.append((time.perf_counter() - before, time.thread_time() - busy_before))
    seconds, busy = min(taken, default=(0.0, 0.0))
    waits = busy < seconds / 2
    return enough_workers(number * seconds, on_spare_cores=not (learns or waits))


def _wanted_by_step(order: Order, spec: LoaderSpec) -> Iterator[Asked]:
    for step in range(spec.start, spec.stop):
        yield from asked_at(order, step, share=spec.share, micro_batch_size=spec.micro_batch_size)


def _tensors(
    images: Sequence[Tensor], spec: InputSpec, split: Split, rows: Sequence[int]
) -> list[Tensor]:
    """Give inputs, targets and rows of one batch, its pixels in the order that images have."""
    shape = (len(images), spec.channels, spec.height, spec.width)
    pixels = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    for position, image in enumerate(images):
        pixels[position] = image
    positions = np.array(rows, dtype=np.int64)
    return [
        pixels,
        torch.from_numpy(split.rows.targets[positions]),
        torch.from_numpy(positions),
    ]


def _batch(made: list[Tensor | BadImage]) -> Batch:
    inputs, targets, rows, *drawn = (one for one in made if isinstance(one, Tensor))
    bad = tuple(one for one in made if isinstance(one, BadImage))
    return Batch(
        inputs=inputs, targets=targets, rows=rows, drawn=drawn[0] if drawn else None, bad=bad
    )
